"""How a list differs from what was told: by village, and count by count."""

import pytest

from services.notifier.domain.comparing import (
    CountDifference,
    Pair,
    VillageDifferences,
    by_village,
    count_differences,
)
from shared.counts import Counts

HERE, THERE, ELSEWHERE = "15.01.01.2001", "15.01.05.2004", "15.01.16.2001"


def test_persons_who_differ_are_counted_where_they_are_listed_and_where_they_vote() -> None:
    pairs = [
        *(Pair(None, HERE, 2), Pair(None, HERE, 3)),
        *(Pair(HERE, None, 1), Pair(HERE, None, 4)),
        *(Pair(HERE, THERE, 6), Pair(HERE, THERE, 1)),
    ]
    assert by_village({HERE: 20}, pairs) == {
        HERE: VillageDifferences(20, 20 + 5 - 5 - 7, 5, 5, votes_elsewhere=7),
        THERE: VillageDifferences(told=7, listed_elsewhere=7),
    }


def test_a_pair_of_one_village_is_a_fault_of_ours() -> None:
    with pytest.raises(AssertionError, match=r"^a pair of one village does not differ$"):
        by_village({HERE: 1}, [Pair(HERE, HERE, 1)])


def test_counts_differ_by_village_and_in_the_order_asked() -> None:
    listed = {
        THERE: {"eligible": 3, "residents": 9},
        HERE: {"eligible": 5, "residents": 7},
    }
    told = {HERE: Counts(eligible=5, residents=8), ELSEWHERE: Counts(residents=2)}
    assert count_differences(listed, told, iter(["residents", "eligible"])) == [
        CountDifference(HERE, "residents", 7, 8),
        CountDifference(THERE, "residents", 9, 0),
        CountDifference(THERE, "eligible", 3, 0),
        CountDifference(ELSEWHERE, "residents", None, 2),
    ]


def test_a_village_of_zeros_does_not_differ_from_one_that_is_not_listed() -> None:
    assert count_differences({HERE: {"eligible": 0}}, {THERE: Counts()}, ["eligible"]) == []
