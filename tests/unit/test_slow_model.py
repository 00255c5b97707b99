"""Holds the slow model to the contract's own sentences, by examples worked out by hand."""

from collections import Counter
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings

from tests.support.histories import ALL, FOUR, Submission, batches, generate, histories, smallest
from tests.support.slow_model import (
    COUNTS,
    ELECTIONS,
    PILKADA_2024,
    Counts,
    Event,
    Model,
    Resident,
    Result,
    Row,
    Stage,
    VoterChange,
)

NOW = datetime(2025, 1, 15, 3, 0, tzinfo=UTC)
POLLING_DAY = "2024-11-27"
STATION = "urn:dukcapil:station:KRC-01"
BUDI = "1501012711070001"  # a boy of 27 November 2007
ANI = "1501016811070002"  # a girl of 28 November 2007
LEMPUR_TENGAH = "15.01.01.1004"
SELAM_PAUNG = "15.01.01.2001"
SIULAK_GEDANG = "15.01.16.2001"
SUNGAI_PENUH = "15.72.01.1001"


class Desk:
    """A station's desk: dull valid events, sent to a model; a test names only what matters."""

    def __init__(self) -> None:
        self.model = Model()
        self.sent = 0

    def event(self, kind: str, time: str = "2025-01-10T10:00:00+07:00", **data: Any) -> Event:
        self.sent += 1
        return {
            "specversion": "1.0",
            "id": str(self.sent),
            "source": STATION,
            "type": f"id.dukcapil.{kind}",
            "time": time,
            "data": data,
        }

    def send(self, kind: str, time: str = "2025-01-10T10:00:00+07:00", **data: Any) -> Result:
        return self.model.submit(self.event(kind, time, **data), NOW)

    def register(self, nik: str = BUDI, **data: Any) -> Result:
        return self.send("resident.registered", **(registration(nik) | data))

    def relocate(self, to_village: str, effective_date: str, letter_no: str = "A") -> Result:
        return self.send(
            "resident.relocated",
            nik=BUDI,
            to_village=to_village,
            effective_date=effective_date,
            letter_no=letter_no,
        )

    def retract(self, identity: int) -> Result:
        reference = {"source": STATION, "id": str(identity)}
        return self.send("event.retracted", retracts=reference, reason="salah orang")

    def budi(self) -> Resident:
        resident = self.model.registered(BUDI)
        assert resident is not None
        return resident

    def tally(self, village: str = LEMPUR_TENGAH) -> Row:
        return self.model.tallies(PILKADA_2024)[village]


def registration(nik: str = BUDI) -> dict[str, Any]:
    day = "27" if nik == BUDI else "28"
    return {
        "nik": nik,
        "name": "Budi",
        "sex": "L" if nik == BUDI else "P",
        "birth_date": f"2007-11-{day}",
        "marital_status": "B",
        "village": LEMPUR_TENGAH,
    }


@pytest.fixture
def desk() -> Desk:
    return Desk()


def rejected(problem: str) -> Result:
    return Result("rejected", problem=problem)


# Section 1


def test_an_incomplete_birth_date_counts_as_the_last_day_it_can_be(desk: Desk) -> None:
    assert desk.register(birth_date="2007-11").warnings == ("birth-date-incomplete",)
    assert desk.budi().born() == date(2007, 11, 30)
    assert desk.tally()["under_age"] == 1


@pytest.mark.parametrize(
    "spoiled",
    [
        {"nkk": "1501010101010001"},
        {"nik": "1501013102079999"},
        {"nik": "1501012711070000"},
        {"birth_date": "27-11-2007"},
        {"village": "1501012001"},
        {"service": "navy"},
    ],
)
def test_what_is_not_well_formed_is_invalid(desk: Desk, spoiled: dict[str, Any]) -> None:
    assert desk.register(**spoiled) == rejected("invalid")


def test_a_date_is_incomplete_only_at_birth(desk: Desk) -> None:
    assert desk.send("resident.died", nik=BUDI, died_on="2024-11") == rejected("invalid")


def test_a_leap_day_of_some_century_is_a_date_in_a_nik(desk: Desk) -> None:
    assert desk.register("1501012902089999").outcome == "accepted"
    assert desk.register("1501012902079999") == rejected("invalid")


def test_a_nik_that_differs_is_accepted_with_a_warning(desk: Desk) -> None:
    assert desk.register(sex="P") == Result("accepted", 1, ("nik-mismatch",))


def test_only_what_is_known_of_a_birth_date_is_compared_with_the_nik(desk: Desk) -> None:
    assert desk.register(birth_date="2007-11").warnings == ("birth-date-incomplete",)
    assert "nik-mismatch" in desk.register(ANI, birth_date="2008").warnings


def test_a_clock_is_ahead_from_ten_minutes_on(desk: Desk) -> None:
    desk.register()
    within = (NOW + timedelta(minutes=10)).isoformat()
    beyond = (NOW + timedelta(minutes=10, seconds=1)).isoformat()
    assert desk.send("ktp.recorded", within, nik=BUDI).warnings == ()
    assert desk.send("ktp.recorded", beyond, nik=BUDI).warnings == ("clock-ahead",)


def test_the_time_of_receipt_stands_in_for_a_clock_that_is_ahead(desk: Desk) -> None:
    desk.register(birth_date="2009-01-16")
    sixteen_by_that_clock = desk.send("ktp.recorded", "2025-01-16T10:00:00+07:00", nik=BUDI)
    assert sixteen_by_that_clock == rejected("too-young")


def test_what_is_missing_of_a_station_is_known(desk: Desk) -> None:
    for number in (1, 2, 5):
        event = desk.event("ktp.recorded", nik=BUDI) | {"stationseq": number}
        desk.model.submit(event, NOW)
    station = desk.model.stations()[STATION]
    assert (station.received_without_gap, station.missing) == (2, (3, 4))


# Section 2


def test_a_duplicate_repeats_the_first_position(desk: Desk) -> None:
    event = desk.event("resident.registered", **registration())
    desk.model.submit(event, NOW)
    assert desk.model.submit(dict(reversed(event.items())), NOW) == Result(
        "duplicate", 1, first="accepted"
    )


@pytest.mark.parametrize("first", ["resident.registered", "ktp.recorded", "resident.died"])
def test_an_id_is_claimed_whatever_came_of_it(desk: Desk, first: str) -> None:
    desk.send(first, nik=BUDI)  # two of them are invalid, the other waits
    desk.sent = 0
    assert desk.register() == rejected("id-reused")


def test_what_was_invalid_is_invalid_again(desk: Desk) -> None:
    event = desk.event("resident.died", nik=BUDI)
    assert desk.model.submit_batch([event, event], NOW) == [rejected("invalid")] * 2


def test_tomorrow_is_the_future_in_jakarta(desk: Desk) -> None:
    late = datetime(2025, 1, 14, 17, 30, tzinfo=UTC)  # 00:30 on the 15th in Jakarta
    today = desk.event("resident.died", nik=BUDI, died_on="2025-01-15")
    tomorrow = desk.event("resident.died", nik=BUDI, died_on="2025-01-16")
    assert desk.model.submit(today, late).outcome == "parked"
    assert desk.model.submit(tomorrow, late) == rejected("in-the-future")


def test_a_year_that_is_not_over_is_in_the_future(desk: Desk) -> None:
    assert desk.register(birth_date="2025") == rejected("in-the-future")
    assert desk.register(birth_date="2024").outcome == "accepted"


def test_the_first_problem_that_fits_answers(desk: Desk) -> None:
    desk.register()
    nowhere = "15.01.01.9999"
    assert desk.register(village=nowhere, birth_date="2025-02-01") == rejected("in-the-future")
    assert desk.register(village=nowhere) == rejected("unknown-village")
    assert desk.register() == rejected("already-registered")


def test_parked_events_are_tried_again_from_the_first_until_none_moves(desk: Desk) -> None:
    assert desk.send("ikd.activated", nik=BUDI).outcome == "parked"
    assert desk.send("ktp.recorded", nik=BUDI).outcome == "parked"
    assert desk.send("ktp.failed", nik=BUDI, reason="other").outcome == "parked"
    assert desk.register() == Result("accepted", 1)
    # The recording moves first; the activation, tried from the first, comes before the failure.
    assert [entry.kind for entry in desk.model.log] == [
        "resident.registered",
        "ktp.recorded",
        "ikd.activated",
        "ktp.failed",
    ]
    assert desk.model.parked() == []


def test_a_parked_event_is_judged_when_its_turn_comes(desk: Desk) -> None:
    event = desk.event("ktp.recorded", nik=BUDI)
    desk.model.submit(event, NOW)
    desk.register(birth_date="2009-06-01")
    assert desk.model.submit(event, NOW) == Result(
        "duplicate", problem="too-young", first="rejected"
    )


def test_nobody_is_deceased_on_the_day_of_death(desk: Desk) -> None:
    desk.register()
    desk.send("resident.died", nik=BUDI, died_on="2025-01-09")
    last_minute, next_day = "2025-01-09T16:59:00Z", "2025-01-09T17:00:00Z"
    assert desk.send("ktp.recorded", last_minute, nik=BUDI).outcome == "accepted"
    assert desk.send("ktp.recorded", next_day, nik=BUDI) == rejected("deceased")


def test_nobody_dies_twice_unless_the_first_death_is_retracted(desk: Desk) -> None:
    desk.register()
    died = {"nik": BUDI, "died_on": "2024-12-01"}
    desk.send("resident.died", **died)
    assert desk.send("resident.died", "2024-11-01T08:00:00Z", **died) == rejected("deceased")
    desk.retract(2)
    assert desk.send("resident.died", **died).outcome == "accepted"


def test_the_dead_are_corrected(desk: Desk) -> None:
    desk.register()
    desk.send("resident.died", nik=BUDI, died_on="2024-12-01")
    corrected = desk.send("biodata.corrected", nik=BUDI, reason="typo", birth_date="2007-11-28")
    assert corrected == Result("accepted", 3, ("nik-mismatch",))


def test_recording_begins_on_the_16th_birthday_in_jakarta(desk: Desk) -> None:
    desk.register()
    the_day_before = desk.send("ktp.recorded", "2023-11-26T16:59:59Z", nik=BUDI)
    the_day = desk.send("ktp.recorded", "2023-11-26T17:00:00Z", nik=BUDI)
    assert (the_day_before, the_day.outcome) == (rejected("too-young"), "accepted")


def test_only_an_event_of_the_log_can_be_retracted(desk: Desk) -> None:
    desk.send("ktp.recorded", nik=BUDI)
    assert desk.retract(1) == rejected("unknown-event")


def test_neither_a_retraction_nor_what_is_retracted_can_be_retracted(desk: Desk) -> None:
    desk.register()
    assert desk.retract(1).outcome == "accepted"
    assert [desk.retract(1), desk.retract(2)] == [rejected("not-retractable")] * 2


def test_a_registration_stands_while_other_events_of_its_resident_stand(desk: Desk) -> None:
    desk.register()
    desk.send("ktp.recorded", nik=BUDI)
    assert desk.retract(1) == rejected("not-retractable")
    desk.retract(2)
    assert desk.retract(1).outcome == "accepted"


def test_a_retracted_registration_can_be_made_anew_as_another_resident(desk: Desk) -> None:
    desk.register()
    desk.retract(1)
    assert desk.send("ktp.recorded", nik=BUDI).outcome == "parked"
    desk.register()
    assert [(entry.kind, entry.resident) for entry in desk.model.log] == [
        ("resident.registered", 1),
        ("event.retracted", 1),
        ("resident.registered", 2),
        ("ktp.recorded", 2),
    ]


def test_the_log_is_served_without_nik_and_name(desk: Desk) -> None:
    desk.register()
    assert not {"nik", "name"} & desk.model.log[0].served_data.keys()


# Section 3


def test_residence_is_the_latest_date_not_after_the_day(desk: Desk) -> None:
    desk.register()
    desk.relocate(SIULAK_GEDANG, "2024-11-27")
    desk.relocate(SUNGAI_PENUH, "2024-11-28")
    desk.relocate(SELAM_PAUNG, "2024-01-01")  # back-dated
    days = [date(2023, 12, 31), date(2024, 1, 1), date(2024, 11, 27), date(2024, 11, 28)]
    assert [desk.budi().village_on(day) for day in days] == [
        LEMPUR_TENGAH,
        SELAM_PAUNG,
        SIULAK_GEDANG,
        SUNGAI_PENUH,
    ]


def test_of_two_entries_with_one_date_the_later_position_counts(desk: Desk) -> None:
    desk.register()
    desk.relocate(SIULAK_GEDANG, POLLING_DAY)
    desk.relocate(SELAM_PAUNG, POLLING_DAY)
    assert desk.tally(SELAM_PAUNG)["eligible"] == 1
    desk.retract(3)
    assert desk.tally(SIULAK_GEDANG)["eligible"] == 1


def test_a_failed_recording_must_be_done_again(desk: Desk) -> None:
    desk.register()
    desk.send("ktp.recorded", nik=BUDI)
    desk.send("ktp.failed", nik=BUDI, reason="unreadable")
    assert not desk.budi().recorded
    desk.retract(3)
    assert desk.budi().recorded


def test_a_mover_is_relocating_until_arrival_with_the_same_letter(desk: Desk) -> None:
    desk.register()
    desk.send("relocation.started", nik=BUDI, letter_no="A")
    desk.relocate(SIULAK_GEDANG, "2024-12-01", letter_no="B")
    assert desk.budi().relocating
    desk.relocate(SELAM_PAUNG, "2024-12-02", letter_no="A")
    assert not desk.budi().relocating


# Section 4


def test_who_turns_17_on_polling_day_votes_and_who_does_the_day_after_does_not(desk: Desk) -> None:
    desk.register(BUDI)
    desk.register(ANI)
    tally = desk.tally()
    assert (tally["eligible"], tally["under_age"]) == (1, 1)
    assert (tally["first_time"], tally["first_time_unrecorded"]) == (1, 1)


def test_a_birthday_of_29_february_is_1_march_in_a_common_year(desk: Desk) -> None:
    desk.register(birth_date="2008-02-29")
    assert not desk.budi().is_aged_on(17, date(2025, 2, 28))
    assert desk.budi().is_aged_on(17, date(2025, 3, 1))


def test_a_marriage_by_polling_day_makes_a_voter_before_17(desk: Desk) -> None:
    desk.register(ANI)
    desk.send("resident.married", nik=ANI, married_on="2024-11-28")
    assert desk.tally()["eligible"] == 0
    desk.send("resident.married", nik=ANI, married_on=POLLING_DAY)
    assert (desk.tally()["eligible"], desk.tally()["first_time"]) == (1, 1)


def test_each_resident_is_in_the_first_class_that_fits(desk: Desk) -> None:
    desk.register(service="tni")
    desk.send("rights.revoked", nik=BUDI, effective_date=POLLING_DAY, verdict_no="1/Pid")
    assert (desk.tally()["tni"], desk.tally()["rights_revoked"]) == (1, 0)
    desk.send("service.changed", nik=BUDI, service="none", effective_date=POLLING_DAY)
    assert (desk.tally()["tni"], desk.tally()["rights_revoked"]) == (0, 1)
    desk.send("rights.restored", nik=BUDI, effective_date=POLLING_DAY, verdict_no="2/Pid")
    assert desk.tally()["eligible"] == 1


def test_who_dies_on_polling_day_is_counted_nowhere(desk: Desk) -> None:
    desk.register()
    desk.send("resident.died", nik=BUDI, died_on=POLLING_DAY)
    assert desk.tally()["residents"] == 0


def test_every_village_of_the_area_has_a_row(desk: Desk) -> None:
    tallies = desk.model.tallies(PILKADA_2024)
    assert len(tallies) == 287
    assert tallies[LEMPUR_TENGAH] == dict.fromkeys(COUNTS, 0) | {
        "coverage": None,
        "untouched": False,
        "tps_min": 0,
    }


def test_a_village_is_untouched_until_one_of_its_voters_is_recorded(desk: Desk) -> None:
    desk.register()
    assert (desk.tally()["untouched"], desk.tally()["coverage"]) == (True, 0)
    desk.send("ktp.recorded", nik=BUDI)
    assert (desk.tally()["untouched"], desk.tally()["coverage"]) == (False, 1)


def test_districts_and_total_are_the_sums_of_their_villages(desk: Desk) -> None:
    desk.register(BUDI)
    desk.register(ANI, village=SELAM_PAUNG, birth_date="1990")
    assert desk.model.districts(PILKADA_2024)["15.01.01"]["eligible"] == 2
    assert desk.model.total(PILKADA_2024)["tps_min"] == 2


def test_tallies_are_given_as_they_stood_at_a_position(desk: Desk) -> None:
    desk.register()
    desk.retract(1)
    assert desk.model.tallies(PILKADA_2024, position=1)[LEMPUR_TENGAH]["eligible"] == 1
    assert desk.tally()["eligible"] == 0


# Section 6


def test_a_voter_is_added_moved_and_removed_by_the_event_that_did_it(desk: Desk) -> None:
    desk.register()
    desk.send("ktp.recorded", nik=BUDI)
    desk.relocate(SIULAK_GEDANG, POLLING_DAY)
    desk.relocate(SUNGAI_PENUH, POLLING_DAY)
    registered, relocated = "id.dukcapil.resident.registered", "id.dukcapil.resident.relocated"
    assert desk.model.voter_changes(PILKADA_2024) == [
        VoterChange(1, 1, "added", None, LEMPUR_TENGAH, registered),
        VoterChange(3, 1, "moved", LEMPUR_TENGAH, SIULAK_GEDANG, relocated),
        VoterChange(4, 1, "removed", SIULAK_GEDANG, None, relocated),
    ]


def test_the_stage_is_the_one_on_the_day_of_recording() -> None:
    election = replace(PILKADA_2024, stages=(Stage("dp4", date(2024, 5, 2)),))
    assert election.stage_at(datetime(2024, 5, 1, 16, 59, tzinfo=UTC)) is None
    assert election.stage_at(datetime(2024, 5, 1, 17, 0, tzinfo=UTC)) == "dp4"


@pytest.mark.parametrize("seed", range(5))
def test_the_changes_add_up_to_the_tallies_and_the_voters(seed: int) -> None:
    model = Model()
    for submission in generate(seed, 200):
        model.submit(submission.event, submission.received_at)
    for election in ELECTIONS:
        tallies: dict[str, Counts] = {c.village: c.after for c in model.village_changes(election)}
        for village, row in model.tallies(election).items():
            counts = tallies.get(village, dict.fromkeys(COUNTS, 0))
            assert counts == {count: row[count] for count in COUNTS}
        assert voters_added_up(model.voter_changes(election)) == model.voters(election)


def voters_added_up(changes: list[VoterChange]) -> dict[str, set[int]]:
    voters: dict[str, set[int]] = {}
    for change in changes:
        if change.from_village is not None:
            voters[change.from_village].remove(change.resident)
        if change.to_village is not None:
            voters.setdefault(change.to_village, set()).add(change.resident)
    return {village: residents for village, residents in voters.items() if residents}


# Histories


@pytest.mark.parametrize("types", [ALL, FOUR])
def test_histories_meet_every_outcome_that_their_types_can(types: tuple[str, ...]) -> None:
    results = [result for seed in range(8) for result in told(seed, types)]
    outcomes = {result.outcome for result in results}
    problems = {result.problem for result in results} - {None}
    everywhere = {"invalid", "id-reused", "in-the-future", "unknown-village", "already-registered"}
    retractions = {"unknown-event", "not-retractable", "deceased"}
    assert outcomes == {"accepted", "duplicate", "parked", "rejected"}
    assert problems == everywhere | {"too-young"} | (retractions if types is ALL else set())


def told(seed: int, types: tuple[str, ...]) -> list[Result]:
    model = Model()
    return [model.submit(s.event, s.received_at) for s in generate(seed, 300, types=types)]


def test_a_history_is_invalid_only_where_it_is_meant_to_be() -> None:
    model, notes = Model(), Counter[str]()
    for submission in generate(3, 2_000):
        if model.submit(submission.event, submission.received_at).problem == "invalid":
            notes[submission.note] += 1
        else:
            assert submission.note != "malformed"
    assert notes.keys() == {"malformed", "sent again", "id reused"}


def test_a_history_is_the_same_for_the_same_seed_and_in_any_batches() -> None:
    history = generate(7, 100)
    assert history == generate(7, 100)
    assert [submission for batch in batches(history, 1) for submission in batch] == history


def test_a_history_that_is_not_hostile_is_accepted_but_for_age_death_and_order() -> None:
    model = Model()
    results = [model.submit(s.event, s.received_at) for s in generate(5, 500, hostile=False)]
    problems = {result.problem for result in results} - {None}
    assert problems <= {"too-young", "deceased", "not-retractable", "unknown-event"} | {
        "already-registered"
    }


@given(histories(max_size=30))
@settings(max_examples=30, deadline=None)
def test_positions_have_no_gap_and_nothing_is_accepted_twice(history: list[Submission]) -> None:
    model = Model()
    for submission in history:
        model.submit(submission.event, submission.received_at)
    assert [entry.position for entry in model.log] == list(range(1, len(model.log) + 1))
    assert len({entry.key for entry in model.log}) == len(model.log)


def test_a_failing_history_is_cut_down_to_what_fails() -> None:
    history = generate(7, 100)
    culprits = [history[13], history[77]]
    assert smallest(history, lambda kept: all(c in kept for c in culprits)) == culprits
