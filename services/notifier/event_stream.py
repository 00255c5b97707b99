"""The answer that a client of a stream is given, and its end where the client takes nothing."""

import asyncio
import logging
from typing import Final

from fastapi.responses import StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from services.notifier import connections, metrics
from services.notifier.last_events import LAGGING
from services.notifier.streaming import ClientStream

logger = logging.getLogger(__name__)

# A client that has not made room for the next piece (64 KiB wait already) by then is cut.
STALLED_S: Final = 20.0

HEADERS: Final = {"Cache-Control": "no-store, no-transform", "X-Accel-Buffering": "no"}


class EventStream(StreamingResponse):
    """Server-sent events that no proxy may keep back or compress."""

    media_type = "text/event-stream"

    def __init__(self, client: ClientStream) -> None:
        super().__init__(client.chunks(), headers=HEADERS)
        self._client = client

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_in_time(message: Message) -> None:
            try:
                async with asyncio.timeout(STALLED_S):
                    await send(message)
            except TimeoutError:
                metrics.CUT.labels("stalled").inc()
                logger.info("a client that takes no bytes is cut", extra={"path": scope["path"]})
                connections.cut(scope, self._client.last(LAGGING))
                # Until the server says that the connection is gone, which cancels this.
                await asyncio.get_running_loop().create_future()

        with metrics.CLIENTS.track_inprogress():
            await super().__call__(scope, receive, send_in_time)
