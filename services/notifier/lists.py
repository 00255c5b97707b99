"""The list that KPU uploads: persons by `resident_id` and village, or counts of villages.

What is wrong with it is told by row and column, and never by a value: a list may hold more of a
person than it should.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from shared.counts import Counts
from shared.lists.faults import Fault, Kind
from shared.lists.opening import open_source
from shared.lists.rows import Row, Source, UnreadableListError
from shared.lists.titles import NIK_TITLES, VILLAGE_TITLES, DoubleTitleError, places_of
from shared.lists.village_codes import village_of
from shared.region_codes import lies_in

MOST_ROWS: Final = 1_000_000
MOST_FAULTS: Final = 100
NAME: Final = "the list"

RESIDENT: Final = "resident_id"
VILLAGE: Final = "village"
NIK: Final = "nik"

TITLES: Final[dict[str, frozenset[str]]] = {
    RESIDENT: frozenset({"residentid", "resident", "voter", "idpenduduk", "idpemilih"}),
    NIK: NIK_TITLES,
    VILLAGE: VILLAGE_TITLES,
    **{name: frozenset({name.replace("_", "")}) for name in Counts._fields},
}
# What tables of election offices call the voters.
_INDONESIAN: Final = {
    "eligible": frozenset({"pemilih", "jumlahpemilih"}),
    "eligible_male": frozenset({"pemilihlakilaki", "lakilaki"}),
    "eligible_female": frozenset({"pemilihperempuan", "perempuan"}),
}

_RESIDENT_ID: Final = re.compile(
    r"[0-9a-fA-F]{8}(-?)[0-9a-fA-F]{4}\1[0-9a-fA-F]{4}\1[0-9a-fA-F]{4}\1[0-9a-fA-F]{12}", re.ASCII
)
_COUNT: Final = re.compile(r"[0-9]{1,9}", re.ASCII)
THE_ROW: Final = "row"

_NEEDED: Final = (
    "the first row must name the columns: resident_id and village (kode_desa) for a list of"
    " persons, or village and one or more of the counts, such as eligible (pemilih)"
)


class RowFault(NamedTuple):
    """What is wrong in one row: the column as this page calls it, and the end of a sentence."""

    row: int
    column: str
    complaint: str

    @property
    def sentence(self) -> str:
        where = "" if self.column == THE_ROW else f", {self.column}"
        return f"row {self.row}{where}: {self.complaint}"


class FaultyListError(Exception):
    """A list with rows that cannot be taken; `faults` are the first of them, at least one."""

    def __init__(self, faults: list[RowFault]) -> None:
        super().__init__("rows of the list cannot be taken")
        self.faults = faults


class TooManyRowsError(Exception):
    """A list longer than any that is compared."""


@dataclass(frozen=True, slots=True)
class PersonList:
    """A list of persons, whose rows went to a file; how many there are."""

    rows: int


@dataclass(frozen=True, slots=True)
class CountList:
    """A list of counts: what it says of each village."""

    counts: tuple[str, ...]
    villages: dict[str, dict[str, int]]


def read_list(
    path: Path, area: str, sheet: str | None, persons: BinaryIO
) -> PersonList | CountList:
    """Read a list of villages in `area`.

    Rows of persons go to `persons`, as PostgreSQL's COPY takes them: the row, the resident, the
    village. Raises UnreadableListError, FaultyListError, TooManyRowsError.
    """
    source = open_source(path, sheet, name=NAME)
    places, width = _columns(source)
    if RESIDENT in places:
        return _read_persons(_rows(source, width), places, area, persons)
    return _read_counts(_rows(source, width), places, area)


def known_titles() -> dict[str, frozenset[str]]:
    """The titles that each column may have, as `plain` writes them."""
    return {name: names | _INDONESIAN.get(name, frozenset()) for name, names in TITLES.items()}


def _columns(source: Source) -> tuple[dict[str, int], int]:
    first = next(source.rows(), None)
    if first is None:
        raise UnreadableListError(f"{NAME} is empty; there is no row in it")
    titles = _trimmed(first.cells)
    try:
        places = places_of(titles, known_titles())
    except DoubleTitleError as error:
        raise UnreadableListError(f"in the first row {error}; take one of them out") from None
    if NIK in places:
        raise UnreadableListError(
            "a list with NIKs must not come here: leave that column out, or have"
            " `cacah compare` ask the registry for each resident_id first"
        )
    if VILLAGE not in places or len(places) == 1:
        raise UnreadableListError(_NEEDED)
    return places, len(titles)


def _trimmed(cells: list[str]) -> list[str]:
    cells = cells.copy()
    while cells and not cells[-1].strip():
        cells.pop()
    return cells


def _rows(source: Source, width: int) -> Iterator[Row]:
    """The rows below the header, with a fault where they are not of its width."""
    rows = source.rows(width)
    next(rows)
    for number, row in enumerate(rows, 1):
        if number > MOST_ROWS:
            raise TooManyRowsError
        if row.fault is None and len(row.cells) != width:
            cells = row.cells
            if len(_trimmed(cells)) > width:
                fault = Fault(Kind.ROW_RAGGED, f"{len(cells)} cells under {width} columns")
                yield Row(row.number, cells, fault)
                continue
            row = Row(row.number, (cells + [""] * width)[:width])
        yield row


class _Faults:
    """The first faults; the reading ends when there are enough."""

    def __init__(self) -> None:
        self.found: list[RowFault] = []

    def note(self, row: int, column: str, complaint: str) -> None:
        self.found.append(RowFault(row, column, complaint))
        if len(self.found) >= MOST_FAULTS:
            raise FaultyListError(self.found)

    def close(self) -> None:
        if self.found:
            raise FaultyListError(self.found)


def complaint(fault: Fault) -> str:
    """What is wrong, as the end of a sentence that begins with the row and the column."""
    if fault.kind is Kind.VILLAGE_OLD:
        return f"is a code from before 2020, now {fault.note}; correct it"
    return str(fault.kind.value).replace("{}", fault.note)


def _read_persons(
    rows: Iterator[Row], places: dict[str, int], area: str, persons: BinaryIO
) -> PersonList:
    resident_place, village_place = places[RESIDENT], places[VILLAGE]
    faults, count = _Faults(), 0
    inside: dict[str, str] = {}
    write, is_resident = persons.write, _RESIDENT_ID.fullmatch
    for number, cells, fault in rows:
        count += 1
        if fault is not None:
            faults.note(number, THE_ROW, complaint(fault))
            continue
        resident, written = cells[resident_place].strip(), cells[village_place]
        village = inside.get(written)
        if village is None:
            village = _inside(number, written, area, faults)
            if village is not None:
                inside[written] = village
        if not is_resident(resident):
            faults.note(number, RESIDENT, "must be a UUID, as the voters' feed has it")
        elif village is not None:
            write(f"{number}\t{resident}\t{village}\n".encode())
    faults.close()
    return PersonList(count)


def _inside(number: int, written: str, area: str, faults: _Faults) -> str | None:
    """The village, none where a fault was noted."""
    village = village_of(written, "", False)
    if isinstance(village, Fault):
        faults.note(number, VILLAGE, complaint(village))
        return None
    if not lies_in(village, area):
        faults.note(number, VILLAGE, "is not in the area that is compared")
        return None
    return village


def _read_counts(rows: Iterator[Row], places: dict[str, int], area: str) -> CountList:
    counts = tuple(name for name in Counts._fields if name in places)
    faults = _Faults()
    found: dict[str, dict[str, int]] = {}
    first_rows: dict[str, int] = {}
    for number, cells, fault in rows:
        if fault is not None:
            faults.note(number, THE_ROW, complaint(fault))
            continue
        village = _inside(number, cells[places[VILLAGE]], area, faults)
        row = _counts(number, cells, counts, places, faults.note)
        if village is None:
            continue
        if village in found:
            faults.note(number, VILLAGE, f"is that of row {first_rows[village]} already")
            continue
        found[village], first_rows[village] = row, number
    faults.close()
    return CountList(counts, found)


def _counts(
    number: int,
    cells: list[str],
    counts: tuple[str, ...],
    places: dict[str, int],
    note: Callable[[int, str, str], None],
) -> dict[str, int]:
    row = {}
    for name in counts:
        written = cells[places[name]].strip()
        if _COUNT.fullmatch(written):
            row[name] = int(written)
        else:
            note(number, name, "must be a whole number, in digits alone")
    return row
