"""Which changes a client wants."""

import pytest

from services.notifier.domain.wanted import EVERYTHING, Wanted

PONDOK_TINGGI = "15.01.16"
THERE, BESIDE, ELSEWHERE = "15.01.16.2003", "15.01.16.2004", "15.01.01.1004"


def test_without_a_filter_every_change_is_wanted() -> None:
    assert EVERYTHING.all
    assert EVERYTHING.concerns([ELSEWHERE])
    assert EVERYTHING.concerns([])


@pytest.mark.parametrize(
    ("wanted", "concerned"),
    [
        (Wanted(villages=frozenset({THERE})), {THERE}),
        (Wanted(villages=frozenset({THERE, ELSEWHERE})), {THERE, ELSEWHERE}),
        (Wanted(districts=frozenset({PONDOK_TINGGI})), {THERE, BESIDE}),
        (
            Wanted(frozenset({ELSEWHERE}), frozenset({PONDOK_TINGGI})),
            {THERE, BESIDE, ELSEWHERE},
        ),
    ],
)
def test_a_change_is_wanted_where_its_village_or_district_is(
    wanted: Wanted, concerned: set[str]
) -> None:
    assert not wanted.all
    assert {village for village in (THERE, BESIDE, ELSEWHERE) if wanted.concerns([village])} == (
        concerned
    )


def test_a_person_who_moves_concerns_both_villages() -> None:
    for village in (THERE, ELSEWHERE):
        assert Wanted(villages=frozenset({village})).concerns([THERE, ELSEWHERE])
    assert not Wanted(villages=frozenset({BESIDE})).concerns([THERE, ELSEWHERE])


def test_a_code_is_matched_whole() -> None:
    assert not Wanted(districts=frozenset({"15.01.1"})).concerns([THERE])
    assert not Wanted(villages=frozenset({PONDOK_TINGGI})).concerns([THERE])
