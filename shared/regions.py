"""The country's regions by their Kemendagri codes, and who lies within whom.

Codes are `PP.KK.CC.DDDD`: province, regency, district (kecamatan), village (desa/kelurahan).
They are matched on the code, never on the name: nine names occur more than once in Kerinci.
Source: Kepmendagri 300.2.2-2138 of 2025, as gathered by cahyadsn/wilayah (MIT).
"""

import csv
import gzip
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from shared.region_codes import COUNTRY as COUNTRY
from shared.region_codes import district_of as district_of
from shared.region_codes import lies_in as lies_in

DATA: Final = Path(__file__).parent / "data"


@dataclass(frozen=True, slots=True)
class Region:
    """One region: its code, its name and the code of the region it belongs to (none for a
    province)."""

    code: str
    name: str
    parent: str | None

    @property
    def is_village(self) -> bool:
        return self.code.count(".") == 3


def _rows() -> Iterator[Region]:
    with gzip.open(DATA / "wilayah_nasional.csv.gz", "rt", encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines):
            yield Region(row["kode"], row["name"], row["parent_kode"] or None)


@cache
def regions() -> dict[str, Region]:
    """Every region of the country by code (about 92,000)."""
    return {region.code: region for region in _rows()}


@cache
def village_codes() -> frozenset[str]:
    """The codes of all villages of the country (83,762)."""
    return frozenset(code for code, region in regions().items() if region.is_village)


def villages_in(area: str) -> list[Region]:
    """The villages of an area (a region code or `ID`), sorted by code."""
    found = (regions()[code] for code in village_codes() if lies_in(code, area))
    return sorted(found, key=lambda region: region.code)


def exists(code: str) -> bool:
    """Whether a code, or `ID`, is in the national list."""
    return code == COUNTRY or code in regions()
