"""A receiver of webhooks in the test's process, which behaves as badly as it is told."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import orjson


@dataclass(frozen=True, slots=True)
class Received:
    """One request."""

    headers: dict[str, str]
    body: bytes

    @property
    def event(self) -> dict[str, Any]:
        event: dict[str, Any] = orjson.loads(self.body)
        return event

    @property
    def change(self) -> dict[str, Any]:
        change: dict[str, Any] = self.event["data"]
        return change


Behaviour = Callable[[Received, asyncio.StreamWriter], Awaitable[None]]


async def answer(
    writer: asyncio.StreamWriter, status: int, *headers: str, body: bytes = b""
) -> None:
    """An HTTP/1.1 answer."""
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", *headers, "", ""]
    writer.write("\r\n".join(lines).encode() + body)
    await writer.drain()


def answering(status: int, *headers: str, body: bytes = b"") -> Behaviour:
    async def behave(_: Received, writer: asyncio.StreamWriter) -> None:
        await answer(writer, status, *headers, body=body)

    return behave


async def hang(_: Received, __: asyncio.StreamWriter) -> None:
    await asyncio.sleep(3_600)


async def a_byte_a_second(_: Received, writer: asyncio.StreamWriter) -> None:
    for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b"x" * 1_000:
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(0.1)


async def answer_then_a_byte_a_second(_: Received, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    for _byte in range(1_000):
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.02)


async def a_gigabyte(_: Received, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n")
    for _part in range(1_024):
        writer.write(b"x" * 1_048_576)
        await writer.drain()


async def endless_headers(_: Received, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    for number in range(1_000_000):
        writer.write(b"X-%d: %s\r\n" % (number, b"y" * 10_000))
        await writer.drain()


async def cut_off(_: Received, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


@dataclass
class Receiver:
    """What came, in order, and how it was answered."""

    behave: Behaviour = field(default_factory=lambda: answering(204))
    received: list[Received] = field(default_factory=list)
    confirmed: list[Received] = field(default_factory=list)
    connections: int = 0
    busiest: int = 0
    port: int = 0
    scheme: str = "http"
    _open: set[asyncio.StreamWriter] = field(default_factory=set)
    _busy: set[asyncio.StreamReader] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}/hook?for=kpu"

    def sequences(self, village: str | None = None) -> list[int]:
        """The sequences received, each once, in the order in which it came first."""
        changes = [each.change for each in self.received]
        found = [c["sequence"] for c in changes if village in (None, c.get("village"))]
        return list(dict.fromkeys(found))

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._open.add(writer)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                received = await _read(reader)
                self.received.append(received)
                self._busy.add(reader)
                try:
                    await self._count()
                    await self.behave(received, writer)
                finally:
                    self._busy.discard(reader)
        self._open.discard(writer)
        writer.close()

    async def _count(self) -> None:
        """How many wait for an answer: who has closed or reset is known a moment later."""
        await asyncio.sleep(0.01)
        waiting = sum(not (r.at_eof() or r.exception()) for r in self._busy)
        self.busiest = max(self.busiest, waiting)

    def abort(self) -> None:
        for writer in list(self._open):
            writer.transport.abort()


async def _read(reader: asyncio.StreamReader) -> Received:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    headers = {}
    for line in head[1:]:
        name, _, value = line.partition(":")
        if name:
            headers[name.lower()] = value.strip()
    return Received(headers, await reader.readexactly(int(headers["content-length"])))


@contextlib.asynccontextmanager
async def receiving(
    behave: Behaviour | None = None, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Receiver]:
    """A receiver on a free port of 127.0.0.1."""
    receiver = Receiver(behave or answering(204), scheme="https" if tls else "http")
    serving: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(receiver.serve(reader, writer))
        serving.add(task)
        task.add_done_callback(serving.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=tls)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()
        receiver.abort()
        for task in list(serving):
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)
