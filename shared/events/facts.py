"""The facts of the log: what happened to a resident, without NIK or name.

Each class is one event type of contract section 1. A fact is what every service may know; NIK
and name stay with the registry.
"""

from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import Final, NamedTuple
from uuid import UUID


class Sex(StrEnum):
    """L laki-laki (male), P perempuan (female)."""

    MALE = "L"
    FEMALE = "P"


class MaritalStatus(StrEnum):
    """B belum kawin (never married), S sudah kawin (married), P pernah kawin (was married)."""

    NEVER = "B"
    MARRIED = "S"
    WAS_MARRIED = "P"


class Service(StrEnum):
    """Active service that suspends the vote: the armed forces (TNI) or the police (Polri)."""

    NONE = "none"
    TNI = "tni"
    POLRI = "polri"


class RecordingFailure(StrEnum):
    """Why the national centre did not accept a recording."""

    DUPLICATE = "duplicate"
    UNREADABLE = "unreadable"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class ResidentRegistered:
    """A person entered the population register.

    `birth_date` is the last day it can be, `birth_written` the date as sent, maybe incomplete.
    """

    sex: Sex
    birth_date: date
    marital_status: MaritalStatus
    village: str
    service: Service
    birth_written: str = ""


@dataclass(frozen=True, slots=True)
class KtpRecorded:
    """Biometrics for the e-KTP were captured (perekaman)."""


@dataclass(frozen=True, slots=True)
class KtpFailed:
    """The national centre refused the recording; it must be done again."""

    reason: RecordingFailure


@dataclass(frozen=True, slots=True)
class IkdActivated:
    """The digital population identity was activated in front of an officer."""


@dataclass(frozen=True, slots=True)
class RelocationStarted:
    """A moving letter (SKPWNI) was issued; the person still resides where they were."""

    letter_no: str


@dataclass(frozen=True, slots=True)
class ResidentRelocated:
    """The move is complete: the person resides in `to_village` from `effective_date`."""

    to_village: str
    effective_date: date
    letter_no: str


@dataclass(frozen=True, slots=True)
class ResidentMarried:
    married_on: date


@dataclass(frozen=True, slots=True)
class ResidentDied:
    died_on: date


@dataclass(frozen=True, slots=True)
class ServiceChanged:
    service: Service
    effective_date: date


@dataclass(frozen=True, slots=True)
class RightsRevoked:
    """A final verdict took the right to vote."""

    effective_date: date
    verdict_no: str


@dataclass(frozen=True, slots=True)
class RightsRestored:
    effective_date: date
    verdict_no: str


@dataclass(frozen=True, slots=True)
class BiodataCorrected:
    """A correction laid over the biodata; None leaves a member as it was."""

    reason: str
    sex: Sex | None
    birth_date: date | None
    marital_status: MaritalStatus | None
    birth_written: str = ""


@dataclass(frozen=True, slots=True)
class EventRetracted:
    """The event of `source` and `id` never happened."""

    source: str
    id: str
    reason: str


Fact = (
    ResidentRegistered
    | KtpRecorded
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
    | EventRetracted
)

TYPE_PREFIX: Final = "id.dukcapil."


class LoggedFact(NamedTuple):
    """A fact as it stands in the log.

    `position` is its place in the one sequence; `recorded_at` when the registry appended it;
    `source` and `id` name the event as its station did.
    """

    position: int
    recorded_at: datetime
    source: str
    id: str
    resident_id: UUID
    fact: Fact


def standing(history: list[LoggedFact]) -> list[LoggedFact]:
    """The facts of one resident that still hold, in log order.

    Retracted events, and retractions, have no other effect than that the retracted one never
    happened (contract section 3).
    """
    retracted = {
        (logged.fact.source, logged.fact.id)
        for logged in history
        if isinstance(logged.fact, EventRetracted)
    }
    if not retracted:
        return history
    return [
        logged
        for logged in history
        if not isinstance(logged.fact, EventRetracted)
        and (logged.source, logged.id) not in retracted
    ]
