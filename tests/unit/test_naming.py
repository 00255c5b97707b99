"""Given what was told of a person, when they are looked up, then this is who they are."""

from datetime import UTC, date, datetime
from uuid import UUID

from services.registry.domain.naming import Person, Told, person
from shared.events.facts import (
    BiodataCorrected,
    EventRetracted,
    Fact,
    LoggedFact,
    MaritalStatus,
    ResidentRegistered,
    Service,
    Sex,
)

NIK = "1501012711070001"
REGISTERED = ResidentRegistered(
    Sex.MALE, date(2007, 11, 27), MaritalStatus.NEVER, "15.01.01.1004", Service.NONE
)
CORRECTED = BiodataCorrected("salah", None, None, None)


def told(position: int, fact: Fact, nik: str | None = NIK, name: str | None = None) -> Told:
    moment = datetime(2024, 6, 1, tzinfo=UTC)
    return Told(LoggedFact(position, moment, "s", f"e-{position}", UUID(int=1), fact), nik, name)


def retracted(position: int, of: int) -> Told:
    return told(position, EventRetracted("s", f"e-{of}", "salah"), None)


def test_somebody_is_who_was_registered() -> None:
    assert person([told(1, REGISTERED, name="Budi")]) == Person(NIK, "Budi")


def test_the_last_correction_in_log_order_gives_the_name() -> None:
    history = [told(1, REGISTERED, name="Budi")]
    history += [told(2, CORRECTED, name="Budi A"), told(3, CORRECTED, name="Budi B")]
    assert person(history) == Person(NIK, "Budi B")


def test_a_correction_of_something_else_leaves_the_name() -> None:
    history = [told(1, REGISTERED, name="Budi"), told(2, CORRECTED)]
    assert person(history) == Person(NIK, "Budi")


def test_a_correction_that_was_retracted_gives_no_name() -> None:
    history = [told(1, REGISTERED, name="Budi")]
    history += [told(2, CORRECTED, name="Budi A"), told(3, CORRECTED, name="Budi B")]
    assert person([*history, retracted(4, of=3)]) == Person(NIK, "Budi A")
    assert person([*history, retracted(4, of=3), retracted(5, of=2)]) == Person(NIK, "Budi")


def test_a_registration_that_was_retracted_names_its_person_still() -> None:
    history = [told(1, REGISTERED, name="Budi"), retracted(2, of=1)]
    assert person(history) == Person(NIK, "Budi")


def test_nobody_was_never_registered() -> None:
    assert person([]) is None
