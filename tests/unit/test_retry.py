"""When a failed delivery is tried again."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.notifier.domain.retry import (
    LONGEST_DELAY,
    TRIED_FOR,
    Failure,
    delay_after,
    most_attempts,
    next_attempt,
    read_retry_after,
)

NOW = datetime(2024, 9, 1, 12, 0, tzinfo=UTC)


def at(attempts: int = 1, chance: float = 1.0, **given_: timedelta) -> timedelta:
    since = NOW - given_.get("failing_for", timedelta(0))
    found = next_attempt(Failure(attempts, since, NOW, given_.get("retry_after")), chance)
    assert found is not None
    return found - NOW


def test_the_delay_doubles_from_5_seconds_to_an_hour() -> None:
    delays = [delay_after(attempts).total_seconds() for attempts in range(1, 13)]
    assert delays == [5, 10, 20, 40, 80, 160, 320, 640, 1280, 2560, 3600, 3600]
    assert delay_after(10**9) == LONGEST_DELAY


def test_chance_takes_between_a_half_and_the_whole() -> None:
    assert at(chance=0.0) == timedelta(seconds=2.5)
    assert at(chance=0.5) == timedelta(seconds=3.75)
    assert at(chance=1.0) == timedelta(seconds=5)


def test_a_longer_retry_after_is_kept_to_and_a_shorter_is_not() -> None:
    assert at(retry_after=timedelta(minutes=7)) == timedelta(minutes=7)
    assert at(retry_after=timedelta(seconds=1)) == timedelta(seconds=5)
    assert at(retry_after=timedelta(days=30)) == timedelta(hours=24)


def test_the_last_attempt_is_when_three_days_are_over() -> None:
    nearly = TRIED_FOR - timedelta(minutes=1)
    assert at(attempts=50, failing_for=nearly) == timedelta(minutes=1)
    assert next_attempt(Failure(50, NOW - TRIED_FOR, NOW), 0.5) is None


@given(st.lists(st.floats(0, 1), min_size=300, max_size=300))
def test_a_change_is_tried_for_three_days_and_no_oftener_than_stated(chances: list[float]) -> None:
    now, attempts = NOW, 1
    while (moment := next_attempt(Failure(attempts, NOW, now), chances[attempts])) is not None:
        assert moment > now
        now, attempts = moment, attempts + 1
    assert now == NOW + TRIED_FOR
    assert 70 < attempts < most_attempts() <= 160


def test_the_most_attempts_are_those_by_the_shortest_delays_and_one_of_a_recovery() -> None:
    now, attempts = NOW, 1
    while (moment := next_attempt(Failure(attempts, NOW, now), 0.0)) is not None:
        now, attempts = moment, attempts + 1
    assert most_attempts() == attempts + 1


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("120", 120),
        (" 0 ", 0),
        ("999999999999999999999", 86_400),
        ("Sun, 01 Sep 2024 12:02:00 GMT", 120),
        ("Sunday, 01-Sep-24 12:02:00 GMT", 120),
        ("Sun, 01 Sep 2024 12:02:00 -0000", 120),
        ("Sun, 01 Sep 2024 11:00:00 GMT", 0),
        (None, None),
        ("", None),
        ("-5", None),
        ("soon", None),
        ("1 Jan 99999999999999999999 00:00:00 GMT", None),
        ("Sun, 01 Sep 2024 12:02:00 +99999999999999999999", None),
        ("1.5", None),
        ("٣", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(written: str | None, seconds: int | None) -> None:
    found = read_retry_after(written, NOW)
    assert found == (None if seconds is None else timedelta(seconds=seconds))
