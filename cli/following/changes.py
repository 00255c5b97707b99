"""A change of one of KPU's feeds as it is taken over: what it says of whom, and as one flat row."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import orjson

from shared.counts import NOTHING, Counts

# Where somebody stands: a village's tally, or the village a voter votes in (none: no voter).
Stand = Counts | str | None


class Feed(StrEnum):
    """Which feed of an election."""

    VILLAGES = "villages"
    VOTERS = "voters"

    @property
    def path(self) -> str:
        """Where it is, below the election's address."""
        return "" if self is Feed.VILLAGES else "/voters"

    @property
    def key(self) -> str:
        """The member that says who changed."""
        return "village" if self is Feed.VILLAGES else "voter"

    @property
    def untold(self) -> Stand:
        """Where everybody stands before the first change."""
        return NOTHING if self is Feed.VILLAGES else None


PLAIN: Final = {
    Feed.VILLAGES: ("sequence", "election", "village", "district", "position", "time", "stage"),
    Feed.VOTERS: (
        *("sequence", "election", "voter", "kind", "reason"),
        *("from_village", "to_village", "position", "time", "stage"),
    ),
}
BEFORE: Final = tuple(f"before_{name}" for name in Counts._fields)
AFTER: Final = tuple(f"after_{name}" for name in Counts._fields)

# The columns of a row of each feed, in CSV and in tables alike.
COLUMNS: Final = {
    Feed.VILLAGES: (*PLAIN[Feed.VILLAGES], *BEFORE, *AFTER),
    Feed.VOTERS: PLAIN[Feed.VOTERS],
}
WHOLE_NUMBERS: Final = frozenset({"sequence", "position", *BEFORE, *AFTER})


class UnreadableChangeError(Exception):
    """What was read is no change of this feed; the message says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Change:
    """One change: `key` went from `before` to `after`.

    `before` is missing (None) in a snapshot's row of a village, which says where the village stood
    at `sequence`; of a voter it is None who was no voter. `members` is what was sent.
    """

    sequence: int
    election: str
    key: str
    before: Stand
    after: Stand
    members: Mapping[str, Any]

    def row(self, feed: Feed) -> tuple[Any, ...]:
        """In the order of the columns."""
        plain = tuple(self.members[name] for name in PLAIN[feed])
        if feed is Feed.VOTERS:
            return plain
        nothing = (None,) * len(BEFORE)
        before = self.before if isinstance(self.before, Counts) else nothing
        return (*plain, *before, *(self.after if isinstance(self.after, Counts) else nothing))

    def line(self) -> bytes:
        """As one line of JSON, the sequence first."""
        return orjson.dumps({"sequence": self.sequence, **self.members}) + b"\n"


def read_change(feed: Feed, written: str | bytes) -> Change:
    """A change as JSON. Raises UnreadableChangeError."""
    try:
        members = orjson.loads(written)
        if feed is Feed.VOTERS:
            return _of_voter(members)
        after = _counts(members["after"])
        before = None if members["before"] is None else _counts(members["before"])
        return _change(members, "village", before, after)
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise UnreadableChangeError(f"{type(error).__name__} {error}") from None


def read_row(feed: Feed, cells: list[str]) -> Change:
    """A change as a row of CSV. Raises UnreadableChangeError."""
    try:
        row = dict(zip(COLUMNS[feed], cells, strict=True))
        members: dict[str, Any] = {
            name: int(row[name]) if name in WHOLE_NUMBERS else row[name] or None
            for name in PLAIN[feed]
        }
        if feed is Feed.VOTERS:
            return _of_voter(members)
        told = any(row[name] for name in BEFORE)
        before = Counts(*(int(row[name]) for name in BEFORE)) if told else None
        return _change(members, "village", before, Counts(*(int(row[name]) for name in AFTER)))
    except (KeyError, TypeError, ValueError) as error:
        raise UnreadableChangeError(f"{type(error).__name__} {error}") from None


def _of_voter(members: Mapping[str, Any]) -> Change:
    return _change(members, "voter", members["from_village"], members["to_village"])


def _change(members: Mapping[str, Any], key: str, before: Stand, after: Stand) -> Change:
    sequence, election = members["sequence"], members["election"]
    if type(sequence) is not int or type(election) is not str:
        raise TypeError("sequence is no whole number, or election no text")
    for name in PLAIN[Feed.VILLAGES if key == "village" else Feed.VOTERS]:
        if name not in members:
            raise KeyError(name)
    return Change(sequence, election, str(members[key]), before, after, members)


def _counts(members: Mapping[str, Any]) -> Counts:
    counts = Counts(*(members[name] for name in Counts._fields))
    if any(type(count) is not int for count in counts):
        raise TypeError("a count is no whole number")
    return counts


def snapshot_row(election: str, sequence: int, position: int, village: Mapping[str, Any]) -> Change:
    """Where a village of a snapshot stands."""
    counts = _counts(village)
    members = {
        "sequence": sequence,
        "election": election,
        "village": village["village"],
        "district": village["district"],
        "position": position,
        "time": None,
        "stage": None,
        "before": None,
        "after": counts._asdict(),
    }
    return Change(sequence, election, village["village"], None, counts, members)
