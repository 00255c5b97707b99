"""When a failed delivery is tried again, and when to give up."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final

FIRST_DELAY: Final = timedelta(seconds=5)
LONGEST_DELAY: Final = timedelta(hours=1)
LONGEST_RETRY_AFTER: Final = timedelta(hours=24)
TRIED_FOR: Final = timedelta(days=3)

# Beyond this the doubling has long reached the longest delay.
_MOST_DOUBLINGS: Final = 20


@dataclass(frozen=True, slots=True)
class Failure:
    """A change's `attempts` have all failed, the first of them at `since`, the last at `now`;
    `retry_after` is what the receiver asked for."""

    attempts: int
    since: datetime
    now: datetime
    retry_after: timedelta | None = None


def next_attempt(failure: Failure, chance: float) -> datetime | None:
    """When to try again; None to give up, three days after the first failure.

    The delay doubles from 5 seconds up to an hour, and between a half and the whole of it is
    taken by `chance` (0 to 1), so that what failed together is not repeated together. A longer
    `Retry-After` is kept to, up to a day. The last attempt is when the three days are over.
    """
    end = failure.since + TRIED_FOR
    if failure.now >= end:
        return None
    delay = delay_after(failure.attempts) * (0.5 + chance / 2)
    asked = min(failure.retry_after or timedelta(0), LONGEST_RETRY_AFTER)
    return min(failure.now + max(delay, asked), end)


def delay_after(attempts: int) -> timedelta:
    """The whole delay after so many failed attempts (from 1)."""
    doubled: timedelta = FIRST_DELAY * 2 ** min(attempts - 1, _MOST_DOUBLINGS)
    return min(doubled, LONGEST_DELAY)


def most_attempts() -> int:
    """How often a change is tried at most before the subscription is given up: the shortest
    delays, and one attempt more that the recovery of another village may bring."""
    return sum(1 for _ in _shortest_times()) + 2


def _shortest_times() -> Iterator[timedelta]:
    at, attempts = timedelta(0), 1
    while at < TRIED_FOR:
        yield at
        at += delay_after(attempts) / 2
        attempts += 1


def read_retry_after(written: str | None, now: datetime) -> timedelta | None:
    """A `Retry-After` in seconds or as an HTTP date; None where there is none to be read."""
    if written is None:
        return None
    text = written.strip()
    if text.isascii() and text.isdigit():
        return timedelta(seconds=min(int(text[:12]), LONGEST_RETRY_AFTER.total_seconds()))
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(timedelta(0), moment - now)
