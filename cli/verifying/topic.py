"""The topic population.events against the log: every entry is there, unchanged and in order.

Allowed are what the design allows: a tail that was sent twice after a crash, and what the relay
has not published yet. What is no record of ours is passed over, as consumers pass it over.
"""

import asyncio
from array import array
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import orjson

from cli.verifying import counter
from cli.verifying.log import ENTRIES
from cli.verifying.proof import REPUBLISH, Proof, difference
from cli.verifying.snapshot import CURSOR_ROWS, HEAD, Snapshot, reading
from cli.verifying.topic_reading import records
from shared.events.records import LogEntry, partition_of, write_event
from shared.topics import PARTITIONS, POPULATION_EVENTS

NAME: Final = "topic"

_MARKS: Final = "SELECT partition, last_event, published_up_to FROM registry.relay_marks"


@dataclass(slots=True)
class Partition:
    """What a partition has to hold, by position, and how far it was met in the topic."""

    number: int
    positions: "array[int]" = field(default_factory=lambda: array("q"))
    hashes: "array[int]" = field(default_factory=lambda: array("q"))
    met: int = 0
    strays: int = 0

    def expect(self, entry: LogEntry) -> None:
        """The next entry of the log that belongs here."""
        previous = self.positions[-1] if self.positions else 0
        self.positions.append(entry.position)
        self.hashes.append(hash(write_event(entry, previous)))

    @property
    def awaited(self) -> int | None:
        """The first position that was not met yet."""
        return self.positions[self.met] if self.met < len(self.positions) else None

    def meet(self, value: bytes, head: int) -> str | None:
        """Take the next record of the topic; what is wrong with it."""
        try:
            body = orjson.loads(value)
            up_to = body.get("published_up_to")
            position = int(body["position"] if up_to is None else up_to)
        except (AttributeError, KeyError, TypeError, ValueError):
            self.strays += 1
            return None
        if up_to is None:
            return self._meet_event(position, value, head)
        if self.awaited is not None and self.awaited <= position:
            return f"says that all up to {position} is there, but position {self.awaited} is not"
        return None

    def _meet_event(self, position: int, value: bytes, head: int) -> str | None:
        if self.awaited is not None and position > self.awaited:
            return f"lacks position {self.awaited}: {position} comes in its place"
        if position > head:
            return None
        place = bisect_left(self.positions, position)
        if place == len(self.positions) or self.positions[place] != position:
            self.strays += 1
        elif self.hashes[place] != hash(value):
            return f"has position {position} otherwise than the log"
        elif place == self.met:
            self.met += 1
        return None

    def unmet(self, published_up_to: int) -> str | None:
        """After the last record: what is missing though the relay published so far."""
        if self.awaited is not None and self.awaited <= published_up_to:
            return f"ends before position {self.awaited}, though it is marked as published"
        return None

    def fault_of_mark(self, last_event: int, published_up_to: int, head: int) -> str | None:
        """What is wrong with the relay's mark of the partition."""
        if published_up_to > head:
            return f"is marked as published up to {published_up_to}, but the log ends at {head}"
        published = bisect_left(self.positions, published_up_to + 1)
        last = self.positions[published - 1] if published else 0
        if last_event != last:
            return f"is marked with {last_event} as its last event, it is {last}"
        return None


def prove_topic(snapshot: Snapshot, bootstrap: str) -> Proof:
    """Read the whole topic and hold it against the log. Raises KafkaError, TimeoutError."""
    return asyncio.run(_prove(snapshot, bootstrap))


async def _prove(snapshot: Snapshot, bootstrap: str) -> Proof:
    partitions = [Partition(number) for number in range(PARTITIONS)]
    async with reading(snapshot) as connection:
        head = await connection.fetchval(HEAD)
        marks = {row[0]: (row[1], row[2]) for row in await connection.fetch(_MARKS)}
        cursor = await connection.cursor(ENTRIES, 0)
        while rows := await cursor.fetch(CURSOR_ROWS):
            for row in rows:
                entry = LogEntry(*row)
                partitions[partition_of(entry.resident_id, PARTITIONS)].expect(entry)
            counter.add(len(rows))
    fault = await _read(bootstrap, partitions, head) or _fault_at_the_end(partitions, marks, head)
    return Proof(NAME, _figures(partitions, head), fault and difference(fault, REPUBLISH))


async def _read(bootstrap: str, partitions: Sequence[Partition], head: int) -> str | None:
    async for number, messages in records(bootstrap, POPULATION_EVENTS):
        counter.add(len(messages))
        for message in messages:
            fault = partitions[number].meet(message.value or b"", head)
            if fault is not None:
                return f"partition {number} of {POPULATION_EVENTS} {fault}"
    return None


def _fault_at_the_end(
    partitions: Sequence[Partition], marks: dict[int, tuple[int, int]], head: int
) -> str | None:
    for partition in partitions:
        last_event, up_to = marks.get(partition.number, (0, 0))
        fault = partition.unmet(up_to) or partition.fault_of_mark(last_event, up_to, head)
        if fault is not None:
            return f"partition {partition.number} of {POPULATION_EVENTS} {fault}"
    return None


def _figures(partitions: Sequence[Partition], head: int) -> str:
    met = sum(partition.met for partition in partitions)
    strays = sum(partition.strays for partition in partitions)
    passed = f", {strays:,} of nobody's passed over" if strays else ""
    behind = f" ({met:,} of {head:,} are published)" if met < head else ""
    return f"{met:,} positions are in {POPULATION_EVENTS} as in the log, in order{behind}{passed}"
