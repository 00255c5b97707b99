"""Rows of a history in the binary form of COPY, put together from bytes that are remembered.

A replay writes a row for nearly every event of the log. Nearly all of a row is the same as in many
others: the village, and the counts. Encoding it anew took longer than folding it.
"""

import struct
from collections.abc import Iterable
from functools import cache
from typing import Final

from services.projections.tables import HISTORY_COLUMNS
from shared.counts import Counts

HEADER: Final = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
TRAILER: Final = b"\xff\xff"

_FIELDS: Final = struct.pack(">h", len(HISTORY_COLUMNS))
_POSITION: Final = struct.Struct(">iq").pack
_TIME_LENGTH: Final = struct.pack(">i", 8)


@cache
def _place(election: str, village: str, fold: int) -> bytes:
    written = [each.encode() for each in (election, village)]
    texts = b"".join(struct.pack(">i", len(each)) + each for each in written)
    return _FIELDS + texts + struct.pack(">iq", 8, fold)


@cache
def _counts(counts: Counts) -> bytes:
    return b"".join(struct.pack(">ii", 4, count) for count in counts)


def history_bytes(
    election: str, village: str, fold: int, position: int, time: bytes, counts: Counts
) -> bytes:
    """A row with the columns HISTORY_COLUMNS; `time` is a timestamptz as PostgreSQL sends it."""
    return b"".join(
        (
            _place(election, village, fold),
            _POSITION(8, position),
            _TIME_LENGTH,
            time,
            _counts(counts),
        )
    )


def copied(rows: Iterable[bytes]) -> bytes:
    """What is sent for some rows."""
    return b"".join((HEADER, *rows, TRAILER))
