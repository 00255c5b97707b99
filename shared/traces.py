"""When an event and the change that it led to passed each station of their way.

The trace of an event goes beside it: the time of receipt in a header of its record, the time of
publishing in the record's own timestamp. What is published again has no such header, and what is
read from the log or folded anew has none either: only what passes for the first time has a trace.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

RECEIVED_HEADER: Final = "received-at"

# Kafka's own word for a record without a timestamp, and the last one that is a year of ours.
NO_TIMESTAMP: Final = -1
_LATEST_MS: Final = 32_503_680_000_000

Header = tuple[str, bytes]


@dataclass(frozen=True, slots=True)
class EventTrace:
    """When the registry had an event's bytes, and when its relay gave it to Kafka."""

    received_at: datetime
    published_at: datetime


@dataclass(frozen=True, slots=True)
class CountedTrace:
    """The trace of a change's last event, with when projections counted it."""

    event: EventTrace
    counted_at: datetime


def trace_headers(received_at: datetime | None) -> list[Header]:
    """The headers of an event's record; none where it is not known when it was received."""
    if received_at is None:
        return []
    return [(RECEIVED_HEADER, received_at.isoformat().encode())]


def read_event_trace(headers: Iterable[Header], timestamp_ms: int) -> EventTrace | None:
    """The trace that a record of an event carries; none where there is none to be read."""
    for name, value in headers:
        if name == RECEIVED_HEADER:
            received_at, published_at = _read_received(value), moment(timestamp_ms)
            if received_at is not None and published_at is not None:
                return EventTrace(received_at, published_at)
    return None


def _read_received(value: bytes) -> datetime | None:
    try:
        received_at = datetime.fromisoformat(value.decode())
    except ValueError:
        return None
    return received_at if received_at.tzinfo is not None else None


def moment(timestamp_ms: int) -> datetime | None:
    """The time that a Kafka record's timestamp says, if it says one."""
    if not 0 <= timestamp_ms <= _LATEST_MS:
        return None
    return datetime.fromtimestamp(timestamp_ms / 1000, UTC)


def timestamp_ms(time: datetime) -> int:
    """The timestamp of a Kafka record, in whole milliseconds."""
    return int(time.timestamp() * 1000)
