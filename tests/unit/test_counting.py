"""The independent count: each person once, in one village and one class."""

from dataclasses import replace
from datetime import date

import pytest

from cli.counting import COUNTS, Expectation, expect
from cli.sample import Move, Quirk, Resident, residents
from cli.sample_events import events, stations

HERE = "15.01.16.2001"
THERE = "15.01.05.2035"
AWAY = "15.72.01.1001"

SOMEBODY = Resident(
    nik="1501160101801001",
    name="Adirman Danaupagi",
    sex="L",
    born=date(1980, 1, 1),
    birth_date="1980-01-01",
    marital_status="B",
    service="none",
    registered_in=HERE,
    moves=(),
    recorded=False,
    ikd_active=False,
    quirk=Quirk.NONE,
)


def counted_in(expected: Expectation) -> dict[str, dict[str, int]]:
    return {
        village: {name: n for name, n in tally.items() if n}
        for village, tally in expected.tallies.items()
        if any(tally.values())
    }


def test_every_village_has_all_fourteen_counts() -> None:
    expected = expect([])
    assert len(expected.tallies) == 287
    assert all(list(tally) == list(COUNTS) for tally in expected.tallies.values())


def test_a_grown_man_without_a_recording_is_an_unrecorded_voter() -> None:
    assert counted_in(expect([SOMEBODY])) == {
        HERE: {"residents": 1, "eligible": 1, "eligible_male": 1, "eligible_unrecorded": 1}
    }


@pytest.mark.parametrize(
    ("born", "wanted"),
    [
        (date(2007, 11, 27), "eligible"),
        (date(2007, 11, 28), "under_age"),
        (date(2007, 11, 26), "eligible"),
    ],
)
def test_whoever_turns_seventeen_by_polling_day_may_vote(born: date, wanted: str) -> None:
    assert expect([replace(SOMEBODY, born=born)]).tallies[HERE][wanted] == 1


@pytest.mark.parametrize(("born", "is_first"), [(date(2007, 2, 14), 0), (date(2007, 2, 15), 1)])
def test_a_first_time_voter_turned_seventeen_after_the_general_election(
    born: date, is_first: int
) -> None:
    assert expect([replace(SOMEBODY, born=born)]).tallies[HERE]["first_time"] == is_first


@pytest.mark.parametrize("status", ["S", "P"])
def test_marriage_makes_a_voter_of_a_minor(status: str) -> None:
    married = replace(SOMEBODY, born=date(2008, 5, 1), marital_status=status)
    assert expect([married]).tallies[HERE]["eligible"] == 1


def test_a_minor_in_no_service_is_under_age_and_a_soldier_is_no_voter() -> None:
    minor = replace(SOMEBODY, born=date(2010, 1, 1))
    soldier = replace(SOMEBODY, service="tni", recorded=True, ikd_active=True)
    assert counted_in(expect([minor, soldier])) == {
        HERE: {"residents": 2, "under_age": 1, "tni": 1, "ikd_active": 1}
    }


@pytest.mark.parametrize(
    ("moves", "village"),
    [
        ((Move(THERE, date(2024, 8, 1)),), THERE),
        ((Move(THERE, date(2024, 11, 27)),), THERE),
        ((Move(THERE, date(2024, 11, 28)),), HERE),
        ((Move(AWAY, date(2024, 8, 1)), Move(HERE, date(2024, 9, 1))), HERE),
        ((Move(HERE, date(2024, 9, 1)), Move(AWAY, date(2024, 8, 1))), HERE),
    ],
)
def test_residence_is_the_last_move_in_effect_on_polling_day(
    moves: tuple[Move, ...], village: str
) -> None:
    assert list(counted_in(expect([replace(SOMEBODY, moves=moves)]))) == [village]


def test_whoever_has_left_the_regency_is_counted_nowhere() -> None:
    assert not counted_in(expect([replace(SOMEBODY, moves=(Move(AWAY, date(2024, 8, 1)),))]))


def test_the_total_is_the_sum_of_the_villages() -> None:
    expected = expect(residents(3_000, 1))
    for name in COUNTS:
        assert expected.total[name] == sum(tally[name] for tally in expected.tallies.values())


def test_the_real_size_gives_the_real_number_of_voters() -> None:
    total = expect(residents(40_000, 3)).total
    scale = 268_951 / 40_000
    assert total["eligible"] * scale == pytest.approx(198_625, rel=0.01)
    assert total["eligible_male"] * scale == pytest.approx(98_378, rel=0.015)
    assert total["eligible_female"] * scale == pytest.approx(100_247, rel=0.015)


def test_the_events_expected_are_the_events_sent() -> None:
    expected = expect(residents(3_000, 1))
    stream = [e["id"] for station in stations(5, 3_000) for e in events(station, 3_000, 1)]
    assert len(stream) == expected.sent
    assert len(set(stream)) == expected.sent - expected.duplicates
    assert expected.sent == expected.accepted + expected.duplicates + expected.rejected
