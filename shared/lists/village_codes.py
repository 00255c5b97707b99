"""Village codes as files write them, and the codes that were changed when districts were split.

Codes are matched, names never: nine names occur more than once in Kerinci (domain facts,
section 1).
"""

import csv
import re
from functools import cache
from typing import Final

from shared.lists.faults import Fault, Kind
from shared.regions import DATA, village_codes

RECODES: Final = DATA / "recode_2019_2022.csv"

_SEPARATORS: Final = str.maketrans("", "", ". ")
_WHOLE_NUMBER: Final = re.compile(r"([0-9]+)\.0")
_MISSING: Final = ("", "-")


@cache
def new_codes() -> dict[str, str]:
    """The present code of each village that had another before 2020 (Kemendagri's letter of
    13 January 2020: Tanah Cogok and Danau Kerinci Barat)."""
    with RECODES.open(encoding="utf-8", newline="") as lines:
        return {row["kode_lama"]: row["kode_baru"] for row in csv.DictReader(lines)}


def village_of(written: str, district: str, recode: bool) -> str | Fault:
    """The code `PP.KK.CC.DDDD` that a village column says, with the district column beside it.

    `written` is the whole code with or without dots, or its last four digits where `district`
    has the six before. An old code is refused with the new one named, or with `recode` replaced.
    """
    if written.strip() in _MISSING:
        return Fault(Kind.MISSING)
    digits, of_district = _digits(written), _digits(district)
    if len(digits) == 4 and len(of_district) == 6:
        digits = of_district + digits
    if len(digits) != 10 or not (digits.isascii() and digits.isdigit()):
        return Fault(Kind.VILLAGE_FORM)
    code = dotted(digits)
    found = _known(code, recode)
    if isinstance(found, str) and not _agrees(of_district, digits, _digits(found)):
        return Fault(Kind.VILLAGE_ELSEWHERE)
    return found


def _agrees(district: str, written: str, found: str) -> bool:
    """Whether a district's six digits are those of the village, as written or as recoded; what
    is no such code says nothing."""
    if len(district) != 6 or not district.isdigit():
        return True
    return district in (written[:6], found[:6])


def _known(code: str, recode: bool) -> str | Fault:
    if code in village_codes():
        return code
    new = new_codes().get(code)
    if new is None:
        return Fault(Kind.VILLAGE_UNKNOWN)
    return new if recode else Fault(Kind.VILLAGE_OLD, new)


def _digits(written: str) -> str:
    written = written.strip()
    if match := _WHOLE_NUMBER.fullmatch(written):
        return match[1]
    return written.translate(_SEPARATORS)


def dotted(digits: str) -> str:
    """Ten digits, as KPU writes them, in the registry's form."""
    return f"{digits[:2]}.{digits[2:4]}.{digits[4:6]}.{digits[6:]}"
