"""What is known of a resident: the facts in log order, and what they amount to."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Final, assert_never

from shared.events.facts import (
    BiodataCorrected,
    EventRetracted,
    Fact,
    IkdActivated,
    KtpFailed,
    KtpRecorded,
    LoggedFact,
    MaritalStatus,
    RelocationStarted,
    ResidentDied,
    ResidentMarried,
    ResidentRegistered,
    ResidentRelocated,
    RightsRestored,
    RightsRevoked,
    Service,
    ServiceChanged,
    Sex,
    standing,
)

ALWAYS: Final = date.min


@dataclass(frozen=True, slots=True)
class Resident:
    """The state of a resident: every fact about them, in log order, the retracted ones too."""

    facts: tuple[LoggedFact, ...] = ()


UNKNOWN: Final = Resident()


def evolve(resident: Resident, logged: LoggedFact) -> Resident:
    """The state after one more fact of the log."""
    return Resident((*resident.facts, logged))


@dataclass(frozen=True, slots=True)
class Biodata:
    """What was registered of a person, with the corrections laid over it in log order."""

    sex: Sex
    birth_date: date
    marital_status: MaritalStatus


@dataclass(slots=True)
class Life:
    """The standing facts, sorted by the question that they answer.

    Each history holds (the day from which it holds, what holds) in log order; its last entry
    with the latest day not after X is what holds on X.
    """

    biodata: Biodata
    residences: list[tuple[date, str]]
    services: list[tuple[date, Service]]
    revocations: list[tuple[date, bool]] = field(default_factory=lambda: [(ALWAYS, False)])
    marriages: list[date] = field(default_factory=list)
    deaths: list[date] = field(default_factory=list)
    is_recorded: bool = False
    is_ikd_active: bool = False
    letters_started: set[str] = field(default_factory=set)
    letters_completed: set[str] = field(default_factory=set)


def life_of(resident: Resident) -> Life | None:
    """What the standing facts of a resident amount to; none while no registration stands."""
    return lived(logged.fact for logged in standing(list(resident.facts)))


def lived(facts: Iterable[Fact]) -> Life | None:
    """As `life_of`, for facts in log order that are known to stand."""
    life: Life | None = None
    for fact in facts:
        life = lived_on(life, fact)
    return life


def lived_on(life: Life | None, fact: Fact) -> Life | None:
    """A life after one more fact that stands; the life that is given is changed."""
    if isinstance(fact, ResidentRegistered):
        return _born_into_the_register(fact)
    if life is not None:
        _live_through(life, fact)
    return life


def _born_into_the_register(fact: ResidentRegistered) -> Life:
    return Life(
        biodata=Biodata(fact.sex, fact.birth_date, fact.marital_status),
        residences=[(ALWAYS, fact.village)],
        services=[(ALWAYS, fact.service)],
    )


def _live_through(life: Life, fact: Fact) -> None:  # noqa: C901 - a case for each fact
    match fact:
        case KtpRecorded():
            life.is_recorded = True
        case KtpFailed():
            life.is_recorded = False
        case IkdActivated():
            life.is_ikd_active = True
        case ResidentRelocated(to_village, effective_date, letter_no):
            life.residences.append((effective_date, to_village))
            life.letters_completed.add(letter_no)
        case RelocationStarted(letter_no):
            life.letters_started.add(letter_no)
        case ResidentMarried(married_on):
            life.marriages.append(married_on)
        case ResidentDied(died_on):
            life.deaths.append(died_on)
        case ServiceChanged(service, effective_date):
            life.services.append((effective_date, service))
        case RightsRevoked(effective_date):
            life.revocations.append((effective_date, True))
        case RightsRestored(effective_date):
            life.revocations.append((effective_date, False))
        case BiodataCorrected():
            life.biodata = _corrected(life.biodata, fact)
        case ResidentRegistered() | EventRetracted():
            pass
        case _:
            assert_never(fact)


def _corrected(biodata: Biodata, fact: BiodataCorrected) -> Biodata:
    return replace(
        biodata,
        sex=fact.sex or biodata.sex,
        birth_date=fact.birth_date or biodata.birth_date,
        marital_status=fact.marital_status or biodata.marital_status,
    )
