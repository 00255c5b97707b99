"""The generated residents: like the real totals, valid, distinct, and the same every time."""

from collections import Counter
from datetime import date
from functools import cache

import orjson
import pytest

from cli.sample import (
    NEVER_REACHED,
    REAL_SIZE,
    Quirk,
    Resident,
    district_size,
    districts,
    residents,
    residents_of,
    village_sizes,
)
from cli.sample_events import Event, events, stations
from shared.regions import district_of, exists, villages_in

SIZE = 20_000
SEED = 7


@cache
def sample() -> list[Resident]:
    return list(residents(SIZE, SEED))


@cache
def sent() -> dict[str, list[Event]]:
    return {station.code: list(events(station, SIZE, SEED)) for station in stations(6, SIZE)}


def share(wanted: int) -> float:
    return wanted / SIZE


def test_every_nik_is_sixteen_digits_and_nobody_else_has_it() -> None:
    niks = [resident.nik for resident in sample()]
    assert all(len(nik) == 16 and nik.isascii() and nik.isdigit() for nik in niks)
    assert all(nik[12:] != "0000" for nik in niks)
    assert len(set(niks)) == SIZE


def test_a_nik_agrees_with_sex_and_date_of_birth() -> None:
    for resident in sample():
        day, month, year = (int(resident.nik[at : at + 2]) for at in (6, 8, 10))
        assert (day > 40) == (resident.sex == "P")
        assert year == resident.born.year % 100
        if resident.birth_date == resident.born.isoformat():
            assert (day % 40, month) == (resident.born.day, resident.born.month)


def test_serials_lie_where_no_office_ever_came_to() -> None:
    assert min(int(resident.nik[12:]) for resident in sample()) > 1_000


def test_the_same_seed_and_size_give_the_same_residents() -> None:
    assert list(residents(3_000, 1)) == list(residents(3_000, 1))
    assert list(residents(3_000, 1)) != list(residents(3_000, 2))


def test_the_same_seed_and_size_give_the_same_events() -> None:
    station = stations(4, 3_000)[0]
    assert list(events(station, 3_000, 1)) == list(events(station, 3_000, 1))


def test_residents_do_not_depend_on_how_many_stations_send_them() -> None:
    def niks(count: int) -> set[str]:
        sending = stations(count, 3_000)
        return {e["data"]["nik"] for station in sending for e in events(station, 3_000, SEED)}

    assert niks(1) == niks(5)


def test_sexes_are_shared_out_as_in_the_real_totals() -> None:
    men = sum(resident.sex == "L" for resident in sample())
    assert share(men) == pytest.approx(135_055 / 268_951, abs=0.012)


def test_about_one_in_a_hundred_comes_of_age_before_polling_day() -> None:
    coming = sum(date(2007, 2, 15) <= r.born <= date(2007, 11, 27) for r in sample())
    assert share(coming) == pytest.approx(0.01, abs=0.0025)


def test_some_are_born_on_the_last_day_that_counts_and_some_on_the_next() -> None:
    births = Counter(resident.born for resident in sample())
    assert births[date(2007, 11, 27)] >= SIZE // 1_000
    assert births[date(2007, 11, 28)] >= SIZE // 1_000


def test_a_few_in_a_thousand_serve() -> None:
    serving = Counter(resident.service for resident in sample())
    assert 0.001 < share(serving["tni"]) < 0.006
    assert 0.001 < share(serving["polri"]) < 0.006


def test_every_village_has_its_share_by_polling_stations() -> None:
    sizes = village_sizes(REAL_SIZE)
    assert sorted(sizes) == [village.code for village in villages_in("15.01")]
    assert sum(sizes.values()) == REAL_SIZE
    assert min(sizes.values()) > 200
    assert sum(village_sizes(500).values()) == 500


def test_a_district_can_be_generated_alone() -> None:
    district = districts()[4]
    alone = list(residents_of(district, SIZE, SEED))
    assert len(alone) == district_size(district, SIZE)
    assert [resident for resident in sample() if resident in set(alone)] == alone


def test_nobody_is_recorded_in_a_village_that_no_team_reaches() -> None:
    assert all(exists(village) for village in NEVER_REACHED)
    in_silence = [r for r in sample() if r.registered_in in NEVER_REACHED]
    assert in_silence
    assert not any(resident.recorded for resident in in_silence)
    destinations = {move.to_village for r in sample() if r.recorded for move in r.moves}
    assert not destinations & NEVER_REACHED


def test_people_move_within_the_regency_out_of_it_back_and_in() -> None:
    moves = [r for r in sample() if r.moves]
    assert any(len(r.moves) == 2 for r in moves)
    assert any(district_of(r.moves[0].to_village) in districts() for r in moves)
    assert any(district_of(r.moves[0].to_village) not in districts() for r in moves)
    assert any(district_of(r.registered_in) not in districts() for r in moves)
    assert all(exists(move.to_village) for r in moves for move in r.moves)


def test_nobody_is_recorded_before_the_age_of_sixteen() -> None:
    assert all(r.born <= date(2008, 7, 1) for r in sample() if r.recorded)


def test_a_station_counts_its_events_without_a_gap() -> None:
    for stream in sent().values():
        numbers = list(dict.fromkeys(event["stationseq"] for event in stream))
        assert numbers == list(range(1, len(numbers) + 1))


def test_a_repeated_event_is_the_same_to_the_last_byte() -> None:
    for stream in sent().values():
        ids = Counter(event["id"] for event in stream)
        different = {orjson.dumps(event) for event in stream}
        assert len(stream) > len(ids) == len(different)


def test_late_papers_and_early_activations_arrive_before_what_they_wait_for() -> None:
    firsts: dict[str, list[str]] = {}
    for event in (event for stream in sent().values() for event in stream):
        firsts.setdefault(event["data"]["nik"], []).append(event["type"].rpartition("id.")[2])
    late = [r for r in sample() if r.quirk is Quirk.LATE_PAPERS]
    early = [r for r in sample() if r.quirk is Quirk.ACTIVATED_FIRST]
    assert late
    assert early
    assert all(firsts[r.nik][0] == "dukcapil.ktp.recorded" for r in late)
    assert all(firsts[r.nik].index("dukcapil.ikd.activated") == 1 for r in early)
