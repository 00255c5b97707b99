"""The settings that every service has; each adds its own and reads them once, at its edge."""

from pydantic import SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class ServiceSettings(BaseSettings):
    """Read from the environment with the prefix `CACAH_`."""

    model_config = SettingsConfigDict(env_prefix="CACAH_", extra="ignore")

    database_url: str
    kafka_bootstrap: str
    host: str = "127.0.0.1"
    operator_token: SecretStr | None = None
