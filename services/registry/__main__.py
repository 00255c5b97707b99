"""`python -m services.registry`: serve until told to stop."""

import gc
from typing import Final

import uvicorn

from services.registry.app import create_app
from services.registry.settings import RegistrySettings
from shared.regions import village_codes
from shared.telemetry import configure_logging

# More than one append makes and drops, so that most of them are gone before anybody looks.
COLLECT_AFTER_OBJECTS: Final = 50_000


def main() -> None:
    configure_logging("registry")
    settings = RegistrySettings()
    app = create_app(settings)
    village_codes()
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
    )


def spare_collecting() -> None:
    """Keep the garbage collector off what lives as long as the process does.

    The regions and the program are 200,000 objects, and one batch makes enough new ones to
    have all of them looked through several times: that was a third of an append's time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER_OBJECTS, *gc.get_threshold()[1:])


if __name__ == "__main__":
    main()
