"""Dates as the civil registry reads them: anniversaries, incomplete dates, the office's today."""

import re
from calendar import monthrange
from datetime import date, datetime
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

# As many days of birth as live people have; folding a regency asks for each many times.
REMEMBERED_DAYS: Final = 65_536

OFFICE_ZONE: Final = ZoneInfo("Asia/Jakarta")

_WRITTEN: Final = re.compile(r"([0-9]{4})(?:-([0-9]{2})(?:-([0-9]{2}))?)?")


def office_date(moment: datetime) -> date:
    """The calendar day of an instant in the registry's zone, Asia/Jakarta (contract section 2)."""
    return moment.astimezone(OFFICE_ZONE).date()


@lru_cache(REMEMBERED_DAYS)
def anniversary(born: date, years: int) -> date:
    """The day on which a person born on `born` completes `years` years.

    Calendar dates are compared, never counts of days. For 29 February the anniversary in a
    common year is 1 March (contract section 3).
    """
    year = born.year + years
    if born.month == 2 and born.day == 29 and monthrange(year, 2)[1] == 28:
        return date(year, 3, 1)
    return date(year, born.month, born.day)


@lru_cache(REMEMBERED_DAYS)
def latest_day(written: str) -> date:
    """The last day that a written date can mean: `YYYY-MM-DD`, `YYYY-MM` or `YYYY`.

    Old records know only the year or the month of a birth; they count as the last day that
    fits (contract section 1). Raises ValueError for anything else and for days that do not exist.
    """
    match = _WRITTEN.fullmatch(written)
    if match is None:
        raise ValueError("not a date")
    year, month = int(match[1]), int(match[2] or 12)
    if match[3]:
        return date(year, month, int(match[3]))
    return date(year, month, 1).replace(day=monthrange(year, month)[1])


def is_incomplete(written: str) -> bool:
    """Whether a written date lacks its day or its month."""
    return len(written) < 10
