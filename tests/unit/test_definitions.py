"""What an election's definition may say, and which member is named when it is refused."""

from datetime import date
from typing import Any

import pytest

from services.projections.domain.definitions import (
    Fault,
    counts_alike,
    read_definition,
    written_definition,
)
from shared.elections import PILKADA_2024, Election, Stage

PUT: dict[str, Any] = {
    "polling_day": "2029-06-27",
    "area": "15.01",
    "minimum_age": 17,
    "first_time_since": "2029-02-15",
}


def read(election_id: str = "pilkada-2029", body: Any = None, **members: Any) -> Election | Fault:
    there = {"15", "15.01", "15.01.16", "15.01.16.2001", "ID"}
    return read_definition(election_id, PUT | members if body is None else body, there.__contains__)


def fault_of(read: Election | Fault) -> str:
    assert isinstance(read, Fault), read
    assert read.detail.startswith(read.field + " ")
    assert read.detail.endswith(".")
    return read.field


def test_a_definition_is_read_as_it_is_written() -> None:
    stages = [{"name": "dps", "from": "2029-03-01"}, {"name": "dpt", "from": "2029-04-01"}]
    found = read(stages=stages)
    assert found == Election(
        "pilkada-2029",
        date(2029, 6, 27),
        "15.01",
        17,
        date(2029, 2, 15),
        (Stage("dps", date(2029, 3, 1)), Stage("dpt", date(2029, 4, 1))),
    )
    assert written_definition(found) == PUT | {
        "polling_day": date(2029, 6, 27),
        "first_time_since": date(2029, 2, 15),
        "stages": [
            {"name": "dps", "from": date(2029, 3, 1)},
            {"name": "dpt", "from": date(2029, 4, 1)},
        ],
    }


def test_an_election_may_have_no_stages() -> None:
    assert read() == read(stages=[])


@pytest.mark.parametrize("area", ["ID", "15", "15.01.16", "15.01.16.2001"])
def test_an_area_is_a_region_of_any_level(area: str) -> None:
    assert isinstance(read(area=area), Election)


OUT_OF_BOUNDS: dict[str, list[Any]] = {
    "polling_day": ["1900-01-01", "1954-12-31", "2200-01-01", "2029-02-29", "2029-6-27", 9, None],
    "area": ["99", "15.01.", "id", "", 15, None],
    "minimum_age": [-1, 121, 17.0, "17", True, None],
    "first_time_since": ["1899-12-31", "2029-02-15T00:00:00Z", None],
    "stages": [None, {}, "dps", [{"name": "s", "from": "x"}] * 51],
    "state": ["serving"],
    "id": ["pilkada-2029"],
}


@pytest.mark.parametrize("member", OUT_OF_BOUNDS)
def test_a_member_out_of_bounds_is_named(member: str) -> None:
    for value in OUT_OF_BOUNDS[member]:
        assert fault_of(read(**{member: value})) == member


@pytest.mark.parametrize("member", list(PUT))
def test_a_missing_member_is_named(member: str) -> None:
    assert fault_of(read(body={n: v for n, v in PUT.items() if n != member})) == member


@pytest.mark.parametrize(
    ("stages", "field"),
    [
        ([{"name": "a", "from": "2029-02-02"}, {"name": "b", "from": "2029-02-01"}], "1.from"),
        ([{"name": "a", "from": "2029-02-02"}, {"name": "b", "from": "2029-02-02"}], "1.from"),
        ([{"name": "a", "from": "2029-02-02"}, {"name": "a", "from": "2029-02-03"}], "1.name"),
        ([{"name": "", "from": "2029-02-02"}], "0.name"),
        ([{"name": " ", "from": "2029-02-02"}], "0.name"),
        ([{"name": "a\x00", "from": "2029-02-02"}], "0.name"),
        ([{"name": "a" * 101, "from": "2029-02-02"}], "0.name"),
        ([{"from": "2029-02-02"}], "0.name"),
        ([{"name": "a", "from": "2029-02-30"}], "0.from"),
        ([{"name": "a"}], "0.from"),
        ([{"name": "a", "from": "2029-02-02", "to": "2029-03-01"}], "0.to"),
        (["a"], "0"),
    ],
)
def test_a_stage_at_fault_is_named(stages: list[Any], field: str) -> None:
    assert fault_of(read(stages=stages)) == f"stages.{field}"


@pytest.mark.parametrize("election_id", ["", ".hidden", "a/b", "a b", "a" * 65, "é"])
def test_an_id_of_another_form_is_refused(election_id: str) -> None:
    assert fault_of(read(election_id)) == "id"


@pytest.mark.parametrize("body", [[], "x", 1, None])
def test_a_body_that_is_no_object_is_refused(body: Any) -> None:
    assert fault_of(read_definition("x", body, lambda _: True)) == "body"


def test_stages_count_nobody() -> None:
    one = read()
    assert isinstance(one, Election)
    restaged = read(stages=[{"name": "dps", "from": "2029-03-01"}])
    assert isinstance(restaged, Election)
    assert counts_alike(one, restaged)
    moved = read(polling_day="2030-06-27")
    assert isinstance(moved, Election)
    assert not counts_alike(one, moved)
    assert not counts_alike(one, PILKADA_2024)
