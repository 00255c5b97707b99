"""The NIKs of a file and the rows they stand in, 12 bytes a place: ten million fit in 200 MB."""

from array import array
from typing import Final

_FIRST_PLACES: Final = 1 << 16
_SCATTER: Final = 0x9E3779B97F4A7C15
_HASH_BITS: Final = 64
_FULLEST: Final = 0.6


class NiksSeen:
    """A hash table in two flat arrays, open addressing; a dictionary would take ten times as
    much. A NIK is never 0, which marks an empty place."""

    def __init__(self) -> None:
        self._count = 0
        self._resize(_FIRST_PLACES)

    def first_row(self, nik: int, row: int) -> int | None:
        """The row in which the NIK stood before; none, if it is new, and it is then remembered."""
        place = self._place(nik)
        if self._niks[place]:
            return self._rows[place]
        self._niks[place] = nik
        self._rows[place] = row
        self._count += 1
        if self._count > self._most:
            self._grow()
        return None

    def _place(self, nik: int) -> int:
        """Where the NIK stands, or the empty place where it belongs."""
        niks, mask = self._niks, self._mask
        place = (nik * _SCATTER >> self._shift) & mask
        while (found := niks[place]) and found != nik:
            place = (place + 1) & mask
        return place

    def _resize(self, places: int) -> None:
        self._niks = array("Q", [0]) * places
        self._rows = array("I", [0]) * places
        self._mask = places - 1
        self._shift = _HASH_BITS - self._mask.bit_length()
        self._most = int(places * _FULLEST)

    def _grow(self) -> None:
        niks, rows = self._niks, self._rows
        self._resize(2 * len(niks))
        for nik, row in zip(niks, rows, strict=True):
            if nik:
                place = self._place(nik)
                self._niks[place] = nik
                self._rows[place] = row
