"""`python -m services.registry`: serve until told to stop."""

import uvicorn

from services.registry.app import create_app
from services.registry.settings import RegistrySettings
from shared.collecting import spare_collecting
from shared.telemetry import configure_logging
from shared.web import KEEP_ALIVE_S


def main() -> None:
    configure_logging("registry")
    settings = RegistrySettings()
    app = create_app(settings)
    spare_collecting()
    uvicorn.run(
        app,
        host=settings.host,
        port=settings.registry_port,
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_config=None,
        timeout_graceful_shutdown=10,
        timeout_keep_alive=KEEP_ALIVE_S,
    )


if __name__ == "__main__":
    main()
