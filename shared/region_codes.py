"""What a Kemendagri region code says by itself: `PP.KK.CC.DDDD`, and `ID` for the country."""

from typing import Final

COUNTRY: Final = "ID"


def district_of(village: str) -> str:
    """The code of the kecamatan that a village code lies in."""
    return village[:8]


def lies_in(code: str, area: str) -> bool:
    """Whether a region is `area` or lies within it; `ID` is the whole country."""
    return area == COUNTRY or code == area or code.startswith(area + ".")
