"""`python -m services.projections`: serve until told to stop."""

import uvicorn

from services.projections.app import create_app
from services.projections.settings import ProjectionsSettings
from shared.collecting import spare_collecting
from shared.telemetry import configure_logging
from shared.web import KEEP_ALIVE_S


def main() -> None:
    configure_logging("projections")
    settings = ProjectionsSettings()
    app = create_app(settings)
    spare_collecting()
    uvicorn.run(
        app,
        host=settings.host,
        port=settings.projections_port,
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_config=None,
        timeout_graceful_shutdown=10,
        timeout_keep_alive=KEEP_ALIVE_S,
    )


if __name__ == "__main__":
    main()
