"""A numbered supplement: what the voters' feed told between two sequences, and what it adds up to.

Its canonical content is lines of RFC 8785 canonical JSON, each ended by a line feed: the head,
each change in the order of its sequence, each village's totals in the order of its code. The
supplement's hash is the SHA-256 of these bytes, and the head holds the hash of the supplement
before it; so whoever has the last one can prove all of them.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, NamedTuple, TypeVar

import orjson

from services.notifier.domain.voters import Kind

V = TypeVar("V")

_CANONICAL: Final = orjson.OPT_SORT_KEYS | orjson.OPT_UTC_Z | orjson.OPT_APPEND_NEWLINE


class Entry(NamedTuple):
    """A change as a supplement has it: one of the voters' feed (contract section 6)."""

    sequence: int
    voter: str
    kind: str
    reason: str
    from_village: str | None
    to_village: str | None
    position: int
    time: datetime
    stage: str | None


class Total(NamedTuple):
    """The voters of a village before and after, and what happened in between.

    `after = before + added + moved_in - removed - moved_out`.
    """

    village: str
    before: int
    added: int
    removed: int
    moved_in: int
    moved_out: int
    after: int


class Head(NamedTuple):
    """What a supplement says of itself: it closes the voters' feed after `from_sequence` up to
    `to_sequence`. `villages_to` is how far the villages' feed had told beside it."""

    election: str
    number: int
    made_at: datetime
    from_sequence: int
    to_sequence: int
    villages_from: int
    villages_to: int
    previous_hash: str | None


def canonical(line: Mapping[str, Any]) -> bytes:
    """One line of the canonical content."""
    return orjson.dumps(line, option=_CANONICAL)


def canonical_entries(entries: Iterable[Entry]) -> bytes:
    """The lines of changes."""
    return b"".join(canonical(entry._asdict()) for entry in entries)


def canonical_totals(totals: Iterable[Total]) -> bytes:
    """The lines of villages."""
    return b"".join(canonical(total._asdict()) for total in totals)


@dataclass(slots=True)
class Closing:
    """A supplement on its way: give it every change, in order, and finish it."""

    head: Head
    voters: Mapping[str, int]
    _hash: Any = field(init=False)
    _moves: dict[str, Counter[str]] = field(init=False)
    _last: int = field(init=False)

    def __post_init__(self) -> None:
        self._hash = hashlib.sha256(canonical(self.head._asdict()))
        self._moves = {name: Counter() for name in ("added", "removed", "moved_in", "moved_out")}
        self._last = self.head.from_sequence

    def take(self, entries: Iterable[Entry]) -> None:
        """Take the changes that follow."""
        moves = self._moves
        for entry in entries:
            assert entry.sequence == self._last + 1, "the feed has a gap"
            self._last = entry.sequence
            self._hash.update(canonical(entry._asdict()))
            match entry.kind:
                case Kind.ADDED:
                    moves["added"][entry.to_village or ""] += 1
                case Kind.REMOVED:
                    moves["removed"][entry.from_village or ""] += 1
                case _:
                    moves["moved_out"][entry.from_village or ""] += 1
                    moves["moved_in"][entry.to_village or ""] += 1

    def finish(self) -> tuple[list[Total], bytes]:
        """The totals of every village that has or had voters, by code; and the hash."""
        assert self._last == self.head.to_sequence, "the feed has a gap"
        villages = set(self.voters).union(*self._moves.values())
        totals = [self._total(village) for village in sorted(villages)]
        self._hash.update(canonical_totals(totals))
        return totals, self._hash.digest()

    def _total(self, village: str) -> Total:
        before = self.voters.get(village, 0)
        added, removed, moved_in, moved_out = (c[village] for c in self._moves.values())
        after = before + added - removed + moved_in - moved_out
        return Total(village, before, added, removed, moved_in, moved_out, after)


class Misfit(NamedTuple):
    """A change that a list cannot take: the list has the voter in `listed`, where the change goes
    on from another village; None is no village."""

    entry: Entry
    listed: str | None


def apply(voters: Mapping[V, str], entries: Iterable[tuple[V, Entry]]) -> dict[V, str] | Misfit:
    """The list that a supplement makes of the one before it: who votes in which village.

    `voters` has the village of each voter; each change names the voter as the list does. The first
    change that does not go on from the list ends it: the list is not the one that the supplement
    follows.
    """
    after = dict(voters)
    for voter, entry in entries:
        if after.get(voter) != entry.from_village:
            return Misfit(entry, after.get(voter))
        if entry.to_village is None:
            del after[voter]
        else:
            after[voter] = entry.to_village
    return after
