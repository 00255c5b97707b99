"""Sending what was written before the clock started: as fast as answers come, or at a pace."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Final

from services.registry.api import BATCH, SINGLE
from tests.bench.people import Clerk, Written
from tests.bench.wire import Connection, Door, Reply, UnexpectedAnswerError, connected

EVENTS: Final = "/v1/events"


@dataclass(frozen=True, slots=True)
class Request:
    """The bytes of a request, and the events that it carries."""

    sent: bytes
    events: Sequence[Written]


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request with its answer, and when each went over the wire."""

    request: Request
    sent_at: float
    answered_at: float
    reply: Reply


@dataclass(frozen=True, slots=True)
class Accepted:
    """An event's position, and when its sender had it."""

    village: str
    position: int
    answered_at: float


@dataclass(frozen=True, slots=True)
class Load:
    """What was exchanged between two readings of the clock; `cpu_s` is what the sending cost."""

    exchanges: list[Exchange]
    began_at: float
    ended_at: float
    cpu_s: float

    @property
    def seconds(self) -> float:
        return self.ended_at - self.began_at

    @property
    def sender_share(self) -> float:
        """How much of a core the load generator itself took."""
        return self.cpu_s / self.seconds

    def accepted(self) -> list[Accepted]:
        """All events of the load; raises UnexpectedAnswerError where one was not accepted."""
        return [event for exchange in self.exchanges for event in _accepted(exchange)]


def _accepted(exchange: Exchange) -> list[Accepted]:
    reply = exchange.reply
    results = reply.json() if reply.status in (200, 201) else {}
    answers = results.get("results", [results])
    if any(answer.get("outcome") != "accepted" for answer in answers):
        raise UnexpectedAnswerError(f"{reply.status} {reply.body[:500].decode()}")
    return [
        Accepted(event.village, answer["position"], exchange.answered_at)
        for event, answer in zip(exchange.request.events, answers, strict=True)
    ]


def batches(door: Door, clerk: Clerk, count: int, size: int) -> list[Request]:
    """So many batches of one station."""
    return [_batch(door, clerk.write(size)) for _ in range(count)]


def _batch(door: Door, events: list[Written]) -> Request:
    body = b"[" + b",".join(event.body for event in events) + b"]"
    return Request(door.post(EVENTS, BATCH, body), events)


def singles(door: Door, clerk: Clerk, count: int) -> list[Request]:
    """So many events of one station, each in a request of its own."""
    return [Request(door.post(EVENTS, SINGLE, event.body), [event]) for event in clerk.write(count)]


# What one client does with its connection and its requests.
Client = Callable[[int, Connection, Sequence[Request]], Coroutine[Any, Any, list[Exchange]]]


async def at_once(door: Door, queues: Sequence[Sequence[Request]]) -> Load:
    """One client for each queue, each sending its next request when the last is answered."""

    async def client(_: int, connection: Connection, queue: Sequence[Request]) -> list[Exchange]:
        return [await _exchange(connection, request) for request in queue]

    return await _clients(door, queues, client)


async def at_pace(door: Door, queues: Sequence[Sequence[Request]], per_s: float) -> Load:
    """The clients take turns, so that together they send so many requests a second; one whose
    last answer is late sends its next at once."""
    began_at = time.perf_counter()

    async def client(turn: int, connection: Connection, queue: Sequence[Request]) -> list[Exchange]:
        exchanges = []
        for number, request in enumerate(queue):
            due_at = began_at + (number * len(queues) + turn) / per_s
            await asyncio.sleep(max(0.0, due_at - time.perf_counter()))
            exchanges.append(await _exchange(connection, request))
        return exchanges

    return await _clients(door, queues, client)


async def _exchange(connection: Connection, request: Request) -> Exchange:
    sent_at = time.perf_counter()
    reply = await connection.ask(request.sent)
    return Exchange(request, sent_at, time.perf_counter(), reply)


async def _clients(door: Door, queues: Sequence[Sequence[Request]], client: Client) -> Load:
    async with AsyncExitStack() as held:
        connections = [await held.enter_async_context(connected(door)) for _ in queues]
        began_at, cpu_at = time.perf_counter(), time.process_time()
        done = await asyncio.gather(
            *(
                client(turn, connection, queue)
                for turn, (connection, queue) in enumerate(zip(connections, queues, strict=True))
            )
        )
        ended_at, cpu_s = time.perf_counter(), time.process_time() - cpu_at
    return Load([one for exchanges in done for one in exchanges], began_at, ended_at, cpu_s)
