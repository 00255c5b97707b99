"""HTTP as raw bytes over asyncio streams: a client library would be slower than the registry."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import orjson

END_OF_HEADERS: Final = b"\r\n\r\n"
READ_BYTES: Final = 4 * 1024 * 1024

_LENGTH: Final = re.compile(rb"\r\ncontent-length: *([0-9]+)\r\n", re.IGNORECASE)


class UnexpectedAnswerError(Exception):
    """A service answered what a bench cannot go on with."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer; its body is read after the clock has stopped."""

    status: int
    body: bytes

    def json(self) -> Any:
        return orjson.loads(self.body)


@dataclass(frozen=True, slots=True)
class Door:
    """Where a service answers, and the token that opens it."""

    host: str
    port: int
    token: str

    def get(self, path: str) -> bytes:
        """The bytes of a GET."""
        return self._head(f"GET {path}") + b"\r\n"

    def post(self, path: str, media_type: str, body: bytes) -> bytes:
        """The bytes of a POST."""
        about = f"Content-Type: {media_type}\r\nContent-Length: {len(body)}\r\n\r\n"
        return self._head(f"POST {path}") + about.encode() + body

    def _head(self, line: str) -> bytes:
        return (
            f"{line} HTTP/1.1\r\nHost: {self.host}:{self.port}\r\n"
            f"Authorization: Bearer {self.token}\r\n"
        ).encode()


def door(url: str, token: str) -> Door:
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    return Door(parts.hostname, parts.port, token)


class Connection:
    """One kept-open connection; a question is asked when the one before is answered."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def ask(self, request: bytes) -> Reply:
        self._writer.write(request)
        headers = await self._reader.readuntil(END_OF_HEADERS)
        length = _LENGTH.search(headers)
        body = await self._reader.readexactly(int(length[1])) if length else b""
        return Reply(_status(headers), body)

    async def chunks(self, request: bytes) -> AsyncIterator[bytes]:
        """The pieces of an answer that does not end."""
        self._writer.write(request)
        headers = await self._reader.readuntil(END_OF_HEADERS)
        if _status(headers) != 200:
            raise UnexpectedAnswerError(headers.decode())
        while size := int(await self._reader.readuntil(b"\r\n"), 16):
            yield (await self._reader.readexactly(size + 2))[:-2]


def _status(headers: bytes) -> int:
    return int(headers[9:12])


@asynccontextmanager
async def connected(door: Door) -> AsyncIterator[Connection]:
    reader, writer = await asyncio.open_connection(door.host, door.port, limit=READ_BYTES)
    try:
        yield Connection(reader, writer)
    finally:
        writer.close()


async def ask_once(door: Door, path: str) -> Reply:
    """A GET on a connection of its own."""
    async with connected(door) as connection:
        return await connection.ask(door.get(path))
