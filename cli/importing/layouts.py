"""What the columns of a file mean: the two known forms, a header, or a mapping file."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cli.importing.stopping import ImportStoppedError
from shared.lists.rows import Row
from shared.lists.titles import NIK_TITLES, VILLAGE_TITLES, DoubleTitleError, places_of, plain

# Heads the last column of the refused rows; a file that has it is such a file, mended.
REASON_COLUMN: Final = "cacah: reason"
REASON_PREFIX: Final = "cacah: "


class Member(StrEnum):
    """What a row can tell of a person, named as in `resident.registered`.

    `district` stands beside a village code of four digits; `recorded` is the KTP-el column.
    """

    NIK = "nik"
    NAME = "name"
    SEX = "sex"
    BIRTH_DATE = "birth_date"
    MARITAL_STATUS = "marital_status"
    VILLAGE = "village"
    DISTRICT = "district"
    SERVICE = "service"
    RECORDED = "recorded"


REQUIRED: Final = (
    Member.NIK,
    Member.NAME,
    Member.SEX,
    Member.BIRTH_DATE,
    Member.MARITAL_STATUS,
    Member.VILLAGE,
)


class Form(StrEnum):
    """The forms whose columns are known without a header."""

    DP4 = "dp4"
    SIDALIH = "sidalih"


# Domain facts, section 3, "Row formats".
COLUMNS: Final[dict[Form, tuple[str, ...]]] = {
    Form.DP4: (
        *("nkk", "nik", "nama", "tempat_lahir", "tanggal_lahir", "jenis_kelamin", "kawin"),
        *("alamat", "rt", "rw", "difabel", "cadangan_1", "cadangan_2", "kode_kecamatan"),
        *("nama_kecamatan", "kode_kelurahan", "nama_kelurahan", "tps", "keterangan"),
    ),
    Form.SIDALIH: (
        *("id", "nkk", "nik", "nama", "tempat_lahir", "tanggal_lahir", "jenis_kelamin"),
        *("kawin", "alamat", "rt", "rw", "difabel", "tps"),
    ),
}

# As `plain` writes them.
TITLES: Final[dict[Member, frozenset[str]]] = {
    Member.NIK: NIK_TITLES,
    Member.NAME: frozenset({"name", "nama", "namalengkap"}),
    Member.SEX: frozenset({"sex", "jeniskelamin", "jnskelamin", "kelamin", "jk"}),
    Member.BIRTH_DATE: frozenset({"birthdate", "tanggallahir", "tgllahir"}),
    Member.MARITAL_STATUS: frozenset(
        {"maritalstatus", "kawin", "statuskawin", "statusperkawinan", "stskawin"}
    ),
    Member.VILLAGE: VILLAGE_TITLES,
    Member.DISTRICT: frozenset({"district", "districtcode", "kodekecamatan", "kodekec", "kdkec"}),
    Member.SERVICE: frozenset({"service"}),
    Member.RECORDED: frozenset({"recorded", "ktpel", "ektp", "statusktpel"}),
}

_INDONESIAN: Final = {
    Member.NAME: "nama",
    Member.SEX: "jenis_kelamin",
    Member.BIRTH_DATE: "tanggal_lahir",
    Member.MARITAL_STATUS: "status_kawin",
    Member.VILLAGE: "kode_desa",
}


class ColumnMapping(BaseModel):
    """A mapping file: where each member stands, and what other words mean.

    A column is a title of the header, or a number from 1. In `values`, the word `*` stands for
    every word that is not listed. `constants` hold for all rows.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    delimiter: str | None = Field(default=None, min_length=1, max_length=1)
    header: bool = True
    columns: dict[str, str | int] = {}
    values: dict[str, dict[str, str]] = {}
    constants: dict[str, str] = {}


@dataclass(frozen=True, slots=True)
class Layout:
    """The columns of one file. `places` are counted from 0."""

    titles: tuple[str, ...]
    has_header: bool
    places: Mapping[Member, int]
    values: Mapping[Member, Mapping[str, str]] = field(default_factory=dict)
    constants: Mapping[Member, str] = field(default_factory=dict)
    has_reason: bool = False

    @property
    def width(self) -> int:
        return len(self.titles)

    def title(self, member: Member) -> str:
        """The column of a member, as the file calls it."""
        place = self.places.get(member)
        return self.titles[place] if place is not None else member.value


def recognise(
    first: Row, form: Form | None, mapping: ColumnMapping | None, village: str | None
) -> Layout:
    """What the columns are, by the first row. Raises ImportStoppedError.

    The order of trust: the mapping file, the form that was named, a header, and a row that looks
    like one of a DP4 file.
    """
    cells = [cell.strip() for cell in first.cells]
    while cells and not cells[-1]:
        cells.pop()
    has_reason = bool(cells) and cells[-1].startswith(REASON_PREFIX)
    cells = cells[:-1] if has_reason else cells
    layout = _layout(cells, form, mapping)
    constants = dict(layout.constants) | ({Member.VILLAGE: village} if village else {})
    layout = replace(layout, constants=constants, has_reason=has_reason)
    _require_members(layout)
    return layout


def _layout(cells: Sequence[str], form: Form | None, mapping: ColumnMapping | None) -> Layout:
    if mapping is not None:
        return _mapped(cells, mapping)
    if _is_header(cells):
        return Layout(tuple(cells), True, _by_title(cells))
    if form is None and len(cells) in (len(COLUMNS[Form.DP4]), len(COLUMNS[Form.DP4]) - 1):
        form = Form.DP4
    if form is None:
        raise ImportStoppedError(
            "the first row is no header that is known, and no form was named: give --form dp4 or"
            " --form sidalih, or say with --mapping what the columns are (docs/importing.md)"
        )
    return Layout(COLUMNS[form], False, _by_title(COLUMNS[form]))


def _is_header(cells: Sequence[str]) -> bool:
    return any(plain(cell) in titles for cell in cells for titles in TITLES.values())


def _by_title(titles: Sequence[str]) -> dict[Member, int]:
    try:
        return places_of(titles, TITLES)
    except DoubleTitleError as error:
        raise ImportStoppedError(f"{error}; say in a mapping file which one it is") from None


def _mapped(cells: Sequence[str], mapping: ColumnMapping) -> Layout:
    """The mapping's columns; a header's other columns are recognised as without it."""
    titles = tuple(cells) if mapping.header else tuple(f"column {n}" for n in _numbers(cells))
    places = _by_title(titles) if mapping.header else {}
    for name, column in mapping.columns.items():
        places[Member(name)] = _place(name, column, titles)
    return Layout(
        titles,
        mapping.header,
        places,
        {Member(name): words for name, words in mapping.values.items()},
        {Member(name): value for name, value in mapping.constants.items()},
    )


def _numbers(cells: Sequence[str]) -> range:
    return range(1, len(cells) + 1)


def _place(name: str, column: str | int, titles: Sequence[str]) -> int:
    if isinstance(column, int):
        if not 1 <= column <= len(titles):
            raise ImportStoppedError(
                f"the mapping says column {column} for {name}, but the file has {len(titles)}"
            )
        return column - 1
    if column not in titles:
        raise ImportStoppedError(
            f"the mapping says column {column!r} for {name}, but the header has no such title"
        )
    return titles.index(column)


def _require_members(layout: Layout) -> None:
    known = layout.places.keys() | layout.constants.keys()
    missing = [member for member in REQUIRED if member not in known]
    if not missing:
        return
    named = ", ".join(f"{m} ({_INDONESIAN[m]})" if m in _INDONESIAN else m for m in missing)
    hint = "; for one village, name its code with --village" if Member.VILLAGE in missing else ""
    raise ImportStoppedError(
        f"no column was found for {named}: correct the header, or say in a mapping file which"
        f" column it is{hint}"
    )


def read_mapping(path: Path) -> ColumnMapping:
    """A mapping file. Raises ImportStoppedError with what is wrong in it."""
    try:
        mapping = ColumnMapping.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise ImportStoppedError(f"{path} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ImportStoppedError(f"{path} is not TOML: {error}") from None
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in fault["loc"])
        raise ImportStoppedError(f"{path}: {place}: {fault['msg'].lower()}") from None
    named = [*mapping.columns, *mapping.values, *mapping.constants]
    if unknown := [name for name in named if name not in list(Member)]:
        raise ImportStoppedError(
            f"{path} names {unknown[0]!r}, which is not one of {', '.join(Member)}"
        )
    return mapping
