"""The first reading: every row is checked, and what was found is told."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from cli.importing.layouts import REASON_PREFIX, Layout, Member
from cli.importing.niks_seen import NiksSeen
from cli.importing.people import People, Person, disagrees
from cli.importing.refused_rows import RefusedRows
from cli.importing.stopping import ImportStoppedError
from shared.lists.faults import Fault, Flaw, Kind, masked
from shared.lists.rows import Row, Source

EXAMPLES_KEPT: Final = 3
REPORT_EVERY_ROWS: Final = 5_000
THIS_ROW: Final = "the row"

# By chance one NIK in ten ends in 0; that so many all do is a spreadsheet's doing.
_ZEROS_THAT_TELL: Final = 50
_INCOMPLETE: Final = 10

_REFUSED: Final = 0
_GOOD: Final = 1


# A column, and what is wrong in it.
Place = tuple[str, Kind]


@dataclass(slots=True)
class Findings:
    """What the first reading found; `good` has one byte for each row, 1 if it can be sent."""

    good: bytearray = field(default_factory=bytearray)
    kinds: Counter[Place] = field(default_factory=Counter)
    examples: dict[Place, list[str]] = field(default_factory=dict)
    recorded: int = 0
    mismatches: int = 0
    incomplete: int = 0
    ending_in_zero: int = 0

    @property
    def rows(self) -> int:
        return len(self.good)

    @property
    def sendable(self) -> int:
        return self.good.count(_GOOD)

    @property
    def refused(self) -> int:
        return self.rows - self.sendable

    def note_person(self, person: Person) -> None:
        self.good.append(_GOOD)
        self.recorded += person.recorded
        self.mismatches += disagrees(person)
        self.incomplete += len(person.birth_date) < _INCOMPLETE
        self.ending_in_zero += person.nik[-1] == "0"

    def note_flaws(self, row: Row, flaws: list[Flaw]) -> None:
        self.good.append(_REFUSED)
        for flaw in flaws:
            place = flaw.column, flaw.fault.kind
            self.kinds[place] += 1
            kept = self.examples.setdefault(place, [])
            if len(kept) < EXAMPLES_KEPT:
                kept.append(told(row, flaw))


def told(row: Row, flaw: Flaw) -> str:
    """One problem in one line: the row, the column, the value masked, and what is wrong."""
    value = f" ({flaw.masked})" if flaw.masked else ""
    return f"row {row.number}, {flaw.column}{value}: {flaw.complaint}"


def data_rows(source: Source, layout: Layout) -> Iterator[Row]:
    """The rows below the header, as wide as the layout where they are well formed."""
    width = layout.width
    rows = source.rows(width + layout.has_reason)
    if layout.has_header:
        next(rows, None)
    for row in rows:
        if len(row.cells) == width and row.fault is None:
            yield row
        else:
            yield _fitted(row, width)


def _fitted(row: Row, width: int) -> Row:
    """A row without its last reason and empty cells beyond the columns, or with its fault."""
    cells = row.cells.copy()
    while len(cells) > width and (not cells[-1].strip() or cells[-1].startswith(REASON_PREFIX)):
        cells.pop()
    if row.fault is None and len(cells) != width:
        fault = Fault(Kind.ROW_RAGGED, f"{len(cells)} cells where there are {width} columns")
        return Row(row.number, cells, fault)
    return Row(row.number, cells, row.fault)


def check(
    source: Source,
    layout: Layout,
    people: People,
    refused: RefusedRows,
    *,
    progress: Callable[[int], None],
    tell: Callable[[str], None],
) -> Findings:
    """Read the whole file; refused rows go to `refused`, and each problem to `tell`."""
    findings = Findings()
    seen = NiksSeen()
    for row in data_rows(source, layout):
        read = checked(row, people, layout, seen)
        if isinstance(read, Person):
            findings.note_person(read)
        else:
            findings.note_flaws(row, read)
            refused.add(row, ". ".join(flaw.sentence for flaw in read))
            for flaw in read:
                tell(told(row, flaw))
        if findings.rows % REPORT_EVERY_ROWS == 0:
            progress(findings.rows)
    _require_whole_niks(findings)
    return findings


def checked(row: Row, people: People, layout: Layout, seen: NiksSeen) -> Person | list[Flaw]:
    """A row as a person whose NIK is new in the file, or what is wrong with it."""
    if row.fault is not None:
        return [Flaw(row.fault, THIS_ROW, "")]
    person = people.read(row)
    if not isinstance(person, Person):
        return person
    first = seen.first_row(int(person.nik), row.number)
    if first is None:
        return person
    fault = Fault(Kind.NIK_TWICE, str(first))
    return [Flaw(fault, layout.title(Member.NIK), masked(person.nik))]


def _require_whole_niks(findings: Findings) -> None:
    if findings.sendable >= _ZEROS_THAT_TELL and findings.ending_in_zero == findings.sendable:
        raise ImportStoppedError(
            "every NIK in the file ends in 0: a spreadsheet has cut them to 15 digits and filled"
            " up with zeros; export the file again with the column as text"
        )
