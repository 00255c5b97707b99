"""A row as a person: each member read and checked as the registry will check it.

The form rules are the registry's own (`services.registry.domain`). What repeats from row to row,
dates and codes, is read once and remembered, since a regency's file has a few thousand of each.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import Final, NamedTuple, cast

from pydantic import TypeAdapter, ValidationError

from cli.importing.layouts import Layout, Member
from cli.importing.stopping import ImportStoppedError
from cli.importing.written_dates import birth_date_of
from services.registry.domain import nik as niks
from services.registry.domain.forms import Name
from shared.events.facts import Sex
from shared.lists.faults import Fault, Flaw, Kind, masked
from shared.lists.rows import Row
from shared.lists.village_codes import village_of

REMEMBERED_VALUES: Final = 100_000

Reading = str | Fault
Reader = Callable[[str], Reading]

_MISSING: Final = frozenset({"", "-"})
_NOTATION: Final = re.compile(r"[0-9](?:[.,][0-9]+)?[eE]\+?[0-9]+")
_FLOAT: Final = re.compile(r"[0-9]{15,17}[.,]0+")

_SEXES: Final = {
    "L": "L",
    "P": "P",
    "LAKI-LAKI": "L",
    "LAKI - LAKI": "L",
    "LAKI LAKI": "L",
    "PEREMPUAN": "P",
}
_MARITAL_STATUSES: Final = {
    "B": "B",
    "S": "S",
    "P": "P",
    "BELUM KAWIN": "B",
    "KAWIN": "S",
    "SUDAH KAWIN": "S",
    "PERNAH KAWIN": "P",
    "CERAI HIDUP": "P",
    "CERAI MATI": "P",
}
_SERVICES: Final = {"": "none", "-": "none", "NONE": "none", "TNI": "tni", "POLRI": "polri"}
_RECORDED: Final = {
    "": "B",
    "-": "B",
    "B": "B",
    "S": "S",
    "BELUM": "B",
    "SUDAH": "S",
    "BELUM REKAM": "B",
    "SUDAH REKAM": "S",
}
EVERY_OTHER: Final = "*"

# Joins the village and the district column, so that the two are read and remembered as one.
_BESIDE: Final = "\x1f"

_name_form = TypeAdapter[str](Name)


class Person(NamedTuple):
    """What `resident.registered` says of somebody, and whether the e-KTP is recorded."""

    nik: str
    name: str
    sex: str
    birth_date: str
    marital_status: str
    village: str
    service: str
    recorded: bool


class People:
    """Reads the rows of one layout. `today` is the office's day."""

    def __init__(self, layout: Layout, today: date, recode: bool = False) -> None:
        self._layout = layout
        self._district = layout.places.get(Member.DISTRICT)
        self._readers: list[tuple[Member, Reader]] = [
            (Member.NIK, nik_of),
            (Member.NAME, name_of),
            (Member.SEX, self._word(Member.SEX, _SEXES, Kind.MISSING, Kind.SEX_UNKNOWN)),
            (Member.BIRTH_DATE, _remembering(lambda text: birth_date_of(text, today))),
            (
                Member.MARITAL_STATUS,
                self._word(
                    Member.MARITAL_STATUS,
                    _MARITAL_STATUSES,
                    Kind.MISSING,
                    Kind.MARITAL_STATUS_UNKNOWN,
                ),
            ),
            (Member.VILLAGE, _remembering(lambda text: village_of(*_two(text), recode))),
            (Member.SERVICE, self._word(Member.SERVICE, _SERVICES, None, Kind.SERVICE_UNKNOWN)),
            (Member.RECORDED, self._word(Member.RECORDED, _RECORDED, None, Kind.RECORDED_UNKNOWN)),
        ]
        self._places = [
            (layout.places.get(member, -1), layout.constants.get(member, ""), read)
            for member, read in self._readers
        ]
        self._village_place = layout.places.get(Member.VILLAGE)

    def read(self, row: Row) -> Person | list[Flaw]:
        """The person of a row, or everything that is wrong with it."""
        cells = self._with_district(row.cells)
        values = [
            read(cells[place] if place >= 0 else given) for place, given, read in self._places
        ]
        for value in values:
            if value.__class__ is Fault:
                return self._flaws(row.cells, values)
        nik, name, sex, birth_date, marital_status, village, service, recorded = cast(
            list[str], values
        )
        return Person(nik, name, sex, birth_date, marital_status, village, service, recorded == "S")

    def _with_district(self, cells: list[str]) -> Sequence[str]:
        if self._district is None or self._village_place is None:
            return cells
        cells = cells.copy()
        cells[self._village_place] += _BESIDE + cells[self._district]
        return cells

    def _flaws(self, cells: Sequence[str], values: Sequence[Reading]) -> list[Flaw]:
        flaws = []
        for (member, _), value in zip(self._readers, values, strict=True):
            if isinstance(value, Fault):
                place = self._layout.places.get(member)
                text = cells[place] if place is not None else self._layout.constants[member]
                flaws.append(Flaw(value, self._layout.title(member), masked(text)))
        return flaws

    def _word(
        self, member: Member, known: dict[str, str], missing: Kind | None, unknown: Kind
    ) -> Reader:
        """Reads a word by the file's own list and then by ours, whatever its case."""
        given = self._layout.values.get(member, {})
        _require_values(member, given, known)
        words = known | {word.strip().upper(): value for word, value in given.items()}
        other: Reading = given.get(EVERY_OTHER) or Fault(unknown)

        def read(text: str) -> Reading:
            word = text.strip().upper()
            if word not in words and missing is not None and word in _MISSING:
                return Fault(missing)
            return words.get(word, other)

        return _remembering(read)


def _require_values(member: Member, given: Mapping[str, str], known: Mapping[str, str]) -> None:
    for word, value in given.items():
        if value not in known.values():
            allowed = ", ".join(sorted(set(known.values())))
            raise ImportStoppedError(
                f"the mapping turns {word!r} into {value!r}, but {member} is one of {allowed}"
            )


def _two(text: str) -> tuple[str, str]:
    village, _, district = text.partition(_BESIDE)
    return village, district


def _remembering(read: Reader) -> Reader:
    """The same reader, which remembers what it has read, up to a bound."""
    known: dict[str, Reading] = {}

    def remembered(text: str) -> Reading:
        value = known.get(text)
        if value is None:
            value = read(text)
            if len(known) < REMEMBERED_VALUES:
                known[text] = value
        return value

    return remembered


def nik_of(text: str) -> Reading:
    """A NIK; spreadsheets put an apostrophe before a number that is to stay text."""
    nik = text.strip().lstrip("'`’")
    fault = niks.fault_of(nik)
    if fault is None:
        return nik
    if nik in _MISSING:
        return Fault(Kind.MISSING)
    if _NOTATION.fullmatch(nik):
        return Fault(Kind.NIK_NOTATION)
    return Fault(Kind.NIK_NUMBER) if _FLOAT.fullmatch(nik) else Fault(Kind.NIK_FORM, fault)


def name_of(text: str) -> Reading:
    name = text.strip()
    if name in _MISSING:
        return Fault(Kind.MISSING)
    if '"' in name and name.count('"') % 2:
        return Fault(Kind.NAME_QUOTES)
    try:
        return _name_form.validate_python(name)
    except ValidationError:
        return Fault(Kind.NAME_FORM)


def disagrees(person: Person) -> bool:
    """Whether the NIK says another date or sex: accepted, but worth a look."""
    return not niks.agrees(person.nik, person.birth_date, Sex(person.sex))
