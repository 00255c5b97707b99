"""Given what the log holds, when an event comes, then it is accepted, parked or refused."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.support.builders import (
    JAKARTA,
    NIK,
    activated,
    died,
    event,
    recorded,
    registered,
    relocated,
    retracted,
)
from tests.support.pure_registry import PureRegistry

NOW = datetime(2024, 6, 1, 5, tzinfo=UTC)

Told = list[str]


def outcomes(*events: dict[str, Any], now: datetime = NOW, together: bool = True) -> Told:
    """The outcome of each event, or its problem where it has one."""
    registry = PureRegistry()
    batches = [list(events)] if together else [[one] for one in events]
    answers = [answer for batch in batches for answer in registry.submit(batch, now)]
    return [answer.problem.type if answer.problem else answer.outcome for answer in answers]


def warnings(*events: dict[str, Any]) -> tuple[str, ...]:
    """The warnings on the last of these events."""
    return PureRegistry().submit(events, NOW)[-1].warnings


@pytest.mark.parametrize("together", [True, False])
def test_an_event_before_its_registration_waits_and_then_counts(together: bool) -> None:
    registry = PureRegistry()
    events = [activated(), recorded(), registered()]
    batches = [events] if together else [[one] for one in events]
    answers = [answer for batch in batches for answer in registry.submit(batch, NOW)]
    assert [answer.outcome for answer in answers] == ["parked", "parked", "accepted"]
    assert [entry.submitted.type.rpartition("dukcapil.")[2] for entry in registry.log] == [
        "resident.registered",
        "ktp.recorded",
        "ikd.activated",
    ]


def test_a_parked_event_sent_again_is_a_duplicate_at_its_later_position() -> None:
    early = recorded()
    registry = PureRegistry()
    registry.submit([early, registered()], NOW)
    again = registry.submit([early], NOW)[0]
    assert (again.outcome, again.first, again.position) == ("duplicate", "parked", 2)


def test_the_same_content_again_is_a_duplicate_and_other_content_a_reuse() -> None:
    first = registered(id="one")
    assert outcomes(first, first, registered(id="one", name="Lain")) == [
        "accepted",
        "duplicate",
        "id-reused",
    ]


def test_a_refused_event_takes_its_id_and_repeats_its_refusal() -> None:
    refused = registered(village="99.99.99.9999", id="one")
    assert outcomes(refused, refused, registered(id="one")) == [
        "unknown-village",
        "unknown-village",
        "id-reused",
    ]


def test_an_id_is_unique_within_its_source_only() -> None:
    other = recorded(id="one", source="urn:dukcapil:station:KRC-02")
    assert outcomes(registered(id="one"), other) == ["accepted", "accepted"]


@pytest.mark.parametrize(
    ("moment", "told"),
    [
        ("2024-05-31T16:59:59+00:00", "in-the-future"),
        ("2024-05-31T17:00:00+00:00", "accepted"),
    ],
)
def test_today_is_the_offices_day_in_asia_jakarta(moment: str, told: str) -> None:
    born_today = registered(birth_date="2024-06-01")
    assert outcomes(born_today, now=datetime.fromisoformat(moment)) == [told]


def test_an_incomplete_birth_date_counts_as_its_last_day() -> None:
    assert outcomes(registered(birth_date="2024")) == ["in-the-future"]
    assert "birth-date-incomplete" in warnings(registered(birth_date="2007-11"))


def test_a_village_anywhere_in_the_country_is_known() -> None:
    assert outcomes(registered(), relocated(to=JAKARTA)) == ["accepted", "accepted"]
    assert outcomes(registered(), relocated(to="15.01.99.2001")) == ["accepted", "unknown-village"]


def test_a_nik_is_registered_once() -> None:
    assert outcomes(registered(), registered()) == ["accepted", "already-registered"]


@pytest.mark.parametrize(
    ("birth_date", "time", "told"),
    [
        ("2008-06-01", "2024-05-31T23:59:59+07:00", "too-young"),
        ("2008-06-01", "2024-06-01T00:00:00+07:00", "accepted"),
        ("2008-02-29", "2024-02-28T12:00:00+07:00", "too-young"),
        ("2008-02-29", "2024-02-29T00:00:00+07:00", "accepted"),
    ],
)
def test_recording_is_allowed_from_the_sixteenth_birthday(
    birth_date: str, time: str, told: str
) -> None:
    assert outcomes(registered(birth_date=birth_date), recorded(time=time))[1] == told


def test_a_clock_that_runs_ahead_does_not_make_a_pupil_older() -> None:
    pupil = registered(birth_date="2008-06-02")
    ahead = recorded(time="2024-06-02T12:00:00+07:00")
    assert outcomes(pupil, ahead) == ["accepted", "too-young"]


@pytest.mark.parametrize(("minutes", "told"), [(10, ()), (11, ("clock-ahead",))])
def test_a_clock_may_run_ten_minutes_ahead(minutes: int, told: tuple[str, ...]) -> None:
    time = (NOW + timedelta(minutes=minutes)).isoformat()
    assert warnings(registered(time=time)) == told


def test_after_the_day_of_death_only_corrections_and_retractions_come() -> None:
    on_the_day = recorded(time="2024-05-01T23:00:00+07:00")
    the_day_after = recorded(time="2024-05-02T00:00:00+07:00")
    fix = event("biodata.corrected", {"nik": NIK, "reason": "salah ketik", "sex": "P"})
    assert outcomes(registered(), died(), on_the_day, the_day_after, fix, died()) == [
        "accepted",
        "accepted",
        "accepted",
        "deceased",
        "accepted",
        "deceased",
    ]


def test_a_death_retracted_never_was() -> None:
    death = died()
    assert outcomes(registered(), death, retracted(death), recorded())[-1] == "accepted"


def test_retracting_a_recording_makes_an_activation_wait() -> None:
    recording = recorded()
    told = outcomes(registered(), recording, retracted(recording), activated())
    assert told == ["accepted", "accepted", "accepted", "parked"]


def test_a_registration_goes_last_and_its_nik_may_come_anew_as_another_resident() -> None:
    registration, recording = registered(), recorded()
    registry = PureRegistry()
    sent = [
        registration,
        recording,
        retracted(registration),
        retracted(recording),
        retracted(registration),
        registered(),
    ]
    answers = registry.submit(sent, NOW)
    assert [a.problem.type if a.problem else a.outcome for a in answers] == [
        "accepted",
        "accepted",
        "not-retractable",
        "accepted",
        "accepted",
        "accepted",
    ]
    residents = [entry.logged.resident_id for entry in registry.log]
    assert len(set(residents[:-1])) == 1
    assert residents[-1] != residents[0]


def test_what_is_not_in_the_log_cannot_be_retracted() -> None:
    parked, refused = recorded(), registered(village="99.99.99.9999")
    assert outcomes(parked, retracted(parked), refused, retracted(refused)) == [
        "parked",
        "unknown-event",
        "unknown-village",
        "unknown-event",
    ]


def test_a_retraction_stands_for_ever_and_nothing_is_retracted_twice() -> None:
    recording = recorded()
    undo = retracted(recording)
    assert outcomes(registered(), recording, undo, retracted(undo), retracted(recording))[-2:] == [
        "not-retractable",
        "not-retractable",
    ]


def test_a_nik_that_differs_from_the_biodata_is_accepted_with_a_warning() -> None:
    assert warnings(registered(birth_date="2007-11-26")) == ("nik-mismatch",)
    assert warnings(registered(sex="P")) == ("nik-mismatch",)
    assert warnings(registered()) == ()
