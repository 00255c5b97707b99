"""The notifier's settings."""

from pydantic import Field

from shared.settings import ServiceSettings


class NotifierSettings(ServiceSettings):
    """Read from the environment with the prefix `CACAH_`.

    `notifier_group` is the Kafka consumer group: processes of one group share the work, and
    processes on one database must be in one group.
    """

    notifier_port: int = Field(default=8003, ge=1, le=65535)
    notifier_group: str = Field(default="notifier", min_length=1)
