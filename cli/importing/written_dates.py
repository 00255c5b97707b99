"""Dates of birth as old lists write them, with unknown parts; nothing unknown is made up."""

import re
from datetime import date
from typing import Final

from pydantic import TypeAdapter, ValidationError

from services.registry.domain.forms import BirthDate
from shared.calendar import latest_day
from shared.lists.faults import Fault, Kind

_DAY_FIRST: Final = re.compile(
    r"([0-9]{1,2}|\*{1,2})([|/.-])([0-9]{1,2}|\*{1,2})\2([0-9]{4}|\*{4})"
)
_YEAR_FIRST: Final = re.compile(
    r"([0-9]{4}|\*{4})(?:([|/.-])([0-9]{1,2}|\*{1,2})(?:\2([0-9]{1,2}|\*{1,2}))?)?"
)
_MIDNIGHT: Final = re.compile(r"[ T]00:00(:00)?")
_NOTHING: Final = ("", "-")

_form = TypeAdapter[str](BirthDate)


def birth_date_of(written: str, today: date) -> str | Fault:
    """`YYYY-MM-DD`, or `YYYY-MM` or `YYYY` where no more is known.

    `00`, `0000` and stars are unknown parts. Some programs put 1 January or 1972 in their place,
    which invents birth dates (domain facts, section 3): without a year there is no date.
    """
    written = _MIDNIGHT.sub("", written.strip())
    if written in _NOTHING:
        return Fault(Kind.BIRTH_DATE_UNKNOWN)
    if (parts := _parts(written)) is None:
        return Fault(Kind.BIRTH_DATE_FORM)
    year, month, day = parts
    if not year:
        return Fault(Kind.BIRTH_DATE_UNKNOWN)
    if month and int(month) > 12:
        first_is_month = 0 < int(day or 0) <= 12
        return Fault(Kind.BIRTH_DATE_MONTH_FIRST if first_is_month else Kind.BIRTH_DATE_NONE)
    return _checked("-".join((year, month, day) if month and day else (year, month)), today)


def _parts(written: str) -> tuple[str, str, str] | None:
    """Year, month and day, each empty where unknown."""
    if match := _DAY_FIRST.fullmatch(written):
        day, _, month, year = match.groups()
    elif match := _YEAR_FIRST.fullmatch(written):
        year, _, month, day = match.groups()
    else:
        return None
    return _known(year), _known(month), _known(day)


def _known(part: str | None) -> str:
    return part.zfill(2) if part and part.strip("0*") else ""


def _checked(written: str, today: date) -> str | Fault:
    """What the registry would say of the date, in its own words of form."""
    written = written.rstrip("-")
    try:
        _form.validate_python(written)
    except ValidationError:
        return Fault(Kind.BIRTH_DATE_NONE)
    return Fault(Kind.BIRTH_DATE_FUTURE) if latest_day(written) > today else written
