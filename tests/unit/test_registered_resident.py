"""What the registry knows of a resident after each fact, and after one of them is retracted."""

from datetime import date

import pytest

from services.registry.domain.resident import Resident, evolve, fold
from shared.events.facts import LoggedFact, Sex
from tests.support.facts import SOMEBODY, fact, moved, registered, retraction

REGISTRATION = registered()


def after(*facts: LoggedFact) -> Resident:
    resident = fold([REGISTRATION, *facts])
    assert resident is not None
    return resident


def test_a_registration_makes_a_resident() -> None:
    assert after() == Resident(
        SOMEBODY, (REGISTRATION,), date(1984, 1, 31), "1984-01-31", Sex.MALE, None, False
    )


def test_recorded_is_what_the_last_recording_or_failure_says() -> None:
    recorded, failed = fact("ktp.recorded", 2), fact("ktp.failed", 3, reason="other")
    assert after(recorded).recorded is True
    assert after(recorded, failed).recorded is False
    assert after(recorded, failed, fact("ktp.recorded", 4)).recorded is True
    assert after(recorded, failed, retraction(3, 4)).recorded is True
    assert after(recorded, retraction(2, 3)).recorded is False


def test_a_death_stands_until_it_is_retracted() -> None:
    died = fact("resident.died", 2, died_on="2024-05-01")
    assert after(died).died_on == date(2024, 5, 1)
    assert after(died, retraction(2, 3)).died_on is None


def test_a_correction_is_laid_over_what_it_names_alone() -> None:
    birth = fact("biodata.corrected", 2, reason="r", birth_date="2007-11")
    sex = fact("biodata.corrected", 3, reason="r", sex="P")
    resident = after(birth, sex)
    assert (resident.birth_date, resident.birth_written) == (date(2007, 11, 30), "2007-11")
    assert resident.sex is Sex.FEMALE
    undone = after(birth, sex, retraction(2, 4))
    assert (undone.birth_date, undone.birth_written) == (date(1984, 1, 31), "1984-01-31")
    assert undone.sex is Sex.FEMALE


@pytest.mark.parametrize(
    "more",
    [
        fact("ktp.recorded"),
        fact("ktp.failed", reason="other"),
        fact("ikd.activated"),
        fact("relocation.started", letter_no="1"),
        moved("15.01.01.2001", "2024-01-01"),
        fact("resident.married", married_on="2024-01-01"),
        fact("resident.died", died_on="2024-01-01"),
        fact("service.changed", service="tni", effective_date="2024-01-01"),
        fact("rights.revoked", effective_date="2024-01-01", verdict_no="1"),
        fact("rights.restored", effective_date="2024-01-01", verdict_no="1"),
        fact("biodata.corrected", reason="r", sex="P"),
    ],
    ids=lambda logged: type(logged.fact).__name__,
)
def test_every_fact_stands_in_log_order_until_it_is_retracted(more: LoggedFact) -> None:
    resident = after(more)
    assert resident.standing == (REGISTRATION, more)
    assert resident.resident_id == SOMEBODY
    assert evolve(resident, retraction(2, 3)) == after()


def test_one_whose_registration_is_retracted_is_nobody() -> None:
    assert fold([REGISTRATION, retraction(1, 2)]) is None
    assert fold([]) is None
