"""When a village's changes are numbered: at once while it is quiet, gathered while it is not."""

from datetime import UTC, datetime

import pytest

from services.notifier.domain.changes import VillageRecord
from services.notifier.domain.gathering import (
    FIRST_WINDOW_S,
    LONGEST_WINDOW_S,
    MOST_HELD,
    Gathering,
    Placed,
)
from shared.counts import NOTHING, VillageKey

SIULAK = VillageKey("pilkada-2024", "15.01.09.2001")
KAYU_ARO = VillageKey("pilkada-2024", "15.01.05.2003")
MORNING = datetime(2024, 8, 20, 1, 0, tzinfo=UTC)


def a_record(revision: int, key: VillageKey = SIULAK, partition: int = 3) -> Placed:
    """The village's record of a revision, at the offset of that number."""
    record = VillageRecord(key, key.village[:8], revision, 1, MORNING, "dps", NOTHING, NOTHING)
    return Placed(partition, revision, record)


def told(gathering: Gathering, now_s: float) -> list[int]:
    return [record.revision for record in gathering.take_due(now_s)]


def after_one_at(told_s: float) -> Gathering:
    gathering = Gathering()
    gathering.add(a_record(1), told_s)
    assert told(gathering, told_s) == [1]
    return gathering


def test_a_quiet_village_is_told_at_once() -> None:
    gathering = after_one_at(100.0)
    assert gathering.next_due_s() is None
    gathering.add(a_record(2), 100.0 + FIRST_WINDOW_S)
    assert told(gathering, 100.0 + FIRST_WINDOW_S) == [2]


def test_what_comes_together_goes_together_and_at_once() -> None:
    gathering = Gathering()
    for revision in (1, 2, 3):
        gathering.add(a_record(revision), 100.0)
    assert told(gathering, 100.0) == [1, 2, 3]


def test_what_follows_closely_waits_until_the_window_is_over_and_no_longer() -> None:
    gathering = after_one_at(100.0)
    gathering.add(a_record(2), 100.01)
    assert told(gathering, 100.04) == []
    # The last to come puts nothing off.
    gathering.add(a_record(3), 100.049)
    assert gathering.next_due_s() == 100.0 + FIRST_WINDOW_S
    assert told(gathering, 100.0 + FIRST_WINDOW_S) == [2, 3]


def test_another_village_does_not_wait_for_it() -> None:
    gathering = after_one_at(100.0)
    gathering.add(a_record(2), 100.01)
    gathering.add(a_record(1, KAYU_ARO), 100.01)
    assert [record.key for record in gathering.take_due(100.01)] == [KAYU_ARO]


def test_the_same_village_of_another_election_does_not_wait_either() -> None:
    gathering = after_one_at(100.0)
    gathering.add(a_record(1, VillageKey("pilgub-2024", SIULAK.village)), 100.01)
    assert told(gathering, 100.01) == [1]


def test_a_village_that_goes_on_changing_is_told_ever_seldomer_down_to_the_longest_window() -> None:
    gathering, now_s, windows = after_one_at(100.0), 100.0, []
    for revision in range(2, 8):
        gathering.add(a_record(revision), now_s + 0.001)
        due_s = gathering.next_due_s()
        assert due_s is not None
        windows.append(round(due_s - now_s, 6))
        now_s = due_s
        assert told(gathering, now_s) == [revision]
    assert windows == [0.05, 0.1, 0.2, 0.4, 0.4, 0.4]
    assert max(windows) == LONGEST_WINDOW_S < 0.5


def test_a_village_that_came_to_rest_is_quiet_again() -> None:
    gathering = after_one_at(100.0)
    gathering.add(a_record(2), 100.01)
    assert told(gathering, 100.05) == [2]
    # Its window has doubled to 0.1 s, and is over.
    gathering.add(a_record(3), 100.15)
    assert told(gathering, 100.15) == [3]
    gathering.add(a_record(4), 100.16)
    assert gathering.next_due_s() == 100.15 + FIRST_WINDOW_S


@pytest.mark.parametrize("others", [0, 1])
def test_what_is_held_is_told_of_by_the_lowest_offset_of_each_partition(others: int) -> None:
    gathering = after_one_at(100.0)
    assert gathering.first_held() == {}
    gathering.add(a_record(8), 100.01)
    gathering.add(a_record(9), 100.01)
    for _ in range(others):
        gathering.add(a_record(1, KAYU_ARO, partition=7), 100.01)
    assert gathering.first_held() == {3: 8} | ({7: 1} if others else {})
    gathering.take_due(100.05)
    assert gathering.first_held() == {}


def test_more_than_the_most_is_not_held() -> None:
    gathering = after_one_at(100.0)
    for revision in range(2, MOST_HELD + 2):
        gathering.add(a_record(revision), 100.001)
    assert told(gathering, 100.001) == []
    gathering.add(a_record(MOST_HELD + 2), 100.001)
    assert len(told(gathering, 100.001)) == MOST_HELD + 1
