"""Who is counted where, and as what: contract sections 3 and 4."""

from datetime import date

import pytest

from services.projections.domain.electorate import Standing, VoterClass, standing_for
from services.projections.domain.resident import Resident
from shared.elections import PILKADA_2024, Election
from shared.events.facts import LoggedFact, Sex
from tests.support.facts import (
    JAKARTA,
    LEMPUR_TENGAH,
    SIULAK_GEDANG,
    fact,
    moved,
    registered,
    retraction,
)


def stands(*facts: LoggedFact, election: Election = PILKADA_2024) -> Standing | None:
    return standing_for(Resident(facts), election)


def counted(*facts: LoggedFact, election: Election = PILKADA_2024) -> Standing:
    standing = stands(*facts, election=election)
    assert standing is not None
    return standing


def class_of(*facts: LoggedFact) -> VoterClass:
    return counted(*facts).voter_class


def test_a_grown_up_resident_is_eligible() -> None:
    assert counted(registered()) == Standing(
        village=LEMPUR_TENGAH,
        voter_class=VoterClass.ELIGIBLE,
        sex=Sex.MALE,
        is_recorded=False,
        is_first_time=False,
        is_ikd_active=False,
        is_relocating=False,
    )


def test_nobody_is_counted_before_the_registration() -> None:
    assert stands() is None


@pytest.mark.parametrize(
    ("birth_date", "voter_class"),
    [
        ("2007-11-27", VoterClass.ELIGIBLE),
        ("2007-11-28", VoterClass.UNDER_AGE),
        ("2007-11", VoterClass.UNDER_AGE),
        ("2007-10", VoterClass.ELIGIBLE),
        ("2007", VoterClass.UNDER_AGE),
        ("2006", VoterClass.ELIGIBLE),
    ],
)
def test_age_is_that_of_polling_day_and_an_incomplete_date_is_its_last_day(
    birth_date: str, voter_class: VoterClass
) -> None:
    assert class_of(registered(birth_date=birth_date)) is voter_class


@pytest.mark.parametrize(
    ("polling_day", "voter_class"),
    [(date(2025, 2, 28), VoterClass.UNDER_AGE), (date(2025, 3, 1), VoterClass.ELIGIBLE)],
)
def test_who_is_born_on_29_february_is_17_on_1_march(
    polling_day: date, voter_class: VoterClass
) -> None:
    election = Election("e", polling_day, "15.01", 17, date(2024, 2, 15))
    assert counted(registered(birth_date="2008-02-29"), election=election).voter_class is (
        voter_class
    )


@pytest.mark.parametrize("marital_status", ["S", "P"])
def test_who_is_or_was_married_is_eligible_at_any_age(marital_status: str) -> None:
    assert class_of(registered(birth_date="2008-05-05", marital_status=marital_status)) is (
        VoterClass.ELIGIBLE
    )


@pytest.mark.parametrize(
    ("married_on", "voter_class"),
    [("2024-11-27", VoterClass.ELIGIBLE), ("2024-11-28", VoterClass.UNDER_AGE)],
)
def test_a_marriage_counts_up_to_polling_day(married_on: str, voter_class: VoterClass) -> None:
    facts = registered(birth_date="2008-05-05"), fact("resident.married", married_on=married_on)
    assert class_of(*facts) is voter_class


@pytest.mark.parametrize("service", ["tni", "polri"])
def test_who_serves_is_not_eligible(service: str) -> None:
    assert class_of(registered(service=service)) is VoterClass(service)


def test_under_age_comes_before_every_other_class() -> None:
    assert class_of(registered(birth_date="2010-01-01", service="tni")) is VoterClass.UNDER_AGE


def test_service_comes_before_revoked_rights() -> None:
    revoked = fact("rights.revoked", effective_date="2024-01-01", verdict_no="1")
    assert class_of(registered(service="polri"), revoked) is VoterClass.POLRI


def test_service_that_ends_by_polling_day_restores_the_vote() -> None:
    ended = fact("service.changed", service="none", effective_date="2024-11-27")
    assert class_of(registered(service="tni"), ended) is VoterClass.ELIGIBLE


def test_service_that_begins_after_polling_day_is_not_looked_at() -> None:
    begun = fact("service.changed", service="tni", effective_date="2024-11-28")
    assert class_of(registered(), begun) is VoterClass.ELIGIBLE


def test_rights_follow_their_effective_dates_and_not_the_order_of_arrival() -> None:
    restored = fact("rights.restored", 2, effective_date="2024-10-01", verdict_no="2")
    revoked = fact("rights.revoked", 3, effective_date="2024-01-01", verdict_no="1")
    assert class_of(registered(), restored, revoked) is VoterClass.ELIGIBLE


def test_of_two_entries_with_one_date_the_later_in_the_log_holds() -> None:
    revoked = fact("rights.revoked", 2, effective_date="2024-01-01", verdict_no="1")
    restored = fact("rights.restored", 3, effective_date="2024-01-01", verdict_no="2")
    assert class_of(registered(), revoked, restored) is VoterClass.ELIGIBLE


def test_residence_is_that_of_polling_day() -> None:
    assert counted(registered(), moved(SIULAK_GEDANG, "2024-11-27")).village == SIULAK_GEDANG
    assert counted(registered(), moved(SIULAK_GEDANG, "2024-11-28")).village == LEMPUR_TENGAH


def test_a_relocation_known_late_but_dated_early_does_not_undo_a_later_one() -> None:
    facts = (
        registered(),
        moved(SIULAK_GEDANG, "2024-06-01", 2, "1"),
        moved(JAKARTA, "2023-01-01", 3, "2"),
    )
    assert counted(*facts).village == SIULAK_GEDANG


def test_who_moves_out_of_the_area_is_not_counted_and_is_when_they_come_back() -> None:
    out, back = moved(JAKARTA, "2024-06-01", 2, "1"), moved(LEMPUR_TENGAH, "2024-07-01", 3, "2")
    assert stands(registered(), out) is None
    assert counted(registered(), out, back).village == LEMPUR_TENGAH


def test_an_area_may_be_a_district_or_the_country() -> None:
    district = Election("e", date(2024, 11, 27), "15.01.16", 17, date(2024, 2, 15))
    country = Election("e", date(2024, 11, 27), "ID", 17, date(2024, 2, 15))
    assert stands(registered(), election=district) is None
    assert counted(registered(village=SIULAK_GEDANG), election=district)
    assert counted(registered(village=JAKARTA), election=country)


@pytest.mark.parametrize(("died_on", "is_counted"), [("2024-11-27", False), ("2024-11-28", True)])
def test_the_dead_of_polling_day_are_not_counted(died_on: str, is_counted: bool) -> None:
    assert (stands(registered(), fact("resident.died", died_on=died_on)) is not None) is is_counted


def test_the_last_recording_or_failure_in_the_log_decides() -> None:
    recorded, failed = fact("ktp.recorded", 2), fact("ktp.failed", 3, reason="duplicate")
    again = fact("ktp.recorded", 4)
    assert counted(registered(), recorded).is_recorded
    assert not counted(registered(), recorded, failed).is_recorded
    assert counted(registered(), recorded, failed, again).is_recorded


def test_a_retracted_failure_leaves_the_recording_before_it_the_last() -> None:
    facts = fact("ktp.recorded", 2), fact("ktp.failed", 3, reason="other"), retraction(3, 4)
    assert counted(registered(), *facts).is_recorded


def test_a_retracted_death_never_happened() -> None:
    died = fact("resident.died", 2, died_on="2024-01-01")
    assert stands(registered(), died, retraction(2, 3)) is not None


def test_a_retracted_registration_leaves_nobody() -> None:
    assert stands(registered(), retraction(1, 2)) is None


def test_the_digital_identity_is_active_while_an_activation_stands() -> None:
    activated = fact("ikd.activated", 2)
    assert counted(registered(), activated).is_ikd_active
    assert not counted(registered(), activated, retraction(2, 3)).is_ikd_active


def test_a_letter_makes_one_relocating_until_its_arrival() -> None:
    started = fact("relocation.started", 2, letter_no="SKPWNI/1")
    assert counted(registered(), started).is_relocating
    assert counted(registered(), started).village == LEMPUR_TENGAH
    other = moved(SIULAK_GEDANG, "2024-06-01", 3, "SKPWNI/2")
    assert counted(registered(), started, other).is_relocating
    own = moved(SIULAK_GEDANG, "2024-06-01", 3, "SKPWNI/1")
    assert not counted(registered(), started, own).is_relocating
    assert counted(registered(), started, own, retraction(3, 4)).is_relocating


def test_corrections_are_laid_over_the_biodata_in_log_order() -> None:
    facts = (
        registered(birth_date="2010-01-01"),
        fact("biodata.corrected", 2, reason="r", birth_date="2000-01-01", sex="P"),
        fact("biodata.corrected", 3, reason="r", birth_date="2001-01-01"),
    )
    assert counted(*facts).voter_class is VoterClass.ELIGIBLE
    assert counted(*facts).sex is Sex.FEMALE
    assert class_of(*facts, retraction(2, 4), retraction(3, 5)) is VoterClass.UNDER_AGE


def test_a_corrected_marital_status_counts_like_a_registered_one() -> None:
    corrected = fact("biodata.corrected", reason="r", marital_status="P")
    assert class_of(registered(birth_date="2010-01-01"), corrected) is VoterClass.ELIGIBLE


@pytest.mark.parametrize(
    ("birth_date", "is_first_time"),
    [("2007-02-14", False), ("2007-02-15", True), ("2007-11-27", True), ("1984-01-31", False)],
)
def test_a_first_time_voter_came_of_age_after_the_last_election(
    birth_date: str, is_first_time: bool
) -> None:
    assert counted(registered(birth_date=birth_date)).is_first_time is is_first_time
