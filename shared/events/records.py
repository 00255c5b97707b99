"""The records of the topic `population.events`, as the relay writes and consumers read them.

Two kinds share a partition. An *event* record carries an entry of the log and the position of
the event before it in the same partition, so that a hole is noticed. A *published* record says
that everything up to a position is now in the topic, so that a consumer whose partition is
quiet knows it too.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import orjson

from shared.events.codec import VERSION, UnreadableFactError, read_fact
from shared.events.facts import LoggedFact


class LogEntry(NamedTuple):
    """A row of the event log as it is served and published: no NIK, no name.

    `data` is the JSON text of what was sent less `nik` and `name`; `time` is as sent.
    `received_at`, which is neither served nor a part of the record, is when the registry had its
    bytes, none where that is not known.
    """

    position: int
    recorded_at: datetime
    type: str
    version: int
    time: str
    source: str
    id: str
    resident_id: UUID
    data: str
    received_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class EventRecord:
    """An event in a partition; `previous` is the event before it there, 0 for the first."""

    previous: int
    logged: LoggedFact
    type: str
    version: int
    data: dict[str, Any]


@dataclass(frozen=True, slots=True)
class PublishedRecord:
    """Everything up to `position` is in the topic; `previous` is the partition's last event."""

    previous: int
    position: int


@dataclass(frozen=True, slots=True)
class UnreadableRecord:
    """A record that cannot be applied; `position` and `resident_id` where they can be read."""

    why: str
    previous: int | None
    position: int | None
    resident_id: UUID | None


TopicRecord = EventRecord | PublishedRecord | UnreadableRecord


def partition_of(resident_id: UUID, partitions: int) -> int:
    """The partition that all of a resident's events go to."""
    return resident_id.int % partitions


def served(entry: LogEntry) -> dict[str, Any]:
    """The JSON members of a log entry, in the contract's order."""
    return {
        "position": entry.position,
        "recorded_at": entry.recorded_at,
        "type": entry.type,
        "time": entry.time,
        "source": entry.source,
        "id": entry.id,
        # As text: asyncpg's own UUIDs are none that orjson knows.
        "resident_id": str(entry.resident_id),
        "data": orjson.Fragment(entry.data),
    }


def write_event(entry: LogEntry, previous: int) -> bytes:
    """The value of an event record."""
    return orjson.dumps({"previous": previous, "version": entry.version} | served(entry))


def write_published(position: int, previous: int) -> bytes:
    """The value of a published record."""
    return orjson.dumps({"previous": previous, "published_up_to": position})


def logged_fact(entry: LogEntry) -> LoggedFact:
    """The fact of a log entry. Raises UnreadableFactError."""
    fact = read_fact(entry.type, orjson.loads(entry.data), entry.version)
    return LoggedFact(
        entry.position, entry.recorded_at, entry.source, entry.id, entry.resident_id, fact
    )


def read_record(value: bytes) -> TopicRecord:
    """The record that a value of the topic holds; never raises: what cannot be read is a value
    too, so that the caller must decide what becomes of it."""
    try:
        body = orjson.loads(value)
    except orjson.JSONDecodeError:
        return UnreadableRecord("not JSON", None, None, None)
    if not isinstance(body, dict):
        return UnreadableRecord("not an object", None, None, None)
    try:
        if "published_up_to" in body:
            return PublishedRecord(int(body["previous"]), int(body["published_up_to"]))
        return _read_event(body)
    except (UnreadableFactError, KeyError, TypeError, ValueError) as error:
        return _unreadable(body, error)


def _read_event(body: dict[str, Any]) -> EventRecord:
    version = body.get("version", VERSION)
    logged = LoggedFact(
        position=int(body["position"]),
        recorded_at=datetime.fromisoformat(body["recorded_at"]),
        source=body["source"],
        id=body["id"],
        resident_id=UUID(body["resident_id"]),
        fact=read_fact(body["type"], body["data"], version),
    )
    return EventRecord(int(body["previous"]), logged, body["type"], version, body["data"])


def _unreadable(body: dict[str, Any], error: Exception) -> UnreadableRecord:
    why = str(error) if isinstance(error, UnreadableFactError) else type(error).__name__
    previous, position, resident = (body.get(k) for k in ("previous", "position", "resident_id"))
    try:
        resident_id = UUID(resident) if isinstance(resident, str) else None
    except ValueError:
        resident_id = None
    return UnreadableRecord(
        why,
        previous if isinstance(previous, int) else None,
        position if isinstance(position, int) else None,
        resident_id,
    )
