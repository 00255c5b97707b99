"""What the registry must know of a resident to decide: the facts of one NIK that still stand."""

from datetime import date
from typing import NamedTuple, assert_never
from uuid import UUID

from shared.events.facts import (
    BiodataCorrected,
    EventRetracted,
    IkdActivated,
    KtpFailed,
    KtpRecorded,
    LoggedFact,
    RelocationStarted,
    ResidentDied,
    ResidentMarried,
    ResidentRegistered,
    ResidentRelocated,
    RightsRestored,
    RightsRevoked,
    ServiceChanged,
    Sex,
    standing,
)

# What can be in the log of a resident after the registration, retractions aside.
FactOfResident = (
    KtpRecorded
    | KtpFailed
    | IkdActivated
    | RelocationStarted
    | ResidentRelocated
    | ResidentMarried
    | ResidentDied
    | ServiceChanged
    | RightsRevoked
    | RightsRestored
    | BiodataCorrected
)


class Resident(NamedTuple):
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
        case fact:
            assert resident is not None
            return _lay_over(resident, logged, fact)


def fold(history: list[LoggedFact]) -> Resident | None:
    """The state that a resident's whole history gives."""
    resident: Resident | None = None
    for logged in standing(history):
        resident = evolve(resident, logged)
    return resident


def _lay_over(resident: Resident, logged: LoggedFact, fact: FactOfResident) -> Resident:
    standing = (*resident.standing, logged)
    match fact:
        case KtpRecorded():
            return resident._replace(standing=standing, recorded=True)
        case KtpFailed():
            return resident._replace(standing=standing, recorded=False)
        case ResidentDied(died_on):
            return resident._replace(standing=standing, died_on=died_on)
        case BiodataCorrected() as corrected:
            return resident._replace(
                standing=standing,
                birth_date=corrected.birth_date or resident.birth_date,
                birth_written=corrected.birth_written or resident.birth_written,
                sex=corrected.sex or resident.sex,
            )
        case (
            IkdActivated()
            | RelocationStarted()
            | ResidentRelocated()
            | ResidentMarried()
            | ServiceChanged()
            | RightsRevoked()
            | RightsRestored()
        ):
            return resident._replace(standing=standing)
        case _:
            assert_never(fact)
