"""Tallies: the 14 counts of a village, and how an event of the log changes them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from itertools import groupby
from typing import Final
from uuid import UUID

from services.projections.domain.electorate import Standing, VoterClass, standing_of
from services.projections.domain.resident import UNKNOWN, Resident, evolve, life_of
from shared.calendar import office_date
from shared.counts import NOTHING, Counts, VillageKey
from shared.elections import Election
from shared.events.facts import LoggedFact, Sex

# Law: PKPU's limit for this election (domain section 3).
TPS_MAX_VOTERS: Final = 600

AN_EARLIER_ONE_WAITS: Final = "an earlier event of the resident is parked"

# What a rule raises when it meets a value that no rule foresaw, such as a year after 9999.
INAPPLICABLE: Final = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)


def added(a: Counts, b: Counts) -> Counts:
    return Counts._make(x + y for x, y in zip(a, b, strict=True))


def subtracted(a: Counts, b: Counts) -> Counts:
    return Counts._make(x - y for x, y in zip(a, b, strict=True))


def summed(tallies: Iterable[Counts]) -> Counts:
    """The tally of a district or of the whole area: the sum of its villages."""
    return Counts._make(map(sum, zip(NOTHING, *tallies, strict=True)))


def coverage(tally: Counts) -> float | None:
    """The part of the eligible that is recorded; none where nobody is eligible."""
    return tally.eligible_recorded / tally.eligible if tally.eligible else None


def is_untouched(tally: Counts) -> bool:
    """Whether there are eligible residents and none of them is recorded."""
    return tally.eligible > 0 and tally.eligible_recorded == 0


def tps_min(villages: Iterable[Counts]) -> int:
    """The least number of polling stations (TPS) of some villages.

    Contract section 4, at most 600 voters each. Law: villages are not merged for a polling
    station, so each needs its own (domain section 3).
    """
    return sum(-(-tally.eligible // TPS_MAX_VOTERS) for tally in villages)


def counts_of(standing: Standing | None) -> Counts:
    """What one resident adds to the tally of their village."""
    if standing is None:
        return NOTHING
    return _counts(
        standing.voter_class,
        standing.sex,
        standing.is_recorded,
        standing.is_first_time,
        standing.is_ikd_active,
        standing.is_relocating,
    )


@cache
def _counts(
    voter_class: VoterClass,
    sex: Sex,
    is_recorded: bool,
    is_first_time: bool,
    is_ikd_active: bool,
    is_relocating: bool,
) -> Counts:
    eligible = voter_class is VoterClass.ELIGIBLE
    return Counts(
        residents=1,
        eligible=int(eligible),
        eligible_male=int(eligible and sex is Sex.MALE),
        eligible_female=int(eligible and sex is Sex.FEMALE),
        eligible_recorded=int(eligible and is_recorded),
        eligible_unrecorded=int(eligible and not is_recorded),
        first_time=int(eligible and is_first_time),
        first_time_unrecorded=int(eligible and is_first_time and not is_recorded),
        ikd_active=int(is_ikd_active),
        relocating=int(is_relocating),
        under_age=int(voter_class is VoterClass.UNDER_AGE),
        tni=int(voter_class is VoterClass.TNI),
        polri=int(voter_class is VoterClass.POLRI),
        rights_revoked=int(voter_class is VoterClass.RIGHTS_REVOKED),
    )


@dataclass(frozen=True, slots=True)
class Step:
    """What one event did to how one resident stands in one election."""

    logged: LoggedFact
    election: str
    before: Standing | None
    after: Standing | None


@dataclass(frozen=True, slots=True)
class Delta:
    """What one event added to one village's tally."""

    key: VillageKey
    position: int
    recorded_at: datetime
    counts: Counts


@dataclass(frozen=True, slots=True)
class TallyChange:
    """A village's tally going from `before` to `after`; `revision` numbers its changes."""

    key: VillageKey
    revision: int
    position: int
    recorded_at: datetime
    before: Counts
    after: Counts


@dataclass(frozen=True, slots=True)
class Unapplied:
    """An event that the rules could not apply, and why; its resident stays as before it."""

    logged: LoggedFact
    why: str


@dataclass(slots=True)
class Projected:
    """What a run of events comes to.

    `steps` in the order of the events, those that changed something alone; `deltas` the same by
    village.
    """

    steps: list[Step] = field(default_factory=list)
    deltas: list[Delta] = field(default_factory=list)
    unapplied: list[Unapplied] = field(default_factory=list)


@dataclass(slots=True)
class _Present:
    """A resident in the middle of a run, and how they stand in each election."""

    resident: Resident
    standings: list[Standing | None] | None = None
    is_blocked: bool = False


def project(
    residents: Mapping[UUID, Resident],
    events: Sequence[LoggedFact],
    elections: Sequence[Election],
) -> Projected:
    """Fold events, in the order of their positions, into residents and village tallies.

    An event that cannot be applied is given back, with all that follow it for the same resident:
    nothing is applied over a hole.
    """
    projected = Projected()
    present: dict[UUID, _Present] = {}
    for logged in events:
        person = present.get(logged.resident_id)
        if person is None:
            resident = residents.get(logged.resident_id, UNKNOWN)
            person = present[logged.resident_id] = _Present(resident)
        if person.is_blocked:
            projected.unapplied.append(Unapplied(logged, AN_EARLIER_ONE_WAITS))
            continue
        try:
            _apply(projected, person, logged, elections)
        except INAPPLICABLE as error:
            person.is_blocked = True
            projected.unapplied.append(Unapplied(logged, type(error).__name__))
    return projected


def _apply(
    projected: Projected, person: _Present, logged: LoggedFact, elections: Sequence[Election]
) -> None:
    if person.standings is None:
        person.standings = _standings(person.resident, elections)
    resident = evolve(person.resident, logged)
    standings = _standings(resident, elections)
    for election, before, after in zip(elections, person.standings, standings, strict=True):
        if before != after:
            step = Step(logged, election.id, before, after)
            projected.steps.append(step)
            _add_deltas(projected, step)
    person.resident, person.standings = resident, standings


def _standings(resident: Resident, elections: Sequence[Election]) -> list[Standing | None]:
    life = life_of(resident)
    if life is None:
        return [None] * len(elections)
    return [standing_of(life, election) for election in elections]


def _add_deltas(projected: Projected, step: Step) -> None:
    for village, counts in changes_of(step.before, step.after):
        key = VillageKey(step.election, village)
        delta = Delta(key, step.logged.position, step.logged.recorded_at, counts)
        projected.deltas.append(delta)


def changes_of(before: Standing | None, after: Standing | None) -> list[tuple[str, Counts]]:
    """The deltas of a change of standing by village, those that change nothing left out."""
    if before is not None and after is not None and before.village == after.village:
        counts = subtracted(counts_of(after), counts_of(before))
        return [(after.village, counts)] if counts != NOTHING else []
    changes = []
    if before is not None:
        changes.append((before.village, subtracted(NOTHING, counts_of(before))))
    if after is not None:
        changes.append((after.village, counts_of(after)))
    return changes


def sums(deltas: Iterable[Delta]) -> dict[VillageKey, Delta]:
    """The deltas added up by village; position and time are those of the last event in each."""
    totals: dict[VillageKey, Delta] = {}
    for delta in deltas:
        total = totals.get(delta.key)
        if total is not None:
            counts = added(total.counts, delta.counts)
            delta = Delta(delta.key, delta.position, delta.recorded_at, counts)
        totals[delta.key] = delta
    return totals


def runs_of_one_stage(
    deltas: Sequence[Delta], elections: Sequence[Election]
) -> Iterator[Sequence[Delta]]:
    """The deltas in runs in which no election's voter list changes its stage.

    What happened in two stages must not be folded into one change: after the DPT is set, a change
    is a note on the list and no longer an edit of it (contract section 6).
    """
    moments = [delta.recorded_at for delta in deltas]
    if not moments or _stages(min(moments), elections) == _stages(max(moments), elections):
        yield deltas
        return
    for _, run in groupby(deltas, lambda delta: _stages(delta.recorded_at, elections)):
        yield list(run)


def _stages(moment: datetime, elections: Sequence[Election]) -> list[str | None]:
    day = office_date(moment)
    return [election.stage_on(day) for election in elections]
