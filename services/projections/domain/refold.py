"""Folding residents again for one election: its tallies by a new definition, and whom the change
of definition makes a voter of another village, or of none."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from services.projections.domain.electorate import (
    Standing,
    standing_of,
    village_voted_in,
    votes_in,
)
from services.projections.domain.resident import Life, Resident, life_of
from services.projections.domain.tally import (
    INAPPLICABLE,
    Delta,
    TallyChange,
    added,
    counts_of,
    project,
    subtracted,
)
from shared.counts import NOTHING, Counts, VillageKey
from shared.elections import Election
from shared.events.records import partition_of

# How far each partition is counted. A resident stands as after the facts up to the mark of their
# partition: all of those are known, whatever comes meanwhile.
Marks = Mapping[int, int]


@dataclass(frozen=True, slots=True)
class Redefinition:
    """An election's new definition, and the one that serves; none where the election is new."""

    new: Election
    old: Election | None


@dataclass(slots=True)
class Folded:
    """What folding some residents comes to.

    `groups` counts those who add the same to the same village; `differences` has the village
    that each person votes in by the new definition, where the old one says another.
    """

    groups: Counter[tuple[str, Counts]] = field(default_factory=Counter)
    differences: dict[UUID, str | None] = field(default_factory=dict)


def up_to(resident_id: UUID, resident: Resident, marks: Marks) -> Resident:
    """A resident as they stood at the marks."""
    mark = marks[partition_of(resident_id, len(marks))]
    facts = resident.facts
    if facts and facts[-1].position <= mark:
        return resident
    return Resident(tuple(logged for logged in facts if logged.position <= mark))


def fold_anew(
    folded: Folded, resident_id: UUID, resident: Resident, redefinition: Redefinition
) -> None:
    """Count one more resident by the new definition."""
    count_anew(folded, resident_id, life_of(resident), redefinition)


def count_anew(
    folded: Folded, resident_id: UUID, life: Life | None, redefinition: Redefinition
) -> None:
    """As `fold_anew`, for facts sorted already."""
    standing = _standing(life, redefinition.new)
    if standing is not None:
        folded.groups[(standing.village, counts_of(standing))] += 1
    votes = votes_in(standing)
    if votes != _voted_in(life, redefinition.old):
        folded.differences[resident_id] = votes


def tallies_of(groups: Mapping[tuple[str, Counts], int]) -> dict[str, Counts]:
    """The villages' tallies; those that nobody counts in are left out."""
    tallies: dict[str, Counts] = {}
    for (village, counts), people in groups.items():
        sum_of_group = Counts._make(count * people for count in counts)
        tallies[village] = added(tallies.get(village, NOTHING), sum_of_group)
    return tallies


def plus(tallies: dict[str, Counts], more: Mapping[str, Counts]) -> None:
    """Add to the villages' tallies."""
    for village, counts in more.items():
        tallies[village] = added(tallies.get(village, NOTHING), counts)


@dataclass(slots=True)
class CaughtUp:
    """What the facts between two marks add to a folding: `tallies` by village, and `differences`
    as in Folded, of everybody `touched`."""

    tallies: dict[str, Counts] = field(default_factory=dict)
    differences: dict[UUID, str | None] = field(default_factory=dict)
    touched: list[UUID] = field(default_factory=list)


def catch_up(
    residents: Mapping[UUID, Resident], redefinition: Redefinition, before: Marks, after: Marks
) -> CaughtUp:
    """Take residents, of whom something new may be known, from some marks to later ones."""
    caught_up = CaughtUp()
    for resident_id, resident in residents.items():
        then, now = up_to(resident_id, resident, before), up_to(resident_id, resident, after)
        if len(then.facts) == len(now.facts):
            continue
        caught_up.touched.append(resident_id)
        life = life_of(now)
        standing = _standing(life, redefinition.new)
        _add(caught_up.tallies, _standing(life_of(then), redefinition.new), standing)
        votes = votes_in(standing)
        if votes != _voted_in(life, redefinition.old):
            caught_up.differences[resident_id] = votes
    return caught_up


def _add(tallies: dict[str, Counts], then: Standing | None, now: Standing | None) -> None:
    if then is not None:
        tally = tallies.get(then.village, NOTHING)
        tallies[then.village] = subtracted(tally, counts_of(then))
    if now is not None:
        tallies[now.village] = added(tallies.get(now.village, NOTHING), counts_of(now))


def _standing(life: Life | None, election: Election) -> Standing | None:
    """How somebody stands; nowhere if no rule can say, as `project` would set their facts aside."""
    if life is None:
        return None
    try:
        return standing_of(life, election)
    except INAPPLICABLE:
        return None


def _voted_in(life: Life | None, election: Election | None) -> str | None:
    """The village whose voter somebody is, as `votes_in` would say of `_standing`."""
    if life is None or election is None:
        return None
    try:
        return village_voted_in(life, election)
    except INAPPLICABLE:
        return None


def history_after(
    residents: Mapping[UUID, Resident], election: Election, position: int, marks: Marks
) -> list[Delta]:
    """What each fact beyond a position, and not beyond the marks, added by a definition."""
    deltas: list[Delta] = []
    for resident_id, resident in residents.items():
        facts = up_to(resident_id, resident, marks).facts
        earlier = Resident(tuple(logged for logged in facts if logged.position <= position))
        later = [logged for logged in facts if logged.position > position]
        deltas += project({resident_id: earlier}, later, [election]).deltas
    return deltas


@dataclass(frozen=True, slots=True)
class Row:
    """A tally as it is kept, with its revision."""

    revision: int
    counts: Counts


def differences_of(
    election_id: str,
    kept: Mapping[str, Row],
    tallies: Mapping[str, Counts],
    position: int,
    moment: datetime,
) -> Iterator[TallyChange]:
    """The changes that take the tallies kept to the new ones, in the order of the villages.

    A village that has left the area goes to zero like one that everybody has left.
    """
    for village in sorted(kept.keys() | tallies.keys()):
        row = kept.get(village, Row(0, NOTHING))
        after = tallies.get(village, NOTHING)
        if row.counts != after:
            key = VillageKey(election_id, village)
            yield TallyChange(key, row.revision + 1, position, moment, row.counts, after)
