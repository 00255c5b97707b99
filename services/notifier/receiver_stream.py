"""The bytes of a connection to a webhook's receiver, over asyncio alone.

httpcore's own asyncio connections go through anyio, whose bookkeeping at each piece that is read
or written costs more than the piece. Time is bounded by whoever asks: nothing here waits by a
clock of its own, but where httpcore gives one.
"""

import asyncio
import ssl
from collections.abc import Iterable
from typing import Any

import httpcore


async def connect(
    host: str, port: int, timeout_s: float | None, options: Iterable[httpcore.SOCKET_OPTION] | None
) -> "ReceiverStream":
    """A connection to an address. Raises httpcore.ConnectError or ConnectTimeout."""
    loop = asyncio.get_running_loop()
    reader = _Counted(loop=loop)
    protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
    try:
        async with asyncio.timeout(timeout_s):
            transport, _ = await loop.create_connection(lambda: protocol, host, port)
    except TimeoutError as error:
        raise httpcore.ConnectTimeout from error
    except OSError as error:
        raise httpcore.ConnectError(str(error)) from error
    for option in options or ():
        transport.get_extra_info("socket").setsockopt(*option)
    return ReceiverStream(reader, asyncio.StreamWriter(transport, protocol, reader, loop))


class _Counted(asyncio.StreamReader):
    """Knows whether anything has come, or the end, that nobody has read."""

    def __init__(self, *, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop=loop)
        self._unread = 0
        self._ended = False

    @property
    def has_news(self) -> bool:
        return self._ended or self._unread > 0

    def feed_data(self, data: Any) -> None:
        self._unread += len(data)
        super().feed_data(data)

    def feed_eof(self) -> None:
        self._ended = True
        super().feed_eof()

    def set_exception(self, exc: BaseException) -> None:
        self._ended = True
        super().set_exception(exc)  # type: ignore[arg-type]

    async def read(self, n: int = -1) -> bytes:
        data = await super().read(n)
        self._unread -= len(data)
        return data


class ReceiverStream(httpcore.AsyncNetworkStream):
    """A connection as httpcore reads and writes it."""

    def __init__(self, reader: _Counted, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """What has come, at most so much, and nothing at the end."""
        try:
            async with asyncio.timeout(timeout):
                return await self._reader.read(max_bytes)
        except TimeoutError as error:
            raise httpcore.ReadTimeout from error
        except OSError as error:
            raise httpcore.ReadError(str(error)) from error

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Return when more may be written."""
        if not buffer:
            return
        try:
            async with asyncio.timeout(timeout):
                self._writer.write(buffer)
                await self._writer.drain()
        except TimeoutError as error:
            raise httpcore.WriteTimeout from error
        except (OSError, RuntimeError) as error:
            # uvloop's answer to writing where the receiver has closed is a RuntimeError.
            raise httpcore.WriteError(str(error)) from error

    async def aclose(self) -> None:
        """Close at once: a receiver that takes nothing cannot keep us."""
        self._writer.transport.abort()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """The same connection, encrypted."""
        try:
            async with asyncio.timeout(timeout):
                await self._writer.start_tls(ssl_context, server_hostname=server_hostname)
        except BaseException as error:
            await self.aclose()
            if isinstance(error, TimeoutError):
                raise httpcore.ConnectTimeout from error
            if isinstance(error, OSError):
                raise httpcore.ConnectError(str(error)) from error
            raise
        return self

    def get_extra_info(self, info: str) -> Any:
        """`is_readable` tells an idle connection that the receiver has closed, or speaks on
        unasked: it is not to be used again."""
        if info == "is_readable":
            return self._reader.has_news
        return self._writer.get_extra_info(info)
