"""Folding the log anew, a share of the residents at a time, in a process of its own.

Nothing is read of projections but which elections they serve and how far they have counted: the
rules are theirs, the numbers are not. A share also holds the voters that KPU was told of against
the log, since it has everything of its residents at hand.
"""

import asyncio
from bisect import bisect_right
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final
from uuid import UUID

import orjson

from cli.verifying import counter
from cli.verifying.snapshot import CURSOR_ROWS, Connection, Snapshot, reading
from services.projections.domain.electorate import votes_in
from services.projections.domain.tally import Delta, Projected, added, project
from services.projections.folding import Share
from shared.counts import NOTHING, Counts, VillageKey
from shared.elections import Election
from shared.events.codec import UnreadableFactError, read_fact
from shared.events.facts import Fact, LoggedFact
from shared.events.records import partition_of

REMEMBERED_FACTS: Final = 20_000

# The bucket of what lies before an election's history begins.
BEFORE_HISTORY: Final = -1

# A row of the history is weighed by its position and its counts, in whole numbers, so that sums
# of weights are equal only where the rows are, in whatever order; SQL reckons the same way.
WEIGHT_FACTOR, WEIGHT_STEP, WEIGHT_MODULUS = 2_654_435_761, 40_503, 2_147_483_647
WEIGHTS: Final = (
    *(982_451, 756_839, 611_953, 524_287, 433_494, 391_581, 314_159),
    *(271_828, 224_737, 181_081, 131_071, 104_729, 65_537, 32_749),
)

_FACTS: Final = (
    "SELECT resident_id, position, recorded_at, type, version, source, event_id, data::text"
    " FROM registry.log WHERE resident_id BETWEEN $1 AND $2"
    # What an operator gave up is not counted, and what follows is counted without it.
    " AND position <> ALL(ARRAY(SELECT position FROM projections.parked"
    " WHERE dropped_at IS NOT NULL AND position IS NOT NULL)) ORDER BY resident_id, position"
)
_VOTERS: Final = (
    "SELECT election, voter, village, fold, place FROM notifier.voters"
    " WHERE voter BETWEEN $1 AND $2"
)


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be folded: everybody's facts up to `marks`, for `elections`.

    `history_from` has, by election, the position after which its history is whole; `thresholds`
    cut the history into buckets, each from one of these positions to before the next; the rows of
    the history of `kept` are given back one by one.
    """

    snapshot: Snapshot
    elections: Sequence[Election]
    marks: Mapping[int, int]
    history_from: Mapping[str, int]
    thresholds: Sequence[int]
    kept: VillageKey | None = None


@dataclass(frozen=True, slots=True)
class Sum:
    """What rows of the history add up to, and what they weigh."""

    counts: Counts = NOTHING
    weight: int = 0


# By election, village and number of the bucket.
Sums = dict[tuple[str, str, int], Sum]


@dataclass(frozen=True, slots=True)
class WrongVoter:
    """Somebody of whom KPU was told another village than the log says, none being of no village;
    `place` is that of what was told last."""

    election: str
    voter: UUID
    told: str | None
    log_says: str | None
    place: tuple[int, int] = (-1, -1)


@dataclass(slots=True)
class Folded:
    """What the log comes to."""

    sums: Sums = field(default_factory=dict)
    voters: Counter[VillageKey] = field(default_factory=Counter)
    unapplied: dict[int, str] = field(default_factory=dict)
    wrong_voters: list[WrongVoter] = field(default_factory=list)
    kept: dict[int, Counts] = field(default_factory=dict)

    def take(self, other: "Folded") -> None:
        """Add what another share comes to."""
        for key, more in other.sums.items():
            self.sums[key] = both(self.sums.get(key), more)
        self.voters.update(other.voters)
        self.unapplied.update(other.unapplied)
        self.wrong_voters += other.wrong_voters
        self.kept.update(other.kept)

    def tallies(self) -> dict[VillageKey, Counts]:
        """The tallies of the villages that anybody was ever counted in."""
        tallies: dict[VillageKey, Counts] = {}
        for (election, village, _), more in self.sums.items():
            key = VillageKey(election, village)
            tallies[key] = added(tallies.get(key, NOTHING), more.counts)
        return tallies


def both(one: Sum | None, other: Sum) -> Sum:
    """Two sums as one."""
    if one is None:
        return other
    return Sum(added(one.counts, other.counts), one.weight + other.weight)


def weight_of(position: int, counts: Counts) -> int:
    """What a row of the history weighs."""
    return _weight_of_position(position) * _weight_of_counts(counts)


def _weight_of_position(position: int) -> int:
    return (position * WEIGHT_FACTOR + WEIGHT_STEP) % WEIGHT_MODULUS


@lru_cache
def _weight_of_counts(counts: Counts) -> int:
    return sum(count * weight for count, weight in zip(counts, WEIGHTS, strict=True))


def fold_share(job: Job, share: Share) -> Folded:
    """Fold the residents of a share."""
    return asyncio.run(_fold(job, share))


async def _fold(job: Job, share: Share) -> Folded:
    folding = Folding(job)
    async with reading(job.snapshot) as connection:
        told = await _told(connection, share)
        async for resident_id, rows in _residents(connection, share):
            votes = folding.count(resident_id, rows)
            _compare(folding.folded, resident_id, votes, told.pop(resident_id, {}))
        for voter, villages in told.items():
            _compare(folding.folded, voter, {}, villages)
    return folding.finish()


Told = dict[str, tuple[str | None, tuple[int, int]]]


async def _told(connection: Connection, share: Share) -> dict[UUID, Told]:
    """What KPU was told of the voters of a share, by election."""
    told: dict[UUID, Told] = {}
    cursor = await connection.cursor(_VOTERS, share.first, share.last)
    while rows := await cursor.fetch(CURSOR_ROWS):
        for election, voter, village, fold, place in rows:
            told.setdefault(voter, {})[election] = village, (fold, place)
    return told


async def _residents(connection: Connection, share: Share) -> AsyncIterator[tuple[UUID, list[Any]]]:
    """Every resident of a share with their rows of the log, in order."""
    resident_id: UUID | None = None
    theirs: list[Any] = []
    cursor = await connection.cursor(_FACTS, share.first, share.last)
    while rows := await cursor.fetch(CURSOR_ROWS):
        counter.add(len(rows))
        for row in rows:
            if row[0] != resident_id:
                if resident_id is not None:
                    yield resident_id, theirs
                resident_id, theirs = row[0], []
            theirs.append(row)
    if resident_id is not None:
        yield resident_id, theirs


def _compare(folded: Folded, voter: UUID, votes: Mapping[str, str], told: Told) -> None:
    for election in votes.keys() | told.keys():
        village, place = told.get(election, (None, (-1, -1)))
        log_says = votes.get(election)
        if village != log_says:
            wrong = WrongVoter(election, UUID(int=voter.int), village, log_says, place)
            folded.wrong_voters.append(wrong)


@lru_cache(REMEMBERED_FACTS)
def _fact(event_type: str, version: int, data: str) -> Fact:
    return read_fact(event_type, orjson.loads(data), version)


class Folding:
    """Counts residents one after another."""

    def __init__(self, job: Job) -> None:
        self.folded = Folded()
        self._job = job
        self._groups: Counter[tuple[VillageKey, int, Counts]] = Counter()
        self._weights: Counter[tuple[VillageKey, int]] = Counter()

    def count(self, resident_id: UUID, rows: Sequence[Any]) -> dict[str, str]:
        """Count a resident by their rows of the log: the villages whose voter they are, by
        election."""
        mark = self._job.marks[partition_of(resident_id, len(self._job.marks))]
        events: list[LoggedFact] = []
        for _, position, recorded_at, event_type, version, source, event_id, data in rows:
            if position > mark:
                break
            try:
                fact = _fact(event_type, version, data)
            except (UnreadableFactError, orjson.JSONDecodeError) as error:
                # Nothing is applied over a hole.
                self._set_aside([row[1] for row in rows if position <= row[1] <= mark], str(error))
                break
            events.append(LoggedFact(position, recorded_at, source, event_id, resident_id, fact))
        return self._take(project({}, events, self._job.elections))

    def _set_aside(self, positions: Sequence[int], why: str) -> None:
        self.folded.unapplied.update(dict.fromkeys(positions, why))

    def _take(self, projected: Projected) -> dict[str, str]:
        for unapplied in projected.unapplied:
            self.folded.unapplied[unapplied.logged.position] = unapplied.why
        for delta in projected.deltas:
            self._add(delta)
        votes = {step.election: votes_in(step.after) for step in projected.steps}
        standing = {election: village for election, village in votes.items() if village is not None}
        for election, village in standing.items():
            self.folded.voters[VillageKey(election, village)] += 1
        return standing

    def _add(self, delta: Delta) -> None:
        bucket = BEFORE_HISTORY
        if delta.position > self._job.history_from[delta.key.election]:
            bucket = bisect_right(self._job.thresholds, delta.position)
            self._weights[(delta.key, bucket)] += weight_of(delta.position, delta.counts)
            if delta.key == self._job.kept:
                self.folded.kept[delta.position] = delta.counts
        self._groups[(delta.key, bucket, delta.counts)] += 1

    def finish(self) -> Folded:
        """Everything that was counted."""
        for (key, bucket, counts), number in self._groups.items():
            more = Sum(Counts._make(count * number for count in counts))
            self.folded.sums[(*key, bucket)] = both(self.folded.sums.get((*key, bucket)), more)
        for (key, bucket), weight in self._weights.items():
            more = Sum(weight=weight)
            self.folded.sums[(*key, bucket)] = both(self.folded.sums.get((*key, bucket)), more)
        return self.folded
