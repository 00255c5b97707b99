"""The registry's decision on one well-formed event (contract section 2).

The checks stand in the contract's order, and the first that fits answers.
"""

from collections.abc import Set
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Final

from services.registry.domain import nik as niks
from services.registry.domain.resident import FactOfResident, Resident
from services.registry.domain.submissions import WellFormed, written_incompletely
from shared.calendar import anniversary, office_date
from shared.events.facts import (
    BiodataCorrected,
    EventRetracted,
    Fact,
    IkdActivated,
    KtpRecorded,
    LoggedFact,
    ResidentDied,
    ResidentMarried,
    ResidentRegistered,
    ResidentRelocated,
)
from shared.problems import Problem, ProblemType

# A station's clock is not trusted further ahead than this.
CLOCK_TOLERANCE: Final = timedelta(minutes=10)

# Recording is allowed from 16, the card is printed at 17 (Dukcapil's practice since 2022; the
# policy has changed by year, see docs/open-questions.md).
RECORDING_AGE: Final = 16


class Warning(StrEnum):  # noqa: A001 - the contract's word
    """What is accepted and yet worth a look."""

    BIRTH_DATE_INCOMPLETE = "birth-date-incomplete"
    CLOCK_AHEAD = "clock-ahead"
    NIK_MISMATCH = "nik-mismatch"


@dataclass(frozen=True, slots=True)
class Accept:
    """The event joins the log."""


@dataclass(frozen=True, slots=True)
class Park:
    """The event waits for another one."""


Decision = Accept | Park | Problem


@dataclass(frozen=True, slots=True)
class Retractable:
    """What is known of the event that a retraction names.

    `logged` is the event as it stands in the log; `resident` its resident now.
    """

    logged: LoggedFact
    resident: Resident | None


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What a decision depends on besides the log: the time of receipt, the codes of all villages
    of the country, and the office's day."""

    now: datetime
    villages: Set[str]
    today: date = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "today", office_date(self.now))


def decide(
    submitted: WellFormed,
    resident: Resident | None,
    target: Retractable | None,
    circumstances: Circumstances,
) -> Decision:
    """Accept, park or refuse.

    `resident` is who stands registered by the event's NIK, `target` what a retraction names, as
    both are in the log at this moment.
    """
    now = circumstances.now
    if (problem := _in_the_future(submitted.fact, circumstances.today)) is not None:
        return problem
    if (problem := _unknown_village(submitted.fact, circumstances.villages)) is not None:
        return problem
    match submitted.fact:
        case EventRetracted():
            return _decide_retraction(target)
        case ResidentRegistered():
            return _already_registered() if resident is not None else Accept()
        case fact:
            if resident is None:
                return Park()
            return _decide_on_resident(fact, resident, trusted_time(submitted, now))


def trusted_time(submitted: WellFormed, now: datetime) -> datetime:
    """When the event happened: its `time`, or that of receipt where its clock runs ahead."""
    return now if clock_is_ahead(submitted, now) else submitted.happened_at


def clock_is_ahead(submitted: WellFormed, now: datetime) -> bool:
    return submitted.happened_at - now > CLOCK_TOLERANCE


def may_move_by_time(tried_at: datetime, now: datetime) -> bool:
    """Whether anything that is parked may move though nothing of its resident was accepted.

    `tried_at` is when all that was parked then was last tried. The verdicts on what is parked
    know of time in one way: as the office's day of the trusted time, against the day of death.
    That day is fixed, save while the clock of an event runs ahead: then it is today, and once
    the clock does so no more, that of a time up to the tolerance from now. All of these are one
    day as long as `tried_at` and that time are on the same day.
    """
    return office_date(tried_at) != office_date(now + CLOCK_TOLERANCE)


def _in_the_future(fact: Fact, today: date) -> Problem | None:
    day: date | None
    match fact:
        case ResidentRegistered(birth_date=day) | BiodataCorrected(birth_date=day):
            field = "data.birth_date"
        case ResidentMarried(married_on=day):
            field = "data.married_on"
        case ResidentDied(died_on=day):
            field = "data.died_on"
        case _:
            return None
    if day is None or day <= today:
        return None
    return Problem(
        ProblemType.IN_THE_FUTURE,
        f"{field} lies after today in Asia/Jakarta; correct the date and send it as a new event.",
        field,
    )


def _unknown_village(fact: Fact, villages: Set[str]) -> Problem | None:
    match fact:
        case ResidentRegistered(village=code):
            field = "data.village"
        case ResidentRelocated(to_village=code):
            field = "data.to_village"
        case _:
            return None
    if code in villages:
        return None
    return Problem(
        ProblemType.UNKNOWN_VILLAGE,
        f"{field} is not a village code of the national list; look the code up, not the name.",
        field,
    )


def _decide_retraction(target: Retractable | None) -> Decision:
    """A registration goes last: an event may not stand in the log of somebody unregistered."""
    if target is None:
        return Problem(
            ProblemType.UNKNOWN_EVENT,
            "data.retracts names no accepted event; check its source and id.",
            "data.retracts",
        )
    stands = target.resident is not None and target.logged in target.resident.standing
    if not stands or isinstance(target.logged.fact, EventRetracted):
        return _not_retractable("is a retraction or retracted already")
    if isinstance(target.logged.fact, ResidentRegistered) and _others_stand(target):
        return _not_retractable("is a registration whose resident has other events; retract these")
    return Accept()


def _others_stand(target: Retractable) -> bool:
    return target.resident is not None and len(target.resident.standing) > 1


def _not_retractable(why: str) -> Problem:
    return Problem(ProblemType.NOT_RETRACTABLE, f"data.retracts {why}.", "data.retracts")


def _already_registered() -> Problem:
    return Problem(
        ProblemType.ALREADY_REGISTERED,
        "data.nik is registered already; send a correction or a relocation instead.",
        "data.nik",
    )


def _decide_on_resident(
    fact: FactOfResident, resident: Resident, happened_at: datetime
) -> Decision:
    if _is_too_late(fact, resident, happened_at):
        return Problem(
            ProblemType.DECEASED,
            "The resident had died before this; if the death is wrong, retract it first.",
            "time",
        )
    match fact:
        case KtpRecorded() if office_date(happened_at) < _recordable_from(resident):
            return Problem(
                ProblemType.TOO_YOUNG,
                "The resident was not yet 16 at this time; record again after the birthday.",
                "time",
            )
        case IkdActivated() if not resident.recorded:
            return Park()
        case _:
            return Accept()


def _is_too_late(fact: FactOfResident, resident: Resident, happened_at: datetime) -> bool:
    """Whether a death forbids the event; a second death is refused whenever it was."""
    if resident.died_on is None or isinstance(fact, BiodataCorrected):
        return False
    return isinstance(fact, ResidentDied) or office_date(happened_at) > resident.died_on


def _recordable_from(resident: Resident) -> date:
    return anniversary(resident.birth_date, RECORDING_AGE)


def warnings_on(
    submitted: WellFormed, resident: Resident | None, now: datetime
) -> tuple[Warning, ...]:
    """What is worth a look, in the order of the alphabet; `resident` as before the event."""
    found = []
    if written_incompletely(submitted):
        found.append(Warning.BIRTH_DATE_INCOMPLETE)
    if clock_is_ahead(submitted, now):
        found.append(Warning.CLOCK_AHEAD)
    if _mismatches(submitted, resident):
        found.append(Warning.NIK_MISMATCH)
    return tuple(found)


def _mismatches(submitted: WellFormed, resident: Resident | None) -> bool:
    """Whether biodata and NIK differ in date or sex: real and common, a warning and no more."""
    match submitted.fact:
        case ResidentRegistered(sex=sex, birth_written=written):
            pass
        case BiodataCorrected() as corrected if resident is not None:
            if corrected.sex is None and corrected.birth_date is None:
                return False
            sex = corrected.sex or resident.sex
            written = corrected.birth_written or resident.birth_written
        case _:
            return False
    return submitted.nik is not None and not niks.agrees(submitted.nik, written, sex)
