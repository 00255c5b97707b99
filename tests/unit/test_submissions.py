"""What is refused for its form alone, and the member that is named."""

from datetime import UTC, datetime
from typing import Any

import pytest

from services.registry.domain.submissions import (
    Arrival,
    WellFormed,
    arrive,
    as_kept,
    parse_time,
)
from shared.problems import Problem, ProblemType
from tests.support.builders import NIK, event, recorded, registered, relocated, retracted


def check(sent: Any, allowed: bool = True) -> WellFormed | Problem:
    arrived = arrive(sent, allowed, str.encode)
    return arrived.checked if isinstance(arrived, Arrival) else arrived


def field_of(sent: Any) -> str | None:
    problem = check(sent)
    assert isinstance(problem, Problem)
    assert problem.type is ProblemType.INVALID
    assert NIK not in problem.detail
    return problem.field


def without(sent: dict[str, Any], member: str) -> dict[str, Any]:
    return {name: value for name, value in sent.items() if name != member}


@pytest.mark.parametrize("member", ["specversion", "source", "id", "type", "time", "data"])
def test_a_missing_member_of_the_envelope_is_named(member: str) -> None:
    assert field_of(without(registered(), member)) == member


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"nik": "15010127110700AB"}, "data.nik"),
        ({"nik": 1501012711070001}, "data.nik"),
        ({"name": ""}, "data.name"),
        ({"name": "Warga\u0000"}, "data.name"),
        ({"name": None}, "data.name"),
        ({"sex": "X"}, "data.sex"),
        ({"birth_date": "2007-02-30"}, "data.birth_date"),
        ({"birth_date": "2007-13"}, "data.birth_date"),
        ({"birth_date": "0000"}, "data.birth_date"),
        ({"birth_date": "27-11-2007"}, "data.birth_date"),
        ({"birth_date": "2007-W48-2"}, "data.birth_date"),
        ({"birth_date": "20071127"}, "data.birth_date"),
        ({"marital_status": "K"}, "data.marital_status"),
        ({"village": "1501012001"}, "data.village"),
        ({"service": "pns"}, "data.service"),
        ({"religion": "x"}, "data.religion"),
        ({"1501012711070001": "x"}, "data.?"),
    ],
)
def test_a_member_of_the_data_that_is_wrong_is_named(change: dict[str, Any], field: str) -> None:
    assert field_of(registered(**change)) == field


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"specversion": "0.3"}, "specversion"),
        ({"source": "urn:dukcapil:station:"}, "source"),
        ({"source": "https://example.org"}, "source"),
        ({"type": "id.dukcapil.resident.cloned"}, "type"),
        ({"type": "resident.registered"}, "type"),
        ({"type": 7}, "type"),
        ({"time": "2024-06-01T09:00:00"}, "time"),
        ({"time": "2024-06-31T09:00:00Z"}, "time"),
        ({"time": "2024-06-01 09:00:00Z"}, "time"),
        ({"time": "2024-06-01T24:00:00Z"}, "time"),
        ({"stationseq": 0}, "stationseq"),
        ({"stationseq": True}, "stationseq"),
        ({"stationseq": "1"}, "stationseq"),
        ({"datacontenttype": "text/xml"}, "datacontenttype"),
        ({"datacontenttype": "application/jsonp"}, "datacontenttype"),
        ({"datacontenttype": 1}, "datacontenttype"),
        ({"data": []}, "data"),
        ({"data": None}, "data"),
        ({"id": ""}, "id"),
        ({"id": 5}, "id"),
        ({"id": "x" * 201}, "id"),
        ({"id": "a\u0000b"}, "id"),
    ],
)
def test_a_member_of_the_envelope_that_is_wrong_is_named(
    change: dict[str, Any], field: str
) -> None:
    assert field_of(registered() | change) == field


def test_what_is_no_object_is_invalid() -> None:
    nothings: tuple[Any, ...] = (None, [], "event", 7)
    for sent in nothings:
        assert isinstance(arrive(sent, True, str.encode), Problem)


def test_an_event_may_not_carry_its_nik_where_everybody_can_read_it() -> None:
    assert field_of(recorded(id=f"ktp-{NIK}")) == "id"
    move = relocated()
    move["data"]["letter_no"] = f"SKPWNI-{NIK}"
    assert field_of(move) == "data.letter_no"
    move["data"]["letter_no"] = f"SKPWNI/{NIK[:6]}/{NIK[6:12]}.{NIK[12:]}/3"
    assert field_of(move) == "data.letter_no"
    undo = retracted(registered())
    undo["data"]["reason"] = "NIK 1501012711079999 salah"
    assert field_of(undo) == "data.reason"


@pytest.mark.parametrize(
    "written", ["application/json; charset=utf-8", "Application/JSON", " application/json", None]
)
def test_a_media_type_is_jsons_in_any_case_and_with_any_parameter(written: str | None) -> None:
    assert isinstance(check(registered() | {"datacontenttype": written}), WellFormed)


@pytest.mark.parametrize(
    "change", [{"id": "x" * 201}, {"id": "a\u0000b"}, {"source": "s" * 256}, {"id": NIK}]
)
def test_a_name_that_cannot_be_kept_as_it_is_claims_nothing(change: dict[str, Any]) -> None:
    arrived = arrive(registered() | change, True, str.encode)
    assert isinstance(arrived, Arrival)
    assert isinstance(arrived.checked, Problem)
    assert not arrived.claims
    assert arrived.is_heard == ("source" not in change)


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("a\u0000b", "a?b"),
        ("x" * 300, "x" * 255),
        (f"ktp-{NIK}", "ktp-" + "*" * 16),
        (f"{NIK[:4]} {NIK[4:]}", "*" * 17),
    ],
    ids=["unprintable", "long", "with a NIK", "with a grouped NIK"],
)
def test_a_name_that_claims_nothing_is_kept_so_far_as_it_may_be(name: str, kept: str) -> None:
    assert as_kept(name) == kept


def test_a_correction_of_nothing_is_invalid() -> None:
    assert field_of(event("biodata.corrected", {"nik": NIK, "reason": "salah ketik"})) == "data"


def test_a_correction_to_null_is_not_the_same_as_none() -> None:
    sent = event("biodata.corrected", {"nik": NIK, "reason": "salah", "sex": None})
    assert field_of(sent) == "data.sex"


def test_unknown_extensions_are_kept_and_members_may_come_in_any_order() -> None:
    sent = registered() | {"traceparent": "00-a-b-01", "deviceno": 7}
    arrived, again = (
        arrive(dict(items), True, str.encode) for items in (sent.items(), reversed(sent.items()))
    )
    assert isinstance(arrived, Arrival)
    assert isinstance(again, Arrival)
    assert b"traceparent" in arrived.content
    assert arrived.content == again.content


def test_neither_nik_nor_name_is_in_what_the_log_keeps() -> None:
    checked = check(registered(name="Warga Rahasia"))
    assert isinstance(checked, WellFormed)
    assert NIK not in checked.data
    assert "Rahasia" not in checked.data


def test_who_may_not_send_for_a_source_is_told_so_before_anything_else() -> None:
    problem = check(registered(nik="wrong"), allowed=False)
    assert isinstance(problem, Problem)
    assert problem.type is ProblemType.FORBIDDEN


def test_an_event_beyond_64_kib_is_too_large() -> None:
    problem = check(registered() | {"note": "x" * 70_000})
    assert isinstance(problem, Problem)
    assert problem.type is ProblemType.TOO_LARGE


def test_nesting_without_end_is_refused_and_not_a_fault() -> None:
    deep: Any = 0
    for _ in range(900):
        deep = [deep]
    arrived = arrive(registered() | {"deep": deep}, True, str.encode)
    assert isinstance(arrived, Arrival | Problem)


@pytest.mark.parametrize(
    ("written", "moment"),
    [
        ("2024-06-01T09:00:00+07:00", datetime(2024, 6, 1, 2, tzinfo=UTC)),
        ("2024-06-01t02:00:00z", datetime(2024, 6, 1, 2, tzinfo=UTC)),
        ("2024-06-01T02:00:00.1234567Z", datetime(2024, 6, 1, 2, 0, 0, 123456, tzinfo=UTC)),
        ("2016-12-31T23:59:60Z", datetime(2017, 1, 1, tzinfo=UTC)),
        ("9999-12-31T23:59:60-12:00", datetime(9999, 12, 31, 16, tzinfo=UTC)),
        ("9999-12-31T23:59:59Z", datetime(9999, 12, 31, 16, tzinfo=UTC)),
        ("9999-12-31T16:59:59Z", datetime(9999, 12, 31, 16, 59, 59, tzinfo=UTC)),
        ("9999-12-29T23:59:60Z", datetime(9999, 12, 30, tzinfo=UTC)),
        ("0001-01-01T00:00:00Z", datetime(1, 1, 1, tzinfo=UTC)),
        ("0001-01-01T00:00:00+12:00", datetime(1, 1, 1, tzinfo=UTC)),
        ("0001-02-29T00:00:00Z", None),
    ],
)
def test_a_time_is_rfc_3339_with_an_offset(written: str, moment: datetime | None) -> None:
    assert parse_time(written) == moment
