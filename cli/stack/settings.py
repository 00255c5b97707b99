"""Where the local stack keeps its data and which ports it takes, read from CACAH_* variables."""

from pathlib import Path
from typing import Self

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

# The checkout is found from this file and not from the working directory, so that
# `cacah up` means the same stack wherever it is typed.
CHECKOUT = Path(__file__).resolve().parents[2]

PORT_SETTINGS = {
    "postgres_port": "CACAH_POSTGRES_PORT",
    "kafka_port": "CACAH_KAFKA_PORT",
    "kafka_controller_port": "CACAH_KAFKA_CONTROLLER_PORT",
    "registry_port": "CACAH_REGISTRY_PORT",
    "projections_port": "CACAH_PROJECTIONS_PORT",
    "notifier_port": "CACAH_NOTIFIER_PORT",
}


class StackSettings(BaseSettings):
    """The settings of one local stack; each has a default that works on an idle machine."""

    model_config = SettingsConfigDict(env_prefix="CACAH_", extra="ignore", frozen=True)

    home: Path = CHECKOUT / ".cacah"
    cache: Path = CHECKOUT / ".cacah" / "cache"
    host: str = "127.0.0.1"
    postgres_port: int = Field(default=5433, ge=1, le=65535)
    kafka_port: int = Field(default=19092, ge=1, le=65535)
    kafka_controller_port: int = Field(default=19093, ge=1, le=65535)
    registry_port: int = Field(default=8001, ge=1, le=65535)
    projections_port: int = Field(default=8002, ge=1, le=65535)
    notifier_port: int = Field(default=8003, ge=1, le=65535)
    operator_token: SecretStr | None = None
    vault_key: SecretStr | None = None
    webhook_key: SecretStr | None = None

    def at(self, home: Path) -> Self:
        """The same settings for a stack that keeps its data elsewhere."""
        return self.model_copy(update={"home": home.expanduser().absolute()})

    def with_ports(self, ports: dict[str, int]) -> Self:
        """The same settings on other ports."""
        return self.model_copy(update=ports)

    def ports(self) -> dict[str, int]:
        """Every port of the stack by the name of its field."""
        return {field: getattr(self, field) for field in PORT_SETTINGS}
