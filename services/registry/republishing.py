"""Publishing the log again: because the topic was lost, or because an operator asked for it.

A request is a row that says from where, up to where, and how far it is; the relay takes it up and
moves it on with its marks, so that a crash goes on where it was. Records come out as they were at
first, and whoever has them drops them by position.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.event_log import last_position, read_log
from shared.events.records import (
    EventRecord,
    PublishedRecord,
    TopicRecord,
    UnreadableRecord,
    partition_of,
)
from shared.topics import Ends

TOPIC_LOST: Final = "topic-lost"
ASKED_FOR: Final = "asked-for"

# Entries of the log read at once on the way back to where each partition's chain ends.
BACK_AT_ONCE: Final = 2_000


@dataclass(slots=True)
class Tail:
    """Where a partition of the topic ends: its last event, and up to where it has everything."""

    last_event: int = 0
    up_to: int = 0

    def see(self, record: TopicRecord) -> None:
        """Take note of a record that the partition has."""
        match record:
            case EventRecord() as event:
                self.last_event = max(self.last_event, event.logged.position)
            case PublishedRecord(previous, position):
                self.last_event = max(self.last_event, previous)
                self.up_to = max(self.up_to, position)
            case UnreadableRecord():
                # What lies after the last readable record is published again.
                pass
        self.up_to = max(self.up_to, self.last_event)


@dataclass(frozen=True, slots=True)
class Republication:
    """The log published again from one position to another, and up to where it is."""

    id: int
    reason: str
    from_position: int
    up_to: int
    reached: int
    asked_at: datetime
    finished_at: datetime | None


_ASK = text(
    "INSERT INTO registry.republications (reason, from_position, up_to, reached, finished_at)"
    " VALUES (:reason, :from_position, CAST(:up_to AS bigint), CAST(:reached AS bigint),"
    " CASE WHEN CAST(:reached AS bigint) >= CAST(:up_to AS bigint) THEN now() END)"
    " RETURNING id, reason, from_position, up_to, reached, asked_at, finished_at"
)
_READ = text(
    "SELECT id, reason, from_position, up_to, reached, asked_at, finished_at"
    " FROM registry.republications WHERE id = :id"
)
_ADVANCE = text(
    "UPDATE registry.republications SET reached = greatest(reached, least(up_to, :up_to)),"
    " finished_at = CASE WHEN :up_to >= up_to THEN now() END"
    " WHERE finished_at IS NULL AND id = ANY(:ids)"
)


async def ask(
    connection: AsyncConnection, from_position: int, reason: str = ASKED_FOR
) -> Republication:
    """Have the log published again from a position up to its present end."""
    row = await connection.execute(
        _ASK,
        {
            "reason": reason,
            "from_position": from_position,
            "reached": from_position - 1,
            "up_to": await last_position(connection),
        },
    )
    return Republication(*row.one())


async def republication(connection: AsyncConnection, number: int) -> Republication | None:
    """One of them by its number, none where there is no such one."""
    row = (await connection.execute(_READ, {"id": number})).first()
    return Republication(*row) if row else None


async def begin_anew(connection: AsyncConnection) -> None:
    """Forget the ends of the topic that was lost, and have the whole log published again."""
    await connection.execute(text("UPDATE registry.relay_marks SET end_offset = 0"))
    await ask(connection, 1, TOPIC_LOST)


async def ends(connection: AsyncConnection) -> Ends:
    """Where each partition of the topic ends, by what the broker has acknowledged."""
    rows = await connection.execute(text("SELECT partition, end_offset FROM registry.relay_marks"))
    return Ends({row.partition: row.end_offset for row in rows})


async def pending(connection: AsyncConnection) -> dict[int, int]:
    """The republications that are not finished, each with the position that it has reached."""
    rows = await connection.execute(
        text("SELECT id, reached FROM registry.republications WHERE finished_at IS NULL")
    )
    return {row.id: row.reached for row in rows}


async def advance(
    connection: AsyncConnection, under_way: Mapping[int, int], up_to: int
) -> dict[int, int]:
    """Say that everything up to a position is published again; what is still under way."""
    await connection.execute(_ADVANCE, {"ids": list(under_way), "up_to": up_to})
    left = await pending(connection)
    return {number: reached for number, reached in left.items() if number in under_way}


async def tails_before(
    connection: AsyncConnection, under_way: Mapping[int, int], partitions: int
) -> list[Tail]:
    """Where the chains of the partitions stand behind what the furthest behind has reached."""
    reached = min(under_way.values())
    last: dict[int, int] = {}
    before = reached
    while before > 0 and len(last) < partitions:
        begin = max(0, before - BACK_AT_ONCE)
        for entry in await read_log(connection, begin, BACK_AT_ONCE, before):
            # Later entries of a page stand over earlier ones, and later pages were read before.
            partition = partition_of(entry.resident_id, partitions)
            if last.get(partition, 0) < entry.position:
                last[partition] = entry.position
        before = begin
    return [Tail(last.get(partition, 0), reached) for partition in range(partitions)]
