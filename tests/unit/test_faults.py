"""The schedule of faults is the seed's, and hits nothing that is still down."""

import pytest

from tests.e2e.chaos import faults_in
from tests.support.faults import KINDS, schedule

SEEDS = range(1, 21)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_same_seed_repeats_the_same_faults_and_another_does_not(seed: int) -> None:
    assert schedule(seed, 600, 222) == schedule(seed, 600, 222)
    assert schedule(seed, 600, 222) != schedule(seed + 1, 600, 222)


@pytest.mark.parametrize("seed", SEEDS)
def test_ten_minutes_have_over_200_faults_of_every_kind(seed: int) -> None:
    faults = schedule(seed, 600, faults_in(10))
    assert len(faults) >= 200
    assert {fault.kind for fault in faults} == KINDS.keys()
    assert [fault.at_s for fault in faults] == sorted(fault.at_s for fault in faults)
    assert all(0 <= fault.at_s <= 600 for fault in faults)
    pauses = [fault.lasts_s for fault in faults if fault.kind == "pause"]
    assert all(1 <= lasts <= 20 for lasts in pauses)


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_is_hit_that_has_not_recovered(seed: int) -> None:
    free_s: dict[str, float] = {}
    for fault in schedule(seed, 600, 222):
        assert fault.how == "at once" or free_s.get(fault.target, 0) <= fault.at_s, fault
        free_s[fault.target] = fault.over_s
