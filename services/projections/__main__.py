"""`python -m services.projections`: serve until told to stop."""

import uvicorn

from services.projections.app import create_app
from services.projections.settings import ProjectionsSettings
from shared.telemetry import configure_logging


def main() -> None:
    configure_logging("projections")
    settings = ProjectionsSettings()
    uvicorn.run(
        create_app(settings),
        host=settings.host,
        port=settings.projections_port,
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_config=None,
        timeout_graceful_shutdown=10,
    )


if __name__ == "__main__":
    main()
