"""What can be wrong with a row, each as a sentence, and how a value is shown without telling it."""

import re
from dataclasses import dataclass
from enum import Enum
from typing import Final

_MASKED_TO: Final = 16
_CODE: Final = re.compile(r"[0-9]{2}\.?[0-9]{2}\.?[0-9]{2}\.?[0-9]{4}")
_YEAR_LAST: Final = re.compile(r"[0-9*]{1,2}[-|/.][0-9*]{1,2}[-|/.][0-9*]{4}")
_NOTATION: Final = re.compile(r"[0-9](?:[.,][0-9]+)?[eE]\+?[0-9]+")


class Kind(Enum):
    """Why a row is not sent: the value ends a sentence that begins with the column.

    `{}` stands for what the fault has to add.
    """

    ROW_RAGGED = "has {}; put a text that holds the delimiter in quotation marks, or take it out"
    ROW_QUOTES = "has a quotation mark that is not closed; close it or take it out"
    ROW_NUL = "holds a NUL byte, which no text has; export the file again"
    ROW_UNREADABLE = "holds a byte that is no letter in any encoding known; type the text again"
    ROW_TOO_LONG = "is longer than {} characters; it is no row of a table"
    MISSING = "is missing"
    NIK_NOTATION = (
        "is in a spreadsheet's notation and has lost digits; format the column as text,"
        " fill in the NIK again from its source, and save"
    )
    NIK_NUMBER = (
        "is a number, of which a spreadsheet keeps 15 digits only; format the column as text"
        " and fill in the NIK again from its source"
    )
    NIK_FORM = "{}"
    NIK_TWICE = "is that of row {} already; keep the right one of the two"
    NAME_QUOTES = "has one quotation mark and no second; close it or take it out"
    NAME_FORM = "must be text of 1 to 200 characters without control characters"
    SEX_UNKNOWN = "must be L or P; give other words in a mapping file"
    BIRTH_DATE_UNKNOWN = "is unknown; it is never invented, so find at least the year"
    BIRTH_DATE_FORM = "must be a date written DD|MM|YYYY, DD-MM-YYYY or YYYY-MM-DD"
    BIRTH_DATE_MONTH_FIRST = "has no such month; dates are read with the day first"
    BIRTH_DATE_NONE = "is not a date that exists"
    BIRTH_DATE_FUTURE = "lies after today in Asia/Jakarta"
    MARITAL_STATUS_UNKNOWN = "must be B, S or P; give other words in a mapping file"
    VILLAGE_FORM = "must be a village code, PP.KK.CC.DDDD or its ten digits, not a name"
    VILLAGE_UNKNOWN = "is not in the national list of villages"
    VILLAGE_OLD = "is a code from before 2020, now {}; correct it, or import with --recode"
    VILLAGE_ELSEWHERE = "does not lie in the kecamatan of the same row"
    SERVICE_UNKNOWN = "must be none, tni or polri; give other words in a mapping file"
    RECORDED_UNKNOWN = "must be S (has the e-KTP) or B (has not)"

    @property
    def label(self) -> str:
        """A short name to count by."""
        return self.name.lower().replace("_", "-")


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong; `note` is what its sentence has to add, never a personal value."""

    kind: Kind
    note: str = ""


@dataclass(frozen=True, slots=True)
class Flaw:
    """A fault with its place: the column as the file calls it, and the value masked."""

    fault: Fault
    column: str
    masked: str

    @property
    def complaint(self) -> str:
        return self.fault.kind.value.replace("{}", self.fault.note)

    @property
    def sentence(self) -> str:
        return f"{self.column} {self.complaint}"


def masked(text: str) -> str:
    """A value as it may be shown: enough to find it again, too little to know somebody by.

    A row may be shifted, so that a NIK or a name stands in any column: what is not plainly a
    village code or a date keeps four characters of its own at most, a NIK those of its region.
    """
    text = text.strip()
    if len(text) <= 2 or _CODE.fullmatch(text):
        return text
    if _YEAR_LAST.fullmatch(text):
        return text[:-2] + "**"
    if _NOTATION.fullmatch(text):
        mantissa, _, power = text.upper().partition("E")
        return f"{mantissa[:4]}{'*' * len(mantissa[4:])}E{power}"
    shown = text[: 4 if text[:4].isdigit() else 1]
    return (shown + "*" * (len(text) - len(shown)))[:_MASKED_TO]
