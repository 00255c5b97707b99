"""The NIK: 16 digits of region, date of birth and serial, as a person carries them for life.

A NIK names the place of *first* registration and never changes, neither by a move nor when the
date of birth is corrected; so its parts are a hint and the biodata decide (contract section 1;
domain facts on Dukcapil's NIK structure, UU 24/2013).
"""

import re
from collections.abc import Iterator
from typing import Final

from shared.events.facts import Sex

_SIXTEEN_DIGITS: Final = re.compile(r"[0-9]{16}")
# Sixteen digits or more, however they are grouped: as on a card, on a letter, in a path.
_LONG_NUMBER: Final = re.compile(r"[0-9](?:[ ./_-]{0,3}[0-9]){15,}")
_NO_DIGIT: Final = re.compile(r"[^0-9]")
_NOT_DIGITS: Final = bytes(set(range(256)) - set(b"0123456789"))

NIK_DIGITS: Final = 16
_STANDS_ALONE: Final = re.compile(r"(?<![0-9A-Za-z])[0-9]{16}(?![0-9A-Za-z])")

# The day of birth of a woman is written with 40 added.
WOMAN: Final = 40

# Days and months as they are written: those of a common year, and 29 February.
_DAYS: Final = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_YEARLY: Final = frozenset(
    f"{day + added:02}{month:02}"
    for added in (0, WOMAN)
    for month, days in enumerate(_DAYS, start=1)
    for day in range(1, days + 1)
)
_LEAP_DAYS: Final = frozenset({"2902", f"{29 + WOMAN}02"})


def fault_of(nik: str) -> str | None:
    """What is wrong with a NIK, as the end of a sentence; None when it is well formed.

    The six digits of the region are not checked: districts have split since. The date must
    exist in some century, so 29 February needs a leap year 19YY or 20YY.
    """
    if not _SIXTEEN_DIGITS.fullmatch(nik):
        return "must be 16 digits"
    if nik[12:] == "0000":
        return "has the serial 0000, which is never given"
    if not _date_exists(nik):
        return "holds a date of birth that does not exist"
    return None


def _date_exists(nik: str) -> bool:
    """29 February is in every fourth year of 19YY or 20YY, for 1900 was none but 2000 was."""
    day = nik[6:10]
    return day in _YEARLY or (day in _LEAP_DAYS and int(nik[10:12]) % 4 == 0)


def _day(nik: str) -> int:
    written = int(nik[6:8])
    return written - WOMAN if written > WOMAN else written


def sex_of(nik: str) -> Sex:
    """The sex that the day of birth is written for."""
    return Sex.FEMALE if int(nik[6:8]) > WOMAN else Sex.MALE


def agrees(nik: str, birth_date: str, sex: Sex) -> bool:
    """Whether a NIK's date and sex are those of the biodata.

    `birth_date` is as written, `YYYY-MM-DD`, `YYYY-MM` or `YYYY`; only its known parts count.
    """
    year, month, day = birth_date[:4], birth_date[5:7], birth_date[8:]
    return (
        sex_of(nik) is sex
        and nik[10:12] == year[2:]
        and month in ("", nik[8:10])
        and day in ("", f"{_day(nik):02}")
    )


def is_told_in(text: str) -> bool:
    """Whether a text holds what reads as a NIK, standing alone."""
    return any(fault_of(found) is None for found in _STANDS_ALONE.findall(text))


def may_be_read_in(text: str) -> bool:
    """Whether a text has digits enough; asked of every event, so in a moment."""
    return len(text.encode("utf-8", "replace").translate(None, _NOT_DIGITS)) >= NIK_DIGITS


def readable_in(text: str) -> Iterator[str]:
    """Every NIK that could be read out of a text's long numbers, at whatever digit one begins.

    A clock or a counter may look like one: whether it is somebody's, the text alone cannot say.
    """
    for number in _LONG_NUMBER.findall(text):
        digits = _NO_DIGIT.sub("", number)
        for begin in range(len(digits) - NIK_DIGITS + 1):
            if fault_of(found := digits[begin : begin + NIK_DIGITS]) is None:
                yield found


def struck_out(text: str) -> str:
    """The text with every number that could hold a NIK replaced by stars."""
    return _LONG_NUMBER.sub(lambda found: "*" * len(found[0]), text)
