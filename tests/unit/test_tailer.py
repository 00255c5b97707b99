"""The tailer's rings: what this process numbers joins them at once, whatever others number."""

from datetime import UTC, datetime
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Gauge

from services.notifier.feed import ServedChange
from services.notifier.streaming import Tailer

ELECTION = "pilkada-2024"
MOMENT = datetime(2024, 8, 20, tzinfo=UTC)


def changes(first: int, last: int) -> list[ServedChange]:
    return [ServedChange(number, MOMENT, b"{}") for number in range(first, last + 1)]


class Followed:
    """A tailer that reads no database, and how often it told that a ring has grown."""

    def __init__(self) -> None:
        self.grown = 0
        reached = Gauge("reached", "", ["election"], registry=CollectorRegistry())
        nothing: Any = None
        self.tailer = Tailer(nothing, "", "", reached, self._grow)
        self.ring = self.tailer.ring(ELECTION, 10)

    def _grow(self) -> None:
        self.grown += 1

    def give(self, first: int, last: int) -> None:
        self.tailer.give({ELECTION: changes(first, last)})

    def held(self, after: int, limit: int = 100) -> list[int] | None:
        found = self.tailer.held(ELECTION, after, limit)
        return None if found is None else [change.sequence for change in found]


@pytest.fixture
def followed() -> Followed:
    return Followed()


def test_what_follows_is_held_at_once(followed: Followed) -> None:
    followed.give(11, 12)
    followed.give(13, 13)
    assert followed.held(10) == [11, 12, 13]
    assert followed.held(10, limit=2) == [11, 12]
    assert followed.grown == 2


def test_what_was_read_meanwhile_is_not_added_again(followed: Followed) -> None:
    followed.give(11, 13)
    followed.give(12, 14)
    followed.give(11, 14)
    assert followed.held(10) == [11, 12, 13, 14]
    assert followed.grown == 2


def test_what_lies_beyond_the_changes_of_others_waits_until_those_are_read(
    followed: Followed,
) -> None:
    followed.give(13, 14)
    assert followed.held(10) == []
    assert followed.grown == 0
    followed.give(11, 14)
    assert followed.held(10) == [11, 12, 13, 14]


def test_an_election_that_is_not_followed_yet_is_left_to_the_database(followed: Followed) -> None:
    followed.tailer.give({"another": changes(1, 1)})
    assert followed.tailer.held("another", 0, 10) is None


def test_what_lies_before_the_ring_is_left_to_the_database(followed: Followed) -> None:
    assert followed.held(9) is None
