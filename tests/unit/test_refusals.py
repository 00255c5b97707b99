"""Given what the log holds, when an event is refused, then the station reads in one sentence what
is wrong and what to do, and which member it is."""

from datetime import UTC, datetime
from typing import Any

import pytest

from services.registry.domain.submissions import Arrival, arrive
from shared.problems import Problem, ProblemType
from tests.support.builders import (
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
TEXT_OF_1_TO_200 = "must be text of 1 to 200 characters."
TEXT_OF_1_TO_255 = "must be text of 1 to 255 characters."
DATE = "must be a date written YYYY-MM-DD."
BIRTH_DATE = "must be a date written YYYY-MM-DD, or YYYY-MM or YYYY where no more is known."
NO_SUCH_DATE = "is not a date that exists."
PLAIN = "must be text without control characters."


def refusal(*events: dict[str, Any]) -> Problem | None:
    """Why the last of these events is refused."""
    return PureRegistry().submit(list(events), NOW)[-1].problem


REGISTRATION, UNDONE = registered(), recorded()
UNDOING = retracted(UNDONE)
REFUSALS: list[tuple[list[dict[str, Any]], Problem]] = [
    (
        [registered(id="one"), registered(id="one", name="Lain")],
        Problem(
            ProblemType.ID_REUSED,
            "id came before from this source with other content; send new content under a new id.",
            "id",
        ),
    ),
    (
        [registered(birth_date="2024-06-02")],
        Problem(
            ProblemType.IN_THE_FUTURE,
            "data.birth_date lies after today in Asia/Jakarta; correct the date and send it as a"
            " new event.",
            "data.birth_date",
        ),
    ),
    (
        [event("biodata.corrected", {"nik": NIK, "reason": "salah", "birth_date": "2024"})],
        Problem(
            ProblemType.IN_THE_FUTURE,
            "data.birth_date lies after today in Asia/Jakarta; correct the date and send it as a"
            " new event.",
            "data.birth_date",
        ),
    ),
    (
        [event("resident.married", {"nik": NIK, "married_on": "2024-06-02"})],
        Problem(
            ProblemType.IN_THE_FUTURE,
            "data.married_on lies after today in Asia/Jakarta; correct the date and send it as a"
            " new event.",
            "data.married_on",
        ),
    ),
    (
        [died(on="2024-06-02")],
        Problem(
            ProblemType.IN_THE_FUTURE,
            "data.died_on lies after today in Asia/Jakarta; correct the date and send it as a new"
            " event.",
            "data.died_on",
        ),
    ),
    (
        [registered(village="15.01.99.2001")],
        Problem(
            ProblemType.UNKNOWN_VILLAGE,
            "data.village is not a village code of the national list; look the code up, not the"
            " name.",
            "data.village",
        ),
    ),
    (
        [relocated(to="15.01.99.2001")],
        Problem(
            ProblemType.UNKNOWN_VILLAGE,
            "data.to_village is not a village code of the national list; look the code up, not the"
            " name.",
            "data.to_village",
        ),
    ),
    (
        [retracted(recorded())],
        Problem(
            ProblemType.UNKNOWN_EVENT,
            "data.retracts names no accepted event; check its source and id.",
            "data.retracts",
        ),
    ),
    (
        [registered(), UNDONE, UNDOING, retracted(UNDONE)],
        Problem(
            ProblemType.NOT_RETRACTABLE,
            "data.retracts is a retraction or retracted already.",
            "data.retracts",
        ),
    ),
    (
        [registered(), UNDONE, UNDOING, retracted(UNDOING)],
        Problem(
            ProblemType.NOT_RETRACTABLE,
            "data.retracts is a retraction or retracted already.",
            "data.retracts",
        ),
    ),
    (
        [REGISTRATION, recorded(), retracted(REGISTRATION)],
        Problem(
            ProblemType.NOT_RETRACTABLE,
            "data.retracts is a registration whose resident has other events; retract these.",
            "data.retracts",
        ),
    ),
    (
        [registered(), registered()],
        Problem(
            ProblemType.ALREADY_REGISTERED,
            "data.nik is registered already; send a correction or a relocation instead.",
            "data.nik",
        ),
    ),
    (
        [registered(), died(), recorded()],
        Problem(
            ProblemType.DECEASED,
            "The resident had died before this; if the death is wrong, retract it first.",
            "time",
        ),
    ),
    (
        [registered(birth_date="2008-06-02"), recorded()],
        Problem(
            ProblemType.TOO_YOUNG,
            "The resident was not yet 16 at this time; record again after the birthday.",
            "time",
        ),
    ),
]


def named(value: object) -> str:
    """A case by the member that its problem names: an event has a number of its own each time."""
    return value.field or "event" if isinstance(value, Problem) else ""


@pytest.mark.parametrize(
    ("events", "problem"), REFUSALS, ids=lambda value: getattr(value, "type", "")
)
def test_a_refusal_says_what_is_wrong_and_what_to_do(
    events: list[dict[str, Any]], problem: Problem
) -> None:
    assert refusal(*events) == problem


def test_a_parked_event_that_is_refused_in_its_turn_keeps_why_and_no_warning() -> None:
    registry = PureRegistry()
    early = recorded(time="2024-06-03T12:00:00+07:00", id="early")
    assert registry.submit([early], NOW)[0].warnings == ("clock-ahead",)
    registry.submit([registered(birth_date="2008-06-02")], NOW)
    again = registry.submit([early], NOW)[0]
    assert (again.outcome, again.first, again.warnings) == ("duplicate", "parked", ())
    assert again.problem is not None
    assert again.problem.type is ProblemType.TOO_YOUNG


def of_form(sent: Any, allowed: bool = True) -> Problem | None:
    """Why something is refused for its form."""
    arrived = arrive(sent, allowed, str.encode)
    checked = arrived.checked if isinstance(arrived, Arrival) else arrived
    return checked if isinstance(checked, Problem) else None


def invalid(field: str, fault: str) -> Problem:
    return Problem(ProblemType.INVALID, f"{field} {fault}", field)


def moved(**data: Any) -> dict[str, Any]:
    move = relocated()
    return move | {"data": move["data"] | data}


def undone(**data: Any) -> dict[str, Any]:
    undoing = retracted(registered())
    return undoing | {"data": undoing["data"] | data}


def a_death(day: str) -> dict[str, Any]:
    return event("resident.died", {"nik": NIK, "died_on": day})


@pytest.mark.parametrize(
    ("sent", "problem"),
    [
        (registered() | {"source": ""}, invalid("source", TEXT_OF_1_TO_255)),
        (registered() | {"source": None}, invalid("source", TEXT_OF_1_TO_255)),
        (registered() | {"source": "x" * 256}, invalid("source", TEXT_OF_1_TO_255)),
        (registered() | {"id": ""}, invalid("id", TEXT_OF_1_TO_200)),
        (registered() | {"id": "x" * 201}, invalid("id", TEXT_OF_1_TO_200)),
        (registered() | {"id": "a\u2028b"}, invalid("id", TEXT_OF_1_TO_200)),
        (registered() | {"specversion": "1.1"}, invalid("specversion", 'must be "1.0".')),
        (
            registered() | {"source": "urn:dukcapil:station:-"},
            invalid("source", "must be urn:dukcapil:station: and the station's code."),
        ),
        (
            registered() | {"source": "x" * 255},
            invalid("source", "must be urn:dukcapil:station: and the station's code."),
        ),
        (
            registered() | {"type": "id.dukcapil.resident.cloned"},
            invalid("type", "must be id.dukcapil. and an event type of the contract."),
        ),
        (
            registered() | {"type": None},
            invalid("type", "must be id.dukcapil. and an event type of the contract."),
        ),
        (registered() | {"type": "ktp.recorded"}, invalid("type", "must begin with id.dukcapil..")),
        (
            registered() | {"stationseq": 0},
            invalid("stationseq", "must be a whole number from 1."),
        ),
        (
            registered() | {"stationseq": 2**53},
            invalid("stationseq", "must be a whole number from 1."),
        ),
        (
            registered() | {"datacontenttype": "text/xml"},
            invalid("datacontenttype", "must be application/json."),
        ),
        (
            registered() | {"time": "yesterday"},
            invalid("time", "must be an RFC 3339 time with an offset."),
        ),
        (registered() | {"data": []}, invalid("data", "must be a JSON object.")),
        (registered(nik="1"), invalid("data.nik", "must be 16 digits.")),
        (
            registered(nik="1501012711070000"),
            invalid("data.nik", "has the serial 0000, which is never given."),
        ),
        (
            registered(nik="1501013211079999"),
            invalid("data.nik", "holds a date of birth that does not exist."),
        ),
        (registered(birth_date="27-11-07"), invalid("data.birth_date", BIRTH_DATE)),
        (registered(birth_date="٢٠٠٧"), invalid("data.birth_date", BIRTH_DATE)),
        (registered(birth_date="2007-02-30"), invalid("data.birth_date", NO_SUCH_DATE)),
        (a_death("2024"), invalid("data.died_on", DATE)),
        (a_death("2023-02-29"), invalid("data.died_on", NO_SUCH_DATE)),
        (
            registered(village="1501012001"),
            invalid("data.village", "must be a village code written PP.KK.CC.DDDD."),
        ),
        (registered(name="Warga\u0085"), invalid("data.name", PLAIN)),
        (registered(name=" "), invalid("data.name", PLAIN)),
        (registered(name=5), invalid("data.name", "must be a valid string.")),
        (registered(name=""), invalid("data.name", "string should have at least 1 character.")),
        (registered(sex="X"), invalid("data.sex", "must be 'l' or 'p'.")),
        (
            registered(agama="x"),
            invalid("data.agama", "is not a member of this event type; leave it out."),
        ),
        (event("resident.died", {"nik": NIK}), invalid("data.died_on", "is missing.")),
        (undone(retracts={"id": "1"}), invalid("data.retracts.source", "is missing.")),
        (undone(reason=f"NIK {NIK}"), invalid("data.reason", "must not hold a NIK.")),
        (moved(letter_no="\t"), invalid("data.letter_no", PLAIN)),
        (
            moved(letter_no=f"x{NIK}"),
            invalid("data.letter_no", "must not hold the resident's NIK."),
        ),
        (
            event("ktp.failed", {"nik": NIK, "reason": "other"}, id=f"x{NIK}"),
            invalid("id", "must not hold the resident's NIK."),
        ),
        (
            recorded(source=f"urn:dukcapil:station:{NIK}"),
            invalid("source", "must not hold the resident's NIK."),
        ),
        (
            event("biodata.corrected", {"nik": NIK, "reason": f"x{NIK}", "sex": "L"}),
            invalid("data.reason", "must not hold the resident's NIK."),
        ),
        (
            event(
                "rights.revoked",
                {"nik": NIK, "effective_date": "2024-01-01", "verdict_no": f"x{NIK}"},
            ),
            invalid("data.verdict_no", "must not hold the resident's NIK."),
        ),
        (
            event("biodata.corrected", {"nik": NIK, "reason": "salah"}),
            invalid("data", "must hold at least one of name, sex, birth_date, marital_status."),
        ),
    ],
    ids=named,
)
def test_what_is_refused_for_its_form_is_told_in_words_of_our_own(
    sent: dict[str, Any], problem: Problem
) -> None:
    assert of_form(sent) == problem


def test_what_is_no_object_is_told_so() -> None:
    detail = "An event must be a JSON object; see CloudEvents 1.0."
    assert of_form([registered()]) == Problem(ProblemType.INVALID, detail)


def test_a_token_of_another_station_is_told_so() -> None:
    detail = "This token may not send for this source; send with the token of that station."
    assert of_form(registered(), allowed=False) == Problem(ProblemType.FORBIDDEN, detail, "source")


def test_an_event_has_64_kib_at_most() -> None:
    bare = registered() | {"note": ""}
    arrived = arrive(bare, True, str.encode)
    assert isinstance(arrived, Arrival)
    room = 65_536 - len(arrived.content)
    assert of_form(bare | {"note": "x" * room}) is None
    assert of_form(bare | {"note": "x" * (room + 1)}) == Problem(
        ProblemType.TOO_LARGE, "An event may have 65536 bytes at most."
    )


def test_nesting_that_cannot_be_written_is_refused() -> None:
    deep: Any = 0
    for _ in range(100_000):
        deep = [deep]
    problem = of_form(registered() | {"deep": deep})
    detail = (
        "body is not JSON in UTF-8, or is a number without end or nested too deeply; write it anew."
    )
    assert problem == Problem(ProblemType.INVALID, detail, "body")


def test_an_activation_without_a_recording_is_no_refusal() -> None:
    assert refusal(registered(), activated()) is None
