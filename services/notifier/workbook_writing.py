"""Writes an XLSX workbook of plain tables, a row at a time, into a file.

All that is needed of the format (ECMA-376): text as inline strings, numbers as numbers, the first
row of each sheet kept in sight.
"""

import re
import zipfile
from collections.abc import Iterable, Sequence
from typing import IO, BinaryIO, Final
from xml.sax.saxutils import escape

MEDIA_TYPE: Final = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
MOST_ROWS: Final = 1_048_576

Cell = str | int | None

_XML: Final = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>'
_MAIN: Final = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_RELATIONS: Final = "http://schemas.openxmlformats.org/package/2006/relationships"
_OFFICE: Final = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_TYPES: Final = "http://schemas.openxmlformats.org/package/2006/content-types"
_SHEET_TYPE: Final = "application/vnd.openxmlformats-officedocument.spreadsheetml.worksheet+xml"
_BOOK_TYPE: Final = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml"
# What XML cannot hold.
_FORBIDDEN: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class WorkbookWriter:
    """A workbook on its way into a file: `sheet`, then its rows; at last `close`."""

    def __init__(self, file: BinaryIO, names: Sequence[str]) -> None:
        self._archive = zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1)
        self._names = names
        self._number = 0
        self._open: IO[bytes] | None = None
        for name, content in _parts(names).items():
            self._archive.writestr(name, _XML + content)

    def sheet(self, titles: Sequence[str], widths: Sequence[int]) -> None:
        """Begin the next sheet with its first row; widths in characters."""
        self._end_sheet()
        self._number += 1
        columns = "".join(
            f'<col min="{n}" max="{n}" width="{width}" customWidth="1"/>'
            for n, width in enumerate(widths, 1)
        )
        self._open = self._archive.open(
            f"xl/worksheets/sheet{self._number}.xml", "w", force_zip64=True
        )
        self._write(
            f'{_XML}<worksheet xmlns="{_MAIN}"><sheetViews><sheetView workbookViewId="0">'
            '<pane ySplit="1" topLeftCell="A2" activePane="bottomLeft" state="frozen"/>'
            f"</sheetView></sheetViews><cols>{columns}</cols><sheetData>"
        )
        self.rows([titles])

    def rows(self, rows: Iterable[Sequence[Cell]]) -> None:
        """Add rows to the sheet."""
        self._write("".join(f"<row>{''.join(map(_cell, row))}</row>" for row in rows))

    def close(self) -> None:
        """End the workbook."""
        assert self._number == len(self._names), "a sheet has no rows"
        self._end_sheet()
        self._archive.close()

    def _end_sheet(self) -> None:
        if self._open is not None:
            self._write("</sheetData></worksheet>")
            self._open.close()
            self._open = None

    def _write(self, text: str) -> None:
        assert self._open is not None, "there is no sheet yet"
        self._open.write(text.encode())


def _cell(value: Cell) -> str:
    if value is None:
        return "<c/>"
    if isinstance(value, int):
        return f"<c><v>{value}</v></c>"
    return f'<c t="inlineStr"><is><t>{escape(_FORBIDDEN.sub(" ", value))}</t></is></c>'


def _parts(names: Sequence[str]) -> dict[str, str]:
    numbers = range(1, len(names) + 1)
    overrides = "".join(
        f'<Override PartName="/xl/worksheets/sheet{n}.xml" ContentType="{_SHEET_TYPE}"/>'
        for n in numbers
    )
    sheets = "".join(
        f'<sheet name="{escape(name)}" sheetId="{n}" r:id="rId{n}"/>'
        for n, name in enumerate(names, 1)
    )
    relations = "".join(
        f'<Relationship Id="rId{n}" Type="{_OFFICE}/worksheet" Target="worksheets/sheet{n}.xml"/>'
        for n in numbers
    )
    return {
        "[Content_Types].xml": (
            f'<Types xmlns="{_TYPES}"><Default Extension="rels" ContentType='
            '"application/vnd.openxmlformats-package.relationships+xml"/>'
            '<Default Extension="xml" ContentType="application/xml"/>'
            f'<Override PartName="/xl/workbook.xml" ContentType="{_BOOK_TYPE}"/>{overrides}</Types>'
        ),
        "_rels/.rels": (
            f'<Relationships xmlns="{_RELATIONS}"><Relationship Id="rId1"'
            f' Type="{_OFFICE}/officeDocument" Target="xl/workbook.xml"/></Relationships>'
        ),
        "xl/workbook.xml": (
            f'<workbook xmlns="{_MAIN}" xmlns:r="{_OFFICE}"><sheets>{sheets}</sheets></workbook>'
        ),
        "xl/_rels/workbook.xml.rels": (
            f'<Relationships xmlns="{_RELATIONS}">{relations}</Relationships>'
        ),
    }
