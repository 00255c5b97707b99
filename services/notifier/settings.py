"""The notifier's settings."""

import base64
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated, Any

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import NoDecode

from shared.settings import ServiceSettings

KEY_BYTES = 32


class NotifierSettings(ServiceSettings):
    """Read from the environment with the prefix `CACAH_`.

    `notifier_group` is the Kafka consumer group: processes of one group share the work, and
    processes on one database must be in one group. `webhook_key` is 32 random bytes in base64,
    with which the secrets of subscriptions are sealed; without it there are no webhooks.
    `webhook_allowed_networks` are the networks of the office that a receiver may be in, as
    `10.0.5.0/24,fd00::/8`.
    """

    notifier_port: int = Field(default=8003, ge=1, le=65535)
    notifier_group: str = Field(default="notifier", min_length=1)
    webhook_key: SecretStr | None = None
    webhook_allowed_networks: Annotated[tuple[IPv4Network | IPv6Network, ...], NoDecode] = ()

    @field_validator("webhook_allowed_networks", mode="before")
    @classmethod
    def _read_networks(cls, written: Any) -> Any:
        if not isinstance(written, str):
            return written
        return tuple(ip_network(part.strip()) for part in written.split(",") if part.strip())

    @field_validator("webhook_key")
    @classmethod
    def _require_key(cls, given: SecretStr | None) -> SecretStr | None:
        if given is None or not given.get_secret_value():
            return None
        try:
            length = len(base64.b64decode(given.get_secret_value(), validate=True))
        except ValueError:
            length = 0
        if length != KEY_BYTES:
            raise ValueError(
                f"it is {KEY_BYTES} random bytes in base64, from openssl rand -base64 {KEY_BYTES}"
            )
        return given

    def master_key(self) -> bytes | None:
        """The key of the subscriptions' secrets, none where there are no webhooks."""
        key = self.webhook_key
        return base64.b64decode(key.get_secret_value(), validate=True) if key else None
