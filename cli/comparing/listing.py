"""KPU's list as it goes to the notifier: only the columns that are compared, and never a NIK.

Every row keeps its number, so that what the notifier says of a row is true of the file: lines of
the file that hold no row are left blank.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from cli.importing.layouts import COLUMNS, Form
from cli.importing.niks_seen import NiksSeen
from services.notifier.lists import (
    MOST_FAULTS,
    NIK,
    RESIDENT,
    THE_ROW,
    TITLES,
    VILLAGE,
    complaint,
    known_titles,
)
from shared.lists.faults import Fault
from shared.lists.opening import open_source
from shared.lists.rows import Row, Source, UnreadableListError
from shared.lists.titles import DoubleTitleError, places_of
from shared.lists.village_codes import village_of

DISTRICT: Final = "district"
_DISTRICT_TITLES: Final = frozenset({"district", "districtcode", "kodekecamatan", "kodekec"})
_NIK: Final = re.compile(r"[0-9]{16}", re.ASCII)
_CLEAN: Final = str.maketrans("", "", '"\r\n\0')

NIKS_AT_ONCE: Final = 10_000
REPORT_EVERY_ROWS: Final = 5_000


class ListedNik(NamedTuple):
    """A row of a list by NIK."""

    row: int
    nik: str
    village: str


# The residents of some rows' NIKs, None where nobody has it.
Resolve = Callable[[Sequence[ListedNik]], Sequence[str | None]]
Report = Callable[[int, float], None]


class FaultyRowsError(Exception):
    """Rows that cannot be compared, each as a sentence without a value."""

    def __init__(self, sentences: list[str]) -> None:
        super().__init__("rows of the list cannot be compared")
        self.sentences = sentences


@dataclass(slots=True)
class Listing:
    """The list as the notifier gets it; `unknown` are the rows whose NIK nobody has.

    `shift` is what a row's number there is more than in the file: 1 where the file has no header.
    """

    rows: int = 0
    shift: int = 0
    unknown: list[ListedNik] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Columns:
    """What the columns are, and whether a header says so."""

    places: dict[str, int]
    width: int
    has_header: bool


def columns_of(source: Source, path: Path) -> Columns:
    """The columns by the header; a DP4 file has none and is known by its number of columns.

    Raises UnreadableListError.
    """
    first = next(source.rows(), None)
    if first is None:
        raise UnreadableListError(f"{path} is empty; there is no row in it")
    cells = first.cells
    try:
        places = places_of(cells, known_titles() | {DISTRICT: _DISTRICT_TITLES})
    except DoubleTitleError as error:
        raise UnreadableListError(f"in the first row {error}; take one of them out") from None
    if places:
        return Columns(places, len(cells), True)
    dp4 = COLUMNS[Form.DP4]
    if len(cells) in (len(dp4), len(dp4) - 1):
        places = places_of(dp4, {NIK: TITLES[NIK], VILLAGE: TITLES[VILLAGE]})
        places[DISTRICT] = dp4.index("kode_kecamatan")
        return Columns(places, len(dp4), False)
    raise UnreadableListError(
        "the first row names no column that is known: it needs resident_id or nik and village"
        " (kode_desa) for a list of persons, or village and counts such as eligible (pemilih)"
    )


def write_listing(
    path: Path, sheet: str | None, out: BinaryIO, resolve: Resolve, report: Report
) -> Listing:
    """Write the list as it goes to the notifier; NIKs go to `resolve` alone.

    Raises UnreadableListError, FaultyRowsError.
    """
    source = open_source(path, sheet)
    columns = columns_of(source, path)
    if NIK in columns.places:
        return _by_nik(source, columns, out, resolve, report)
    names = [name for name in columns.places if name != DISTRICT]
    return _as_it_is(source, columns, names, out, report)


def is_by_nik(path: Path, sheet: str | None) -> bool:
    """Whether the registry has to be asked. Raises UnreadableListError."""
    return NIK in columns_of(open_source(path, sheet), path).places


class _Lines:
    """Lines, each at the number that its row has in the file."""

    def __init__(self, out: BinaryIO, names: Sequence[str], shift: int) -> None:
        self._out = out
        self._shift = shift
        self._next = 2
        out.write(",".join(names).encode() + b"\n")

    def write(self, number: int, cells: Sequence[str]) -> None:
        line = number + self._shift
        self._out.write(b"\n" * (line - self._next))
        self._out.write(",".join(cells).encode() + b"\n")
        self._next = line + 1


def _rows(source: Source, columns: Columns) -> Iterator[Row]:
    rows = source.rows(columns.width)
    if columns.has_header:
        next(rows)
    for row in rows:
        if len(row.cells) >= columns.width or row.fault is not None:
            yield row
        else:
            yield Row(row.number, row.cells + [""] * (columns.width - len(row.cells)))


def _as_it_is(
    source: Source, columns: Columns, names: list[str], out: BinaryIO, report: Report
) -> Listing:
    lines, listing = _Lines(out, names, 0), Listing()
    places = [columns.places[name] for name in names]
    faults: list[str] = []
    for row in _rows(source, columns):
        listing.rows += 1
        if row.fault is not None:
            _note(faults, row.number, THE_ROW, row.fault)
        else:
            lines.write(row.number, [_cell(row.cells[place]) for place in places])
        if listing.rows % REPORT_EVERY_ROWS == 0:
            report(listing.rows, source.position / max(source.size, 1))
    if faults:
        raise FaultyRowsError(faults)
    return listing


def _cell(written: str) -> str:
    """A cell that can stand in CSV as it is: what is compared needs no commas."""
    clean = written.translate(_CLEAN).strip()
    return f'"{clean}"' if "," in clean else clean


def _by_nik(
    source: Source, columns: Columns, out: BinaryIO, resolve: Resolve, report: Report
) -> Listing:
    if VILLAGE not in columns.places:
        raise UnreadableListError("a list by NIK needs a column village (kode_desa) too")
    shift = 0 if columns.has_header else 1
    lines, listing = _Lines(out, (RESIDENT, VILLAGE), shift), Listing(shift=shift)
    niks = _niks(source, columns)
    for first in range(0, len(niks), NIKS_AT_ONCE):
        batch = niks[first : first + NIKS_AT_ONCE]
        _write_resolved(batch, resolve(batch), lines, listing)
        report(listing.rows, listing.rows / len(niks))
    return listing


def _niks(source: Source, columns: Columns) -> list[ListedNik]:
    """Every row, once all are known to be good: nothing is asked of the registry for a list that
    has to be corrected."""
    seen = NiksSeen()
    faults: list[str] = []
    found: list[ListedNik] = []
    places = columns.places
    for row in _rows(source, columns):
        if row.fault is not None:
            _note(faults, row.number, THE_ROW, row.fault)
            continue
        nik = row.cells[places[NIK]].strip()
        district = row.cells[places[DISTRICT]] if DISTRICT in places else ""
        village = village_of(row.cells[places[VILLAGE]], district, False)
        if not _NIK.fullmatch(nik):
            _note(faults, row.number, NIK, "must be 16 digits, in a column formatted as text")
        elif (first := seen.first_row(int(nik), row.number)) is not None:
            _note(faults, row.number, NIK, f"is that of row {first} already")
        elif isinstance(village, Fault):
            _note(faults, row.number, VILLAGE, village)
        else:
            found.append(ListedNik(row.number, nik, village))
    if faults:
        raise FaultyRowsError(faults)
    return found


def _note(faults: list[str], row: int, column: str, fault: Fault | str) -> None:
    said = complaint(fault) if isinstance(fault, Fault) else fault
    where = f"row {row}" if column == THE_ROW else f"row {row}, {column}"
    faults.append(f"{where}: {said}")
    if len(faults) >= MOST_FAULTS:
        raise FaultyRowsError(faults)


def _write_resolved(
    batch: list[ListedNik], residents: Sequence[str | None], lines: _Lines, listing: Listing
) -> None:
    for listed, resident in zip(batch, residents, strict=True):
        listing.rows += 1
        if resident is None:
            listing.unknown.append(listed)
        else:
            lines.write(listed.row, (resident, listed.village))
