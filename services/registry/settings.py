"""The registry's settings, read once."""

import base64

from pydantic import SecretStr

from shared.settings import ServiceSettings


class RegistrySettings(ServiceSettings):
    """`vault_key` is 32 random bytes in base64; without it nothing sealed can be read again."""

    registry_port: int = 8001
    vault_key: SecretStr

    def master_key(self) -> bytes:
        """Raises ValueError when the key is not base64."""
        return base64.b64decode(self.vault_key.get_secret_value(), validate=True)
