"""What the registry must know of a resident to decide: the facts of one NIK that still stand."""

from dataclasses import dataclass, replace
from datetime import date
from uuid import UUID

from shared.events.facts import (
    BiodataCorrected,
    EventRetracted,
    KtpFailed,
    KtpRecorded,
    LoggedFact,
    ResidentDied,
    ResidentRegistered,
    Sex,
    standing,
)


@dataclass(frozen=True, slots=True)
class Resident:
    """A registered resident and the facts about them that stand, in log order.

    `birth_date`, as written `birth_written`, and `sex` are the registration's with corrections
    laid over in log order;
    `died_on` is the standing death, `recorded` whether the last of the standing recordings and
    failures is a recording (contract section 3).
    """

    resident_id: UUID
    standing: tuple[LoggedFact, ...]
    birth_date: date
    birth_written: str
    sex: Sex
    died_on: date | None = None
    recorded: bool = False


def register(logged: LoggedFact, registration: ResidentRegistered) -> Resident:
    """The resident that a registration makes."""
    return Resident(
        logged.resident_id,
        (logged,),
        registration.birth_date,
        registration.birth_written,
        registration.sex,
    )


def evolve(resident: Resident | None, logged: LoggedFact) -> Resident | None:
    """The state after one more fact; None is a NIK that nobody is registered by.

    A fact of somebody who is not registered cannot be in the log: the registry parks it.
    """
    match logged.fact:
        case ResidentRegistered() as registration:
            return register(logged, registration)
        case EventRetracted():
            assert resident is not None
            return fold([*resident.standing, logged])
        case _:
            assert resident is not None
            return _lay_over(resident, logged)


def fold(history: list[LoggedFact]) -> Resident | None:
    """The state that a resident's whole history gives."""
    resident: Resident | None = None
    for logged in standing(history):
        resident = evolve(resident, logged)
    return resident


def _lay_over(resident: Resident, logged: LoggedFact) -> Resident:
    grown = replace(resident, standing=(*resident.standing, logged))
    match logged.fact:
        case KtpRecorded():
            return replace(grown, recorded=True)
        case KtpFailed():
            return replace(grown, recorded=False)
        case ResidentDied(died_on):
            return replace(grown, died_on=died_on)
        case BiodataCorrected() as corrected:
            return replace(
                grown,
                birth_date=corrected.birth_date or grown.birth_date,
                birth_written=corrected.birth_written or grown.birth_written,
                sex=corrected.sex or grown.sex,
            )
        case _:
            return grown
