"""What of the records that arrive in a partition is news, and where its chain has a hole.

The fault model: a record may come twice, or late from a consumer that has lost its partition; the
topic may have lost records, or hold what nobody of ours wrote. The log has every event, and no
record can be of a position that the log does not have yet.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, assert_never

from shared.events.facts import LoggedFact
from shared.events.records import (
    EventRecord,
    PublishedRecord,
    TopicRecord,
    UnreadableRecord,
    partition_of,
)
from shared.traces import EventTrace

NOT_OF_THE_LOG: Final = "its position is not in the log"
OTHER_PARTITION: Final = "its resident belongs to another partition"
BROKEN_CHAIN: Final = "it names a later event as the one before it"

NUL: Final = "\0"


@dataclass(frozen=True, slots=True)
class Arrival:
    """A record as it came; `offset` is Kafka's, none where it was read from the log. Its trace is
    there for an event that is published for the first time."""

    offset: int | None
    value: bytes
    record: TopicRecord
    trace: EventTrace | None = None


@dataclass(frozen=True, slots=True)
class Stray:
    """A record that has no place in the log, and why: it is set aside and moves no mark."""

    arrival: Arrival
    why: str


@dataclass(frozen=True, slots=True)
class News:
    """An event that is to be projected, with the bytes that it came in, and its trace."""

    value: bytes
    event: EventRecord
    trace: EventTrace | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Where records arrive: in one of so many partitions, which is counted up to `mark` while the
    log's last position is `last`."""

    partition: int
    partitions: int
    mark: int
    last: int


@dataclass(slots=True)
class Sifted:
    """The arrivals of a partition up to its first hole.

    `mark` is where the partition stands when `news` are projected. Where there is a hole, the
    log must be read up to `hole`, and then `rest` sifted again.
    """

    mark: int
    news: list[News] = field(default_factory=list)
    strays: list[Stray] = field(default_factory=list)
    repeats: int = 0
    hole: int | None = None
    rest: Sequence[Arrival] = ()


def sift(arrivals: Sequence[Arrival], place: Place) -> Sifted:
    """Sift the arrivals of a partition."""
    sifted = Sifted(place.mark)
    for index, arrival in enumerate(arrivals):
        why = _misplaced(arrival.record, place)
        if why is not None:
            sifted.strays.append(Stray(arrival, why))
            continue
        sifted.hole = _hole_before(arrival.record, sifted.mark)
        if sifted.hole is not None:
            sifted.rest = arrivals[index:]
            break
        _take(sifted, arrival)
    return sifted


def _misplaced(record: TopicRecord, place: Place) -> str | None:
    """Why a record cannot be what it says it is, none if it can."""
    match record:
        case UnreadableRecord(why, _, position):
            if position is None:
                return why
            return NOT_OF_THE_LOG if position > place.last else None
        case PublishedRecord(previous, up_to):
            return _out_of_line(previous, up_to, place.last)
        case EventRecord(previous, logged):
            if partition_of(logged.resident_id, place.partitions) != place.partition:
                return OTHER_PARTITION
            return _out_of_line(previous, logged.position - 1, place.last - 1)
        case _:
            assert_never(record)


def _out_of_line(previous: int, position: int, last: int) -> str | None:
    if position > last:
        return NOT_OF_THE_LOG
    return BROKEN_CHAIN if previous > position else None


def _hole_before(record: TopicRecord, mark: int) -> int | None:
    """Up to where the log must be read before a record can be taken, none if it can be now.

    A record that cannot be read or stored is a hole itself: the log may have it whole.
    """
    match record:
        case UnreadableRecord():
            needed = record.position or 0
        case EventRecord(previous, logged):
            needed = previous if _is_storable(logged) else logged.position
        case PublishedRecord(previous):
            needed = previous
        case _:
            assert_never(record)
    return needed if needed > mark else None


def _is_storable(logged: LoggedFact) -> bool:
    """Whether the event's name is what PostgreSQL takes for text."""
    return all(isinstance(name, str) and NUL not in name for name in (logged.source, logged.id))


def _take(sifted: Sifted, arrival: Arrival) -> None:
    match arrival.record:
        case PublishedRecord(_, position):
            sifted.mark = max(sifted.mark, position)
        case EventRecord(_, logged) as event if logged.position > sifted.mark:
            sifted.news.append(News(arrival.value, event, arrival.trace))
            sifted.mark = logged.position
        case EventRecord() | UnreadableRecord():
            sifted.repeats += 1
        case _:
            assert_never(arrival.record)
