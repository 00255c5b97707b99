"""One request to a webhook's receiver: checked address, verified TLS, bounded time and memory.

Fault model: the receiver may be anywhere, hang, answer a byte a second or without end, redirect,
present a bad certificate. Each of these is an outcome and never an exception, after 15 seconds
at most and with at most 64 KiB of the answer in memory. No redirect is followed.
"""

import asyncio
import ssl
from collections import deque
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import httpcore

from services.notifier.addresses import Addresses, ForbiddenAddressError, Target
from services.notifier.receiver_stream import connect

ANSWER_TIMEOUT_S: Final = 15.0
MOST_ANSWER_BYTES: Final = 64 * 1024
KEPT_ANSWER_BYTES: Final = 200

# Less than the 5 seconds after which common servers close: a request must not meet a closing door.
KEEP_ALIVE_S: Final = 4.0


class Fault(StrEnum):
    """Why there is no answer."""

    NAME = "name-not-resolved"
    ADDRESS = "address-not-allowed"
    CONNECTION = "connection-failed"
    CERTIFICATE = "tls-failed"
    TIMEOUT = "timeout"
    TOO_LARGE = "answer-too-large"
    UNREADABLE = "answer-unreadable"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a request: a status, or a fault. `answer` are its first 200 bytes."""

    status: int | None
    fault: Fault | None
    duration_ms: int
    answer: bytes = b""
    retry_after: str | None = None

    @property
    def delivered(self) -> bool:
        return self.fault is None and self.status is not None and 200 <= self.status < 300


class Poster:
    """Posts to one receiver, over connections that are kept open in between."""

    def __init__(
        self,
        target: Target,
        addresses: Addresses,
        tls: ssl.SSLContext,
        timeout_s: float = ANSWER_TIMEOUT_S,
    ) -> None:
        self._target = target
        self._timeout_s = timeout_s
        self._connections = _Connections(target, tls, _CheckedBackend(target, addresses))
        self._url = httpcore.URL(
            scheme=target.scheme.encode(),
            host=target.host.encode(),
            port=target.port,
            target=target.path.encode(),
        )

    async def post(self, body: bytes, headers: Mapping[str, str]) -> Outcome:
        """Send and wait for the whole answer."""
        now_s = asyncio.get_running_loop().time
        began_s = now_s()
        answer = _Answer()
        fault: Fault | None = None
        try:
            async with asyncio.timeout(self._timeout_s):
                fault = await self._exchange(body, headers, answer)
        except (TimeoutError, httpcore.TimeoutException):
            fault = Fault.TIMEOUT
        except ForbiddenAddressError:
            fault = Fault.ADDRESS
        except _UnresolvedError:
            fault = Fault.NAME
        except httpcore.ConnectError as error:
            fault = Fault.CERTIFICATE if _is_of_tls(error) else Fault.CONNECTION
        except (httpcore.ProtocolError, httpcore.UnsupportedProtocol):
            fault = Fault.UNREADABLE
        except (httpcore.NetworkError, OSError, ssl.SSLError):
            fault = Fault.CONNECTION
        duration_ms = round((now_s() - began_s) * 1000)
        return Outcome(answer.status, fault, duration_ms, bytes(answer.kept), answer.retry_after)

    async def _exchange(
        self, body: bytes, headers: Mapping[str, str], answer: "_Answer"
    ) -> Fault | None:
        given = {"host": self._target.authority, "content-length": str(len(body)), **headers}
        sent = [(name.encode(), value.encode()) for name, value in given.items()]
        async with (
            self._connections.one() as connection,
            connection.stream("POST", self._url, headers=sent, content=body) as response,
        ):
            answer.status = response.status
            answer.retry_after = _header(response.headers, b"retry-after")
            size = 0
            async for part in response.aiter_stream():
                size += len(part)
                answer.kept += part[: KEPT_ANSWER_BYTES - len(answer.kept)]
                if size > MOST_ANSWER_BYTES:
                    return Fault.TOO_LARGE
        return None

    async def close(self) -> None:
        await self._connections.close()


class _Connections:
    """Connections to one receiver, as many as there are requests at a time, kept open in between.

    httpcore's own pool asks every connection about its state at every request, which costs more
    than the request.
    """

    def __init__(
        self, target: Target, tls: ssl.SSLContext, network: httpcore.AsyncNetworkBackend
    ) -> None:
        self._origin = httpcore.Origin(target.scheme.encode(), target.host.encode(), target.port)
        self._tls = tls
        self._network = network
        # The one used last is the first to be used again, so that the others expire.
        self._idle: deque[httpcore.AsyncHTTPConnection] = deque()

    @asynccontextmanager
    async def one(self) -> AsyncIterator[httpcore.AsyncHTTPConnection]:
        """A connection for one request; it is kept if the request was completed."""
        connection = await self._kept() or self._new()
        try:
            yield connection
        finally:
            if connection.is_idle() and not connection.is_closed():
                self._idle.append(connection)
            else:
                await connection.aclose()

    async def _kept(self) -> httpcore.AsyncHTTPConnection | None:
        while self._idle and self._idle[0].has_expired():
            await self._idle.popleft().aclose()
        while self._idle:
            connection = self._idle.pop()
            if not connection.has_expired():
                return connection
            await connection.aclose()
        return None

    def _new(self) -> httpcore.AsyncHTTPConnection:
        return httpcore.AsyncHTTPConnection(
            self._origin,
            ssl_context=self._tls,
            keepalive_expiry=KEEP_ALIVE_S,
            network_backend=self._network,
        )

    async def close(self) -> None:
        while self._idle:
            await self._idle.pop().aclose()


class _Answer:
    """What has arrived of an answer, also where the rest never does."""

    def __init__(self) -> None:
        self.status: int | None = None
        self.retry_after: str | None = None
        self.kept = bytearray()


class _UnresolvedError(Exception):
    """The receiver's name cannot be resolved."""


class _CheckedBackend(httpcore.AsyncNetworkBackend):
    """Connects to addresses that were checked, of names that it resolves itself."""

    def __init__(self, target: Target, addresses: Addresses) -> None:
        self._target = target
        self._addresses = addresses
        # One question at a time: a name that hangs must not take all of the resolver's threads.
        self._asking = asyncio.Lock()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        assert (host, port) == (self._target.host, self._target.port), "another receiver"
        async with self._asking:
            try:
                found = await self._addresses.checked(self._target)
            except (OSError, UnicodeError) as error:
                raise _UnresolvedError from error
        refused: Exception | None = None
        for address in found:
            try:
                return await connect(str(address), port, timeout, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                refused = error
        assert refused is not None
        raise refused

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def _is_of_tls(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLError):
            return True
        error = error.__cause__ or error.__context__
    return False


def _header(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> str | None:
    return next((value.decode("latin-1") for key, value in headers if key.lower() == name), None)
