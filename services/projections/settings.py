"""What an operator can set for projections."""

from shared.settings import ServiceSettings


class ProjectionsSettings(ServiceSettings):
    """Read from the environment with the prefix `CACAH_`."""

    projections_port: int = 8002
