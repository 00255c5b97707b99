"""Files as offices have them, of invented residents, and what the importer makes of them."""

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Final

from cli.importing.checking import Findings, check
from cli.importing.layouts import ColumnMapping, Form, recognise
from cli.importing.people import People
from cli.importing.refused_rows import RefusedRows, refused_path
from shared.lists.opening import open_source

TODAY: Final = date(2024, 7, 1)
HEADER: Final = "nik,nama,jenis_kelamin,tanggal_lahir,status_kawin,kode_desa"
VILLAGE: Final = "15.01.01.2001"

_SHEET_HEAD: Final = (
    '<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData>'
)


def nik(number: int) -> str:
    """An invented NIK of a man born on 27 November 2007."""
    return f"150101271107{number:04}"


def line(number: int, delimiter: str = ",", **changed: str) -> str:
    """A good row of `HEADER`."""
    cells = {
        "nik": nik(number),
        "name": f"WARGA CONTOH {number}",
        "sex": "L",
        "birth_date": "27|11|2007",
        "marital_status": "B",
        "village": VILLAGE,
    } | changed
    return delimiter.join(cells.values())


def dp4_line(number: int, **changed: str) -> str:
    """A good row of a DP4 file."""
    cells = {
        "nkk": "1501010101100001",
        "nik": nik(number),
        "name": f"WARGA CONTOH {number}",
        "born_in": "KERINCI",
        "birth_date": "27|11|2007",
        "sex": "L",
        "marital_status": "B",
        "address": "DUSUN I, GANG 2",
        "rt": "001",
        "rw": "002",
        "disability": "0",
        "spare_1": "",
        "spare_2": "-",
        "district": "150101",
        "district_name": "GUNUNG RAYA",
        "village": "1501012001",
        "village_name": "DESA",
        "tps": "001",
        "note": "",
    } | changed
    return "#".join(cells.values())


@dataclass(slots=True)
class Read:
    """What the first reading found in a file; `told` has every problem."""

    findings: Findings
    told: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    refused: Path | None = None

    @property
    def counts(self) -> tuple[int, int]:
        return self.findings.sendable, self.findings.refused


def read(
    path: Path,
    *,
    form: Form | None = None,
    mapping: ColumnMapping | None = None,
    village: str | None = None,
    recode: bool = False,
) -> Read:
    """Check a file as `cacah import --dry-run` does."""
    source = open_source(path, delimiter=mapping.delimiter if mapping else None)
    layout = recognise(next(source.rows()), form, mapping, village)
    people = People(layout, TODAY, recode)
    refused = RefusedRows(refused_path(path), layout, source.delimiter)
    told: list[str] = []
    findings = check(
        source,
        layout,
        people,
        refused,
        progress=lambda _: None,
        tell=told.append,
    )
    finished = refused.finish(None)
    return Read(findings, told, source.notes, finished[0] if finished else None)


def written(path: Path, *lines: str, encoding: str = "utf-8", end: str = "\n") -> Path:
    """A text file of these lines."""
    path.write_bytes("".join(text + end for text in lines).encode(encoding))
    return path


def workbook(path: Path, rows: Sequence[Sequence[str | int | float]]) -> Path:
    """The least XLSX file with these rows: text as inline strings, numbers as numbers."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in _PARTS.items():
            archive.writestr(name, content)
        body = "".join(f"<row>{''.join(map(_cell, row))}</row>" for row in rows)
        archive.writestr("xl/worksheets/sheet1.xml", f"{_SHEET_HEAD}{body}</sheetData></worksheet>")
    return path


def _cell(value: str | int | float) -> str:
    if isinstance(value, str):
        return f'<c t="inlineStr"><is><t>{value}</t></is></c>'
    return f"<c><v>{value}</v></c>"


_RELATIONS: Final = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE: Final = "http://schemas.openxmlformats.org/package/2006"
_TYPE: Final = "application/vnd.openxmlformats-officedocument.spreadsheetml"
_PARTS: Final = {
    "[Content_Types].xml": (
        f'<Types xmlns="{_PACKAGE}/content-types">'
        '<Default Extension="rels"'
        ' ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        f'<Override PartName="/xl/workbook.xml" ContentType="{_TYPE}.sheet.main+xml"/>'
        f'<Override PartName="/xl/worksheets/sheet1.xml" ContentType="{_TYPE}.worksheet+xml"/>'
        "</Types>"
    ),
    "_rels/.rels": (
        f'<Relationships xmlns="{_PACKAGE}/relationships"><Relationship Id="rId1"'
        f' Type="{_RELATIONS}/officeDocument" Target="xl/workbook.xml"/></Relationships>'
    ),
    "xl/workbook.xml": (
        '<workbook xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
        f' xmlns:r="{_RELATIONS}"><sheets><sheet name="Penduduk" sheetId="1" r:id="rId1"/>'
        "</sheets></workbook>"
    ),
    "xl/_rels/workbook.xml.rels": (
        f'<Relationships xmlns="{_PACKAGE}/relationships"><Relationship Id="rId1"'
        f' Type="{_RELATIONS}/worksheet" Target="worksheets/sheet1.xml"/></Relationships>'
    ),
}
