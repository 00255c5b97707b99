"""What KPU hears: the stream as it arrives, and how long after each event's 201 that was.

An event is told when a change of its village has arrived that covers its position, and the
village's changes together count as many events as had been accepted for it up to there. The
position alone would flatter: partitions are counted apart, so a change can cover a position
whose own event comes with the next one.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from shared.elections import PILKADA_2024
from tests.bench.loads import Accepted
from tests.bench.wire import Door, UnexpectedAnswerError, ask_once, connected

FEED: Final = f"/v1/elections/{PILKADA_2024.id}"
POLL_S: Final = 0.01


@dataclass(slots=True)
class Stream:
    """The bytes of the stream with the time of their arrival."""

    last: int
    heard: list[tuple[float, bytes]] = field(default_factory=list)

    async def follow(self, chunks: AsyncIterator[bytes]) -> None:
        async for chunk in chunks:
            self.heard.append((time.perf_counter(), chunk))
            begins = chunk.rfind(b"id: ")
            if begins >= 0:
                self.last = int(chunk[begins + 4 : chunk.index(b"\n", begins)])

    async def reaches(self, sequence: int) -> None:
        while self.last < sequence:
            await asyncio.sleep(POLL_S)


@asynccontextmanager
async def listening(door: Door) -> AsyncIterator[Stream]:
    """A client of the stream that begins at the feed's present end."""
    feed = await read_feed(door)
    stream = Stream(feed["sequence"])
    async with connected(door) as connection:
        request = door.get(f"{FEED}/stream?after={stream.last}")
        following = asyncio.create_task(stream.follow(connection.chunks(request)))
        try:
            yield stream
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)


async def read_feed(door: Door) -> dict[str, Any]:
    """How far the feed has come: its sequence and position."""
    feeds = (await ask_once(door, "/v1/elections")).json()["elections"]
    return next(feed for feed in feeds if feed["id"] == PILKADA_2024.id)


async def told_events(door: Door) -> dict[str, int]:
    """How many events KPU has been told of, by village."""
    snapshot = (await ask_once(door, f"{FEED}/snapshot")).json()
    return {village["village"]: events_in(village) for village in snapshot["villages"]}


def events_in(counts: dict[str, Any]) -> int:
    """A registration adds a resident, a recording one who is recorded: so many were counted."""
    return int(counts["residents"] + counts["eligible_recorded"])


@dataclass(frozen=True, slots=True)
class Told:
    """A change of a village: up to where, and how many events it then stands for."""

    at: float
    position: int
    events: int


@dataclass(frozen=True, slots=True)
class Arrived:
    """A change as KPU has it, and when it came."""

    at: float
    change: dict[str, Any]


def changes_in(heard: Iterable[tuple[float, bytes]]) -> list[Arrived]:
    """The changes of a stream, in their order."""
    return [
        Arrived(at, orjson.loads(line[6:]))
        for at, chunk in heard
        for line in chunk.split(b"\n")
        if line.startswith(b"data: ")
    ]


def _by_village(arrived: Iterable[Arrived]) -> dict[str, list[Told]]:
    told: defaultdict[str, list[Told]] = defaultdict(list)
    for each in arrived:
        change = each.change
        events = events_in(change["after"])
        told[change["village"]].append(Told(each.at, change["position"], events))
    return told


def delays_s(
    accepted: Iterable[Accepted], arrived: Iterable[Arrived], before: dict[str, int]
) -> list[float]:
    """From each event's 201 to the bytes that told of it; `before` is what had been told."""
    told = _by_village(arrived)
    by_village: defaultdict[str, list[Accepted]] = defaultdict(list)
    for event in sorted(accepted, key=lambda event: event.position):
        by_village[event.village].append(event)
    return [
        delay_s
        for village, events in by_village.items()
        for delay_s in _delays_of_village(events, told[village], before[village])
    ]


def _delays_of_village(
    events: Sequence[Accepted], told: Sequence[Told], before: int
) -> Iterable[float]:
    waiting = iter(told)
    change, position = next(waiting, None), 0
    for number, event in enumerate(events, before + 1):
        while change is not None:
            position = max(position, change.position)
            if position >= event.position and change.events >= number:
                break
            change = next(waiting, None)
        if change is None:
            raise UnexpectedAnswerError(f"the event at {event.position} was never told")
        yield max(0.0, change.at - event.answered_at)
