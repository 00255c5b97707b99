"""Given what came before, when something comes, then the registry keeps it as these minutes say."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from services.registry.domain.decide import Circumstances, may_move_by_time
from services.registry.domain.deciding import (
    Answer,
    Claim,
    Minutes,
    Outcome,
    Received,
    World,
    decide_all,
    try_again,
)
from services.registry.domain.submissions import Arrival, WellFormed, arrive
from shared.problems import Problem, ProblemType
from shared.regions import village_codes
from tests.support.builders import (
    NIK,
    SOURCE,
    activated,
    died,
    event,
    recorded,
    registered,
    relocated,
    retracted,
)

NOW = datetime(2024, 6, 1, 5, tzinfo=UTC)
SOMEBODY = UUID(int=1)
OTHER = "1501012711070002"


def subject_of(nik: str) -> bytes:
    return b"hash of " + nik.encode()


def received(sent: Any, allowed: bool = True, sender: str = "KRC-01") -> Received:
    arrived = arrive(sent, allowed, subject_of)
    assert isinstance(arrived, Arrival)
    return Received(arrived, b"print of " + arrived.content, sender, NOW)


def take(world: World, *sent: Any, allowed: bool = True, now: datetime = NOW) -> Minutes:
    people = iter([SOMEBODY, UUID(int=2)])
    all_received = [received(one, allowed) for one in sent]
    return decide_all(all_received, world, Circumstances(now, village_codes()), people)


def a_world() -> World:
    return World(position=40, arrival=70)


def test_what_is_accepted_joins_the_log_at_the_next_position() -> None:
    world, registration, recording = a_world(), registered(id="one"), recorded(id="two")
    minutes = take(world, registration, recording)
    assert [answer.position for answer in minutes.answers] == [41, 42]
    for entry, sent, position in zip(
        minutes.entries, (registration, recording), (41, 42), strict=True
    ):
        logged = entry.logged
        assert (logged.position, logged.recorded_at) == (position, NOW)
        assert (logged.source, logged.id) == (SOURCE, sent["id"])
        assert logged.resident_id == SOMEBODY
        assert logged.fact == entry.submitted.fact
        assert entry.submitted.type == sent["type"]
    assert (world.position, world.arrival) == (42, 72)


def test_what_is_accepted_is_kept_with_its_place_its_print_and_its_fact() -> None:
    world, registration = a_world(), registered(id="one", birth_date="2007-11")
    minutes = take(world, registration)
    (kept,) = minutes.kept
    assert kept.number == 71
    assert kept.claims is True
    assert kept.received == received(registration)
    assert kept.fate is world.claims[(SOURCE, "one")]
    assert kept.fate == Claim(
        arrival=71,
        fingerprint=received(registration).fingerprint,
        first=Outcome.ACCEPTED,
        outcome=Outcome.ACCEPTED,
        warnings=("birth-date-incomplete",),
        position=41,
        logged=minutes.entries[0].logged,
        subject=subject_of(NIK),
    )
    assert minutes.answers == [
        Answer(SOURCE, "one", Outcome.ACCEPTED, 41, ("birth-date-incomplete",))
    ]
    assert minutes.moved == []


def test_what_is_accepted_at_once_was_received_then_and_what_had_waited_was_not() -> None:
    minutes = take(a_world(), recorded(id="early"), registered(id="one"), activated(id="two"))
    received_at = {entry.logged.id: entry.received_at for entry in minutes.entries}
    assert received_at == {"early": None, "one": NOW, "two": NOW}


def test_what_waits_is_kept_with_its_subject() -> None:
    world = a_world()
    minutes = take(world, early := recorded(id="early"))
    assert minutes.entries == []
    assert minutes.answers == [Answer(SOURCE, "early", Outcome.PARKED)]
    (kept,) = minutes.kept
    assert kept.fate == Claim(
        71,
        received(early).fingerprint,
        Outcome.PARKED,
        Outcome.PARKED,
        subject=subject_of(NIK),
    )
    assert [each.key for each in world.parked[subject_of(NIK)]] == [(SOURCE, "early")]


def test_what_is_refused_is_kept_with_its_problem_and_its_subject() -> None:
    world = a_world()
    minutes = take(world, lost := registered(id="lost", village="15.01.99.2001"))
    (kept,) = minutes.kept
    assert kept.fate.outcome is kept.fate.first is Outcome.REJECTED
    assert kept.fate.problem is not None
    assert kept.fate.problem.type is ProblemType.UNKNOWN_VILLAGE
    assert kept.fate.subject == subject_of(NIK)
    assert kept.fate.fingerprint == received(lost).fingerprint
    assert kept.claims is True
    assert minutes.answers == [Answer(SOURCE, "lost", Outcome.REJECTED, problem=kept.fate.problem)]


def test_a_repeat_of_something_well_formed_is_not_kept_twice() -> None:
    world = a_world()
    take(world, first := registered(id="one"))
    minutes = take(world, first)
    assert minutes.kept == []
    assert minutes.answers == [Answer(SOURCE, "one", Outcome.DUPLICATE, 41, first=Outcome.ACCEPTED)]


def test_a_repeat_carries_the_warnings_of_the_first() -> None:
    world = a_world()
    first = registered(birth_date="2007-11")
    take(world, first)
    (again,) = take(world, first).answers
    assert again.warnings == ("birth-date-incomplete",)


def test_other_content_is_kept_without_the_id_that_is_taken() -> None:
    world = a_world()
    take(world, registered(id="one"))
    claim = world.claims[(SOURCE, "one")]
    minutes = take(world, other := registered(id="one", name="Lain"))
    (kept,) = minutes.kept
    assert (kept.number, kept.claims) == (72, False)
    assert kept.fate.outcome is Outcome.REJECTED
    assert kept.fate.fingerprint == received(other).fingerprint
    assert world.claims[(SOURCE, "one")] is claim


def test_what_is_refused_for_its_form_takes_its_id_and_is_kept_once() -> None:
    world, bad = a_world(), registered(id="one", sex="X")
    minutes = take(world, bad, bad)
    assert [answer.outcome for answer in minutes.answers] == ["rejected", "rejected"]
    assert [answer.problem for answer in minutes.answers] == [received(bad).arrived.checked] * 2
    assert [(answer.source, answer.id) for answer in minutes.answers] == [(SOURCE, "one")] * 2
    (kept,) = minutes.kept
    assert kept.claims is True
    assert kept.fate.subject is None
    assert world.claims[(SOURCE, "one")] is kept.fate


def test_other_content_of_bad_form_is_kept_and_leaves_the_id_to_the_first() -> None:
    world = a_world()
    take(world, registered(id="one"))
    claim = world.claims[(SOURCE, "one")]
    minutes = take(world, registered(id="one", sex="X"))
    (kept,) = minutes.kept
    assert kept.claims is False
    assert world.claims[(SOURCE, "one")] is claim
    assert isinstance(minutes.answers[0].problem, Problem)
    assert minutes.answers[0].problem.type is ProblemType.INVALID


def test_what_may_not_be_sent_is_kept_and_takes_no_id() -> None:
    world = a_world()
    minutes = take(world, registered(id="one"), allowed=False)
    (kept,) = minutes.kept
    assert kept.claims is False
    assert world.claims == {}
    assert take(world, registered(id="one")).answers[0].outcome is Outcome.ACCEPTED


def test_what_waited_before_and_moves_now_is_told_apart_from_what_came_now() -> None:
    world = a_world()
    take(world, recorded(id="before"))
    minutes = take(world, activated(id="now"), registered(id="one"))
    assert minutes.moved == [world.claims[(SOURCE, "before")]]
    assert [entry.logged.id for entry in minutes.entries] == ["one", "before", "now"]
    assert world.claims[(SOURCE, "now")].outcome is Outcome.ACCEPTED
    assert world.claims[(SOURCE, "now")].first is Outcome.PARKED
    assert world.claims[(SOURCE, "before")].position == 42
    assert world.claims[(SOURCE, "before")].subject == subject_of(NIK)
    assert world.parked[subject_of(NIK)] == []


def test_what_waited_and_is_refused_now_moves_too() -> None:
    world = a_world()
    take(world, recorded(id="before"))
    minutes = take(world, registered(birth_date="2008-06-02"))
    (moved,) = minutes.moved
    assert moved is world.claims[(SOURCE, "before")]
    assert (moved.outcome, moved.first) == (Outcome.REJECTED, Outcome.PARKED)
    assert moved.problem is not None
    assert moved.problem.type is ProblemType.TOO_YOUNG


def test_what_waited_is_warned_of_anew_when_its_turn_comes() -> None:
    world = a_world()
    correction = {"nik": NIK, "reason": "salah", "birth_date": "2007-11"}
    (parked,) = take(world, early := event("biodata.corrected", correction, id="early")).answers
    assert parked.warnings == ("birth-date-incomplete",)
    take(world, registered(sex="P"))
    assert take(world, early).answers[0].warnings == ("birth-date-incomplete", "nik-mismatch")


def test_a_retraction_belongs_to_the_resident_of_what_it_retracts() -> None:
    world = a_world()
    take(world, registered(), recording := recorded(id="two"))
    minutes = take(world, undoing := retracted(recording, id="three"))
    (entry,) = minutes.entries
    assert entry.logged.resident_id == SOMEBODY
    assert (entry.logged.position, entry.logged.id) == (43, "three")
    assert world.claims[(SOURCE, "three")].subject == subject_of(NIK)
    assert minutes.kept[0].fate.subject == subject_of(NIK)
    assert take(world, undoing).answers[0].outcome is Outcome.DUPLICATE


def test_a_retraction_that_is_refused_has_no_subject() -> None:
    (kept,) = take(a_world(), retracted(recorded())).kept
    assert kept.fate.subject is None


def test_retractions_free_what_waits() -> None:
    """A failure stands in the way of an activation; retracted, it does so no more."""
    world = a_world()
    failure = event("ktp.failed", {"nik": NIK, "reason": "other"}, id="failure")
    minutes = take(world, registered(), recorded(), failure, activated(id="early"))
    assert minutes.answers[-1].outcome is Outcome.PARKED
    minutes = take(world, retracted(failure))
    assert [entry.logged.id for entry in minutes.entries][1:] == ["early"]
    assert minutes.moved == [world.claims[(SOURCE, "early")]]


def test_among_the_waiting_the_first_that_can_goes_first() -> None:
    world = a_world()
    take(world, activated(id="a"), relocated() | {"id": "b"}, recorded(id="c"))
    minutes = take(world, registered(id="d"))
    assert [entry.logged.id for entry in minutes.entries] == ["d", "b", "c", "a"]


TOMORROW = NOW + timedelta(days=1)


def a_world_where_somebody_died_today_and_an_activation_waits() -> World:
    world = a_world()
    ahead = activated(id="waits", time=(NOW + timedelta(days=9)).isoformat())
    answers = take(world, registered(), died(on="2024-06-01"), ahead).answers
    assert [answer.outcome for answer in answers] == ["accepted", "accepted", "parked"]
    return world


def test_a_day_later_whatever_is_accepted_has_what_waits_refused() -> None:
    world = a_world_where_somebody_died_today_and_an_activation_waits()
    minutes = take(world, registered(OTHER), registered(OTHER), now=TOMORROW)
    assert minutes.moved == [world.claims[(SOURCE, "waits")]]
    (moved,) = minutes.moved
    assert moved.problem is not None
    assert (moved.outcome, moved.problem.type) == (Outcome.REJECTED, ProblemType.DECEASED)
    assert world.parked[subject_of(NIK)] == []


def test_where_nothing_is_accepted_nothing_that_waits_is_tried() -> None:
    world = a_world_where_somebody_died_today_and_an_activation_waits()
    refused = registered(OTHER, village="99.99.99.9999")
    assert take(world, refused, recorded(OTHER), now=TOMORROW).moved == []
    assert world.claims[(SOURCE, "waits")].outcome is Outcome.PARKED


def test_all_that_waits_is_tried_again_on_request_in_order_of_arrival() -> None:
    world = a_world()
    take(world, activated(id="a"), activated(OTHER, id="b"), recorded(OTHER, id="c"))
    take(world, recorded(id="d"))
    beyond = a_world()
    take(beyond, registered(id="e"), registered(OTHER, id="f"))
    world.residents |= beyond.residents
    minutes = try_again(world, Circumstances(NOW, village_codes()), iter([]))
    assert [entry.logged.id for entry in minutes.entries] == ["c", "b", "d", "a"]
    assert [claim.arrival for claim in minutes.moved] == [73, 72, 74, 71]


@pytest.mark.parametrize(
    ("tried_at", "now", "may"),
    [
        ("2024-06-01T00:00:00+07:00", "2024-06-01T23:49:59+07:00", False),
        ("2024-06-01T00:00:00+07:00", "2024-06-01T23:50:00+07:00", True),
        ("2024-05-31T23:59:59+07:00", "2024-06-01T00:00:00+07:00", True),
        ("2024-05-31T17:00:00+00:00", "2024-06-01T00:00:00+00:00", False),
    ],
)
def test_by_time_alone_things_move_with_the_offices_day(tried_at: str, now: str, may: bool) -> None:
    moments = map(datetime.fromisoformat, (tried_at, now))
    assert may_move_by_time(*moments) is may


def test_content_not_spelling_decides_whether_it_is_the_same() -> None:
    first = registered(id="one")
    world = a_world()
    take(world, first)
    again = dict(reversed(first.items()))
    assert take(world, again).answers[0].outcome is Outcome.DUPLICATE


@pytest.mark.parametrize(
    "make",
    [
        lambda: recorded(id=f"ktp-{NIK}"),
        lambda: recorded(source=f"urn:dukcapil:station:{NIK}"),
    ],
)
def test_what_is_named_by_its_nik_takes_no_id(make: Callable[[], dict[str, Any]]) -> None:
    assert received(make()).arrived.claims is False


@pytest.mark.parametrize("data", [{"nik": ""}, {"nik": 5}, {}, [], None])
def test_a_name_is_taken_where_there_is_no_nik_to_be_seen(data: Any) -> None:
    assert received(registered() | {"data": data}).arrived.claims is True


@pytest.mark.parametrize(
    ("number", "kept"),
    [
        (1, 1),
        (2**53 - 1, 2**53 - 1),
        (2**53, None),
        (0, None),
        (True, None),
        (1.0, None),
        ("1", None),
        (None, None),
    ],
)
def test_only_a_number_that_counts_is_kept_of_a_stations_sequence(
    number: object, kept: int | None
) -> None:
    assert received(registered() | {"stationseq": number}).arrived.station_seq == kept


def test_what_is_well_formed_is_read_whole() -> None:
    sent = registered(service="tni", birth_date="2007-11", time="2024-06-01T09:00:00+07:00")
    arrived = received(sent).arrived
    assert (arrived.source, arrived.id) == (SOURCE, sent["id"])
    checked = arrived.checked
    assert isinstance(checked, WellFormed)
    assert (checked.type, checked.time) == ("id.dukcapil.resident.registered", sent["time"])
    assert checked.happened_at == datetime(2024, 6, 1, 2, tzinfo=UTC)
    assert (checked.nik, checked.subject) == (NIK, subject_of(NIK))
    assert checked.birth_date == "2007-11"
    assert checked.data == (
        '{"sex":"L","birth_date":"2007-11","marital_status":"B","village":"15.01.01.1004",'
        '"service":"tni"}'
    )


def test_a_retraction_has_neither_nik_nor_subject() -> None:
    checked = received(retracted(recorded(id="two"))).arrived.checked
    assert isinstance(checked, WellFormed)
    assert (checked.nik, checked.subject, checked.birth_date) == (None, None, None)


@pytest.mark.parametrize("content_type", ["application/json", None])
def test_json_is_said_or_left_unsaid(content_type: str | None) -> None:
    sent = registered() | {"datacontenttype": content_type}
    assert isinstance(received(sent).arrived.checked, WellFormed)


def test_numbers_beyond_64_bits_are_content_too() -> None:
    content = received(registered() | {"big": 2**70, "a": "ḥ"}).arrived.content
    assert b'"big":1180591620717411303424' in content
    again = received({"a": "ḥ", "big": 2**70} | registered()).arrived.content
    assert content.index(b'"a"') == again.index(b'"a"') == 1


def told_of(sent: dict[str, Any], **data: str) -> dict[str, Any]:
    return sent | {"data": sent["data"] | data}


@pytest.mark.parametrize(
    ("sent", "member", "claims"),
    [
        (recorded(id=f"ktp-{OTHER}"), "id", False),
        (recorded(id=f"{OTHER[:6]}-{OTHER[6:]}"), "id", False),
        (recorded(id=f"7{OTHER}"), "id", False),
        (recorded(source=f"{SOURCE}{OTHER}"), "source", False),
        (told_of(relocated(), letter_no=f"SKPWNI/{OTHER[:4]}/{OTHER[4:]}"), "data.letter_no", True),
        (told_of(retracted(registered(id="one")), reason=f"x{OTHER}"), "data.reason", True),
        (retracted(registered(id="one"), id=f"undo{NIK}"), "id", False),
    ],
)
def test_a_nik_of_somebody_known_may_not_be_read_in_what_everybody_sees(
    sent: dict[str, Any], member: str, claims: bool
) -> None:
    world = a_world()
    take(world, registered(id="one"), registered(OTHER, id="two"))
    minutes = take(world, sent)
    problem = minutes.answers[0].problem
    assert problem is not None
    assert (problem.type, problem.field) == (ProblemType.INVALID, member)
    assert NIK not in problem.detail
    assert OTHER not in problem.detail
    assert [kept.claims for kept in minutes.kept] == [claims]
    assert minutes.entries == []


def test_a_number_that_is_nobodys_nik_is_a_number() -> None:
    world = a_world()
    minutes = take(world, registered(id="one"), recorded(id=f"clock-{OTHER}"))
    assert [answer.outcome for answer in minutes.answers] == [Outcome.ACCEPTED, Outcome.ACCEPTED]


def test_what_is_in_the_log_stays_a_duplicate_when_its_number_becomes_somebodys_nik() -> None:
    world, clocked = a_world(), recorded(id=f"clock-{OTHER}")
    take(world, registered(id="one"), clocked, registered(OTHER, id="two"))
    (again,) = take(world, clocked).answers
    assert (again.outcome, again.position) == (Outcome.DUPLICATE, 42)
    (undone,) = take(world, retracted(clocked, id="undo")).answers
    assert undone.outcome is Outcome.ACCEPTED


def test_somebody_elses_copy_of_an_event_is_forbidden_and_kept_each_time() -> None:
    world, sent = a_world(), registered(id="one")
    take(world, sent)
    for _ in range(2):
        minutes = take(world, sent, allowed=False)
        assert minutes.answers[0].outcome is Outcome.REJECTED
        assert [(kept.claims, kept.fate.position) for kept in minutes.kept] == [(False, None)]


def correcting(reason: str, **biodata: str) -> dict[str, Any]:
    return event("biodata.corrected", {"nik": NIK, "reason": reason} | biodata)


@pytest.mark.parametrize(
    ("sent", "member"),
    [
        (correcting("tertulis SITI  Aminah", name="Siti Amina"), "data.reason"),
        (correcting("mestinya siti amina", name="Siti Amina"), "data.reason"),
        (correcting("Siti Aminah seorang wanita", sex="P"), "data.reason"),
        (told_of(relocated(), letter_no="SKPWNI/Siti-Aminah/3"), "data.letter_no"),
        (
            told_of(retracted(registered(id="one")), reason="Siti Aminah, lain"),
            "data.reason",
        ),
    ],
)
def test_the_residents_name_may_not_be_written_where_everybody_reads(
    sent: dict[str, Any], member: str
) -> None:
    world = a_world()
    take(world, registered(id="one", name="Siti Aminah"))
    minutes = take(world, sent)
    problem = minutes.answers[0].problem
    assert problem is not None
    assert (problem.type, problem.field) == (ProblemType.INVALID, member)
    assert "Siti" not in problem.detail
    assert [kept.claims for kept in minutes.kept] == [True]


@pytest.mark.parametrize("reason", ["salah ketik", "kakak Siti Aminahtun", "Siti", "Aminah Siti"])
def test_other_words_are_a_reason(reason: str) -> None:
    world = a_world()
    take(world, registered(id="one", name="Siti Aminah"))
    (answer,) = take(world, correcting(reason, sex="P")).answers
    assert answer.outcome is Outcome.ACCEPTED


def test_a_name_of_before_is_a_name_still_and_anothers_is_not() -> None:
    world = a_world()
    take(
        world,
        registered(id="one", name="Siti Aminah"),
        correcting("salah ketik", name="Siti Amina"),
        registered(OTHER, id="two", name="Budi"),
    )
    reasons = ("Siti Aminah", "Siti Amina", "Budi")
    answers = take(world, *(correcting(reason, sex="P") for reason in reasons)).answers
    assert [answer.outcome for answer in answers] == [
        Outcome.REJECTED,
        Outcome.REJECTED,
        Outcome.ACCEPTED,
    ]


def test_what_waits_and_tells_the_name_is_refused_when_it_is_known() -> None:
    world = a_world()
    waits = told_of(relocated(), letter_no="SKPWNI/Siti Aminah")
    assert take(world, waits).answers[0].outcome is Outcome.PARKED
    minutes = take(world, registered(id="one", name="Siti Aminah"))
    (moved,) = minutes.moved
    assert moved.problem is not None
    assert (moved.outcome, moved.problem.field) == (Outcome.REJECTED, "data.letter_no")
    assert [entry.logged.id for entry in minutes.entries] == ["one"]
