"""A webhook's receiver in a process of its own: confirms at once, and writes down what came when.

`python -m tests.bench.receiver FILE` prints its port. Each line of the file is a moment of the
clock that all processes share, a space, and the body.
"""

import asyncio
import signal
import sys
import time
from pathlib import Path
from typing import BinaryIO, Final, cast

import uvloop

CONFIRMATION: Final = b"HTTP/1.1 204 No Content\r\n\r\n"
END_OF_HEADERS: Final = b"\r\n\r\n"
LENGTH: Final = b"content-length:"


class Receiving(asyncio.Protocol):
    """One kept-open connection; a request comes when the one before is confirmed."""

    def __init__(self, came: BinaryIO) -> None:
        self._came = came
        self._buffer = bytearray()
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are none of asyncio's classes.
        self._transport = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        body_at = self._buffer.find(END_OF_HEADERS) + len(END_OF_HEADERS)
        if body_at < len(END_OF_HEADERS):
            return
        headers = bytes(self._buffer[:body_at]).lower()
        length = int(headers.partition(LENGTH)[2].partition(b"\r\n")[0])
        if len(self._buffer) < body_at + length:
            return
        assert self._transport is not None
        self._transport.write(CONFIRMATION)
        self._came.write(b"%.6f %s\n" % (time.perf_counter(), self._buffer[body_at:]))
        self._buffer.clear()


async def serve(came: BinaryIO) -> None:
    """Receive until told to end."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    server = await loop.create_server(lambda: Receiving(came), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await ended.wait()
    server.close()


def main() -> None:
    with Path(sys.argv[1]).open("wb") as came:
        uvloop.run(serve(came))


if __name__ == "__main__":
    main()
