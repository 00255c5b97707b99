"""`python -m services.notifier`: the notifier as a process."""

import socket
import sys
from typing import Final

import uvicorn
from pydantic import ValidationError

from services.notifier.app import AllStreams, create_app
from services.notifier.connections import CuttableProtocol, listening_socket
from services.notifier.settings import NotifierSettings
from shared.collecting import spare_collecting
from shared.telemetry import configure_logging
from shared.web import KEEP_ALIVE_S

# A client that does not read what it was sent is cut off after this long.
GRACE_S: Final = 3


class NotifierServer(uvicorn.Server):
    """Ends the streams before it waits for requests to end: they would never by themselves."""

    def __init__(self, config: uvicorn.Config, streams: AllStreams) -> None:
        super().__init__(config)
        self._streams = streams

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._streams.close()
        await super().shutdown(sockets)


def main() -> int:
    """Serve until a signal; 2 when a setting is missing or wrong."""
    try:
        settings = NotifierSettings()
    except ValidationError as error:
        for fault in error.errors():
            name = "_".join(map(str, fault["loc"])).upper()
            sys.stderr.write(f"Set CACAH_{name}: {fault['msg']}.\n")
        return 2
    configure_logging("notifier")
    app = create_app(settings)
    spare_collecting()
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.notifier_port,
        loop="uvloop",
        http=CuttableProtocol,
        access_log=False,
        log_config=None,
        timeout_graceful_shutdown=GRACE_S,
        timeout_keep_alive=KEEP_ALIVE_S,
    )
    NotifierServer(config, app.state.streams).run(sockets=[listening_socket(config)])
    return 0


if __name__ == "__main__":
    sys.exit(main())
