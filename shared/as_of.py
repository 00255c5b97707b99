"""What a reader writes in `as_of`: a log position, or a time."""

import re
from datetime import UTC, datetime, timedelta
from typing import Final

# A clock may be so much behind that of whoever asks for "now".
CLOCK_TOLERANCE: Final = timedelta(seconds=5)

# A position, or a time that a position or a sequence is looked for by.
Moment = int | datetime

FORMS: Final = "a log position such as 120345, or a time such as 2024-06-24T12:00:00+07:00"

_POSITION: Final = re.compile(r"[0-9]+", re.ASCII)
_MOST_DIGITS: Final = 18
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
# In a URL an unencoded `+` arrives as a space: what stands before the offset's digits is then
# clear all the same.
_TIME: Final = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ]([0-9]{2}:[0-9]{2}):([0-9]{2})(\.[0-9]+)?"
    r"(?:([Zz])|([+ -])([0-9]{2}):([0-5][0-9]))?",
    re.ASCII,
)


class UnreadableMomentError(ValueError):
    """What was written is no position and no time; the message goes on from the field's name."""


def read_moment(written: str) -> Moment:
    """A position, or an RFC 3339 time, exact to the microsecond (further digits are cut off).

    Raises UnreadableMomentError for anything else, a time without an offset and a date alone
    included: each could mean several instants.
    """
    if _POSITION.fullmatch(written):
        if len(written) > _MOST_DIGITS:
            raise UnreadableMomentError("lies beyond the end of any log; write a position in it.")
        return int(written)
    if _DATE.fullmatch(written):
        raise UnreadableMomentError(
            "is a date alone; say at what time, with the offset: YYYY-MM-DDT00:00:00+07:00 is the"
            " beginning of the day in Jambi."
        )
    match = _TIME.fullmatch(written)
    if match is None:
        raise UnreadableMomentError(f"must be {FORMS}.")
    if match[5] is None and match[6] is None:
        raise UnreadableMomentError(
            "lacks its offset: write +07:00 after the time (%2B07:00 in a URL), or Z for UTC."
        )
    try:
        return _instant(match)
    except (ValueError, OverflowError):
        raise UnreadableMomentError(
            "is a time that does not exist; check its month, day, hour and offset."
        ) from None


def _instant(match: re.Match[str]) -> datetime:
    """The instant in UTC; a leap second counts as the second after it, as in an event's `time`."""
    day, minute, second, fraction, zulu, sign, hours, minutes = match.groups()
    is_leap = second == "60"
    # Python reads three or six digits of a fraction.
    micros = (fraction or ".")[:7].ljust(7, "0")
    offset = "+00:00" if zulu else f"{'-' if sign == '-' else '+'}{hours}:{minutes}"
    written = f"{day}T{minute}:{'59' if is_leap else second}{micros}{offset}"
    return datetime.fromisoformat(written).astimezone(UTC) + timedelta(seconds=is_leap)
