"""Folding one resident's whole life at once, for all elections: what `project` says of the same
facts, without looking at everything again for each."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import NamedTuple

from services.projections.domain import electorate
from services.projections.domain.electorate import Standing, VoterClass
from services.projections.domain.resident import Life, lived_on
from services.projections.domain.tally import INAPPLICABLE, changes_of, counts_of, project
from shared.counts import Counts
from shared.elections import Election
from shared.events.facts import EventRetracted, LoggedFact, Sex


class Added(NamedTuple):
    """What one fact added to one village: `election` and `fact` are their places in what was
    given."""

    election: int
    village: str
    fact: int
    counts: Counts


@dataclass(slots=True)
class Retold:
    """What a life comes to: the deltas, how the resident stands in each election after it, and
    from which fact on it could not be applied, and why."""

    added: list[Added] = field(default_factory=list)
    standings: list[Standing | None] = field(default_factory=list)
    stopped_at: int | None = None
    why: str = ""


def retell(facts: Sequence[LoggedFact], elections: Sequence[Election]) -> Retold:
    """Fold all facts of one resident, in log order."""
    if any(type(logged.fact) is EventRetracted for logged in facts):
        return _projected(facts, elections)
    return _lived(facts, elections)


def _lived(facts: Sequence[LoggedFact], elections: Sequence[Election]) -> Retold:
    """As each fact stands, a life only grows."""
    life: Life | None = None
    retold = Retold(standings=[None] * len(elections))
    for index, logged in enumerate(facts):
        try:
            life = lived_on(life, logged.fact)
            if life is None:
                continue
            standings = [electorate.standing_of(life, election) for election in elections]
        except INAPPLICABLE as error:
            retold.stopped_at, retold.why = index, type(error).__name__
            return retold
        for number, before in enumerate(retold.standings):
            after = standings[number]
            if before != after:
                _add(retold.added, number, index, before, after)
        retold.standings = standings
    return retold


def _add(
    added: list[Added], number: int, index: int, before: Standing | None, after: Standing | None
) -> None:
    if before is None and after is not None:
        added.append(Added(number, after.village, index, counts_of(after)))
        return
    if before is not None and after is not None and before.village == after.village:
        counts = _growth(_traits(before), _traits(after))
        if any(counts):
            added.append(Added(number, after.village, index, counts))
        return
    for village, counts in changes_of(before, after):
        added.append(Added(number, village, index, counts))


Traits = tuple[VoterClass, Sex, bool, bool, bool, bool]


def _traits(standing: Standing) -> Traits:
    return (
        standing.voter_class,
        standing.sex,
        standing.is_recorded,
        standing.is_first_time,
        standing.is_ikd_active,
        standing.is_relocating,
    )


@cache
def _growth(before: Traits, after: Traits) -> Counts:
    """What a village gains when somebody in it comes to stand otherwise."""
    there = Standing("", *before), Standing("", *after)
    changes = changes_of(*there)
    return changes[0][1] if changes else Counts()


def _projected(facts: Sequence[LoggedFact], elections: Sequence[Election]) -> Retold:
    projected = project({}, facts, elections)
    numbers = {election.id: number for number, election in enumerate(elections)}
    places = {logged.position: index for index, logged in enumerate(facts)}
    retold = Retold(standings=[None] * len(elections))
    for delta in projected.deltas:
        number, index = numbers[delta.key.election], places[delta.position]
        retold.added.append(Added(number, delta.key.village, index, delta.counts))
    for step in projected.steps:
        retold.standings[numbers[step.election]] = step.after
    if projected.unapplied:
        first = projected.unapplied[0]
        retold.stopped_at, retold.why = places[first.logged.position], first.why
    return retold
