"""When an election's definition is refused, the operator reads the member and what to do."""

from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from services.projections.domain.definitions import Fault, counts_alike, read_definition
from shared.elections import PILKADA_2024, Election, Stage

PUT: dict[str, Any] = {
    "polling_day": "2029-06-27",
    "area": "15.01",
    "minimum_age": 17,
    "first_time_since": "2029-02-15",
}
POLLING_DAY = "must be a day from 1955-01-01 to 2199-12-31, written YYYY-MM-DD."
DAY = "must be a day from 1900-01-01 to 2199-12-31, written YYYY-MM-DD."
AREA = (
    "must be the code of a province, regency, kecamatan or village of the national list, such as"
    " 15.01, or ID for the country."
)
AGE = "must be a whole number from 0 to 120."
STAGES = "must be a list of at most 50 stages."
NAME = "must be a text of 1 to 100 characters."


def read(election_id: str = "e", **members: Any) -> Election | Fault:
    return read_definition(election_id, PUT | members, {"15", "15.01", "ID"}.__contains__)


def a_stage(name: Any = "dps", day: Any = "2029-03-01", **more: Any) -> dict[str, Any]:
    return {"name": name, "from": day} | more


@pytest.mark.parametrize(
    ("member", "value", "detail"),
    [
        ("polling_day", "1954-12-31", POLLING_DAY),
        ("polling_day", "2200-01-01", POLLING_DAY),
        ("polling_day", "2029-02-29", POLLING_DAY),
        ("polling_day", "20290627", POLLING_DAY),
        ("polling_day", None, POLLING_DAY),
        ("area", "15.02", AREA),
        ("area", 15, AREA),
        ("minimum_age", -1, AGE),
        ("minimum_age", 121, AGE),
        ("minimum_age", True, AGE),
        ("first_time_since", "1899-12-31", DAY),
        ("first_time_since", "2200-01-01", DAY),
        ("stages", {}, STAGES),
        ("stages", [a_stage()] * 51, STAGES),
        (
            "state",
            "serving",
            "is unknown; known are polling_day, area, minimum_age, first_time_since, stages.",
        ),
    ],
)
def test_a_member_at_fault_is_told_with_its_bounds(member: str, value: Any, detail: str) -> None:
    assert read(**{member: value}) == Fault(member, f"{member} {detail}")


@pytest.mark.parametrize(
    ("stage", "field", "detail"),
    [
        ("dpt", "stages.1", "must be an object with name and from."),
        (a_stage("dpt", "2029-04-01", to=1), "stages.1.to", "is unknown; known are name, from."),
        (a_stage("", "2029-04-01"), "stages.1.name", NAME),
        (a_stage(7, "2029-04-01"), "stages.1.name", NAME),
        (a_stage(" ", "2029-04-01"), "stages.1.name", NAME),
        (a_stage("dpt", "2029-02-30"), "stages.1.from", DAY),
        (a_stage("dpt", "1899-12-31"), "stages.1.from", DAY),
        (a_stage("dpt", None), "stages.1.from", DAY),
        (
            a_stage("dps", "2029-04-01"),
            "stages.1.name",
            "names an earlier stage; each name stands once.",
        ),
        (
            a_stage("dpt", "2029-03-01"),
            "stages.1.from",
            "must be after the day of the stage before it: stages stand in order.",
        ),
    ],
)
def test_a_stage_at_fault_is_told_by_its_number(stage: Any, field: str, detail: str) -> None:
    assert read(stages=[a_stage(), stage]) == Fault(field, f"{field} {detail}")


def test_an_id_at_fault_is_told_its_form() -> None:
    assert read("-") == Fault(
        "id",
        "id must be 1 to 64 letters, digits, dots, dashes or underscores, the first of them a"
        " letter or a digit.",
    )


def test_a_body_that_is_no_object_is_told_so() -> None:
    fault = Fault("body", "body must be a JSON object.")
    assert read_definition("e", [], lambda _: True) == fault


@pytest.mark.parametrize(
    "members",
    [
        {"polling_day": "1955-01-01"},
        {"polling_day": "2199-12-31"},
        {"first_time_since": "1900-01-01"},
        {"minimum_age": 0},
        {"minimum_age": 120},
        {"stages": [a_stage("x" * 100)]},
        {"stages": [a_stage(day="1900-01-01")]},
    ],
)
def test_a_bound_itself_is_within(members: dict[str, Any]) -> None:
    assert isinstance(read(**members), Election)


def test_fifty_stages_are_read_in_their_order() -> None:
    stages = [a_stage(f"s{n}", f"{2029 + n}-01-01") for n in range(50)]
    found = read(stages=stages)
    assert isinstance(found, Election)
    assert found.stages == tuple(Stage(f"s{n}", date(2029 + n, 1, 1)) for n in range(50))


def test_a_stage_may_bear_no_name_of_any_before_it() -> None:
    stages = [a_stage("a"), a_stage("b", "2029-03-02"), a_stage("a", "2029-03-03")]
    fault = read(stages=stages)
    assert isinstance(fault, Fault)
    assert fault.field == "stages.2.name"


def test_an_id_may_have_64_characters() -> None:
    assert isinstance(read("a" * 64), Election)
    assert isinstance(read("a" * 65), Fault)


@pytest.mark.parametrize(
    "other",
    [
        Election("x", date(2024, 11, 27), "15.01", 17, date(2024, 2, 15)),
        Election("pilkada-2024", date(2024, 11, 28), "15.01", 17, date(2024, 2, 15)),
        Election("pilkada-2024", date(2024, 11, 27), "15.02", 17, date(2024, 2, 15)),
        Election("pilkada-2024", date(2024, 11, 27), "15.01", 16, date(2024, 2, 15)),
        Election("pilkada-2024", date(2024, 11, 27), "15.01", 17, date(2024, 2, 16)),
    ],
)
def test_all_but_the_stages_decides_who_is_counted(other: Election) -> None:
    assert not counts_alike(PILKADA_2024, other)


def test_the_stages_of_neither_count_anybody() -> None:
    bare = replace(PILKADA_2024, stages=())
    assert counts_alike(PILKADA_2024, bare)
    assert counts_alike(bare, PILKADA_2024)
