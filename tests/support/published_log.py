"""A log and its topic as the registry leaves them, written by the test itself, faults included."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import asyncpg
import orjson
from aiokafka import AIOKafkaProducer

from shared.events.records import LogEntry, partition_of, write_event, write_published
from shared.topics import PARTITIONS, POPULATION_EVENTS
from tests.support.slow_model import Model

# The columns of registry.log, in the order of a log entry's members.
LOG_COLUMNS = (
    *("position", "recorded_at", "type", "version", "time"),
    *("source", "event_id", "resident_id", "data"),
)


async def append(dsn: str, entries: Sequence[LogEntry]) -> None:
    """Put entries into the registry's log, and move its head to the last of them."""
    connection = await asyncpg.connect(dsn)
    try:
        async with connection.transaction():
            await connection.copy_records_to_table(
                "log",
                schema_name="registry",
                columns=LOG_COLUMNS,
                records=[
                    tuple(getattr(e, c if c != "event_id" else "id") for c in LOG_COLUMNS)
                    for e in entries
                ],
            )
            await connection.execute("UPDATE registry.head SET position = $1", entries[-1].position)
    finally:
        await connection.close()


@dataclass(slots=True)
class Chain:
    """Writes records as the relay does: each names the event before it in its partition."""

    last: dict[int, int] = field(default_factory=lambda: dict.fromkeys(range(PARTITIONS), 0))

    def events(self, entries: Iterable[LogEntry]) -> list[tuple[int, bytes]]:
        """The records of entries, each with its partition."""
        records = []
        for entry in entries:
            partition = partition_of(entry.resident_id, PARTITIONS)
            records.append((partition, write_event(entry, self.last[partition])))
            self.last[partition] = entry.position
        return records

    def published(
        self, position: int, partitions: Iterable[int] = range(PARTITIONS)
    ) -> list[tuple[int, bytes]]:
        """The records that say, in each of some partitions, that everything up to here is there."""
        return [(p, write_published(position, self.last[p])) for p in partitions]


async def publish(bootstrap: str, records: Iterable[tuple[int, bytes]]) -> None:
    """Send records to their partitions, in order."""
    producer: Any = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all")
    await producer.start()
    try:
        sent = [
            await producer.send(POPULATION_EVENTS, value, partition=partition)
            for partition, value in records
        ]
        for acknowledgement in sent:
            await acknowledgement
    finally:
        await producer.stop()


def logged_by_the_model(model: Model) -> list[LogEntry]:
    """The log of the slow model as the registry keeps it."""
    return [
        LogEntry(
            entry.position,
            entry.recorded_at,
            entry.event["type"],
            1,
            entry.event["time"],
            entry.event["source"],
            entry.event["id"],
            UUID(int=entry.resident),
            orjson.dumps(entry.served_data).decode(),
        )
        for entry in model.log
    ]
