"""XLSX workbooks: the rows of one sheet as text.

The reader, calamine, keeps a whole sheet in memory, so the size is looked at before: a sheet that
would take too much, or a small zip that unpacks to a huge one, is better saved as CSV.
"""

import zipfile
import zlib
from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path
from typing import Any, Final

from python_calamine import CalamineError, CalamineSheet, CalamineWorkbook, SheetVisibleEnum

from shared.lists.rows import Row, UnreadableListError

ZIP_MARK: Final = b"PK\x03\x04"
OLD_OFFICE_MARK: Final = bytes.fromhex("d0cf11e0a1b11ae1")
WORKBOOK_PART: Final = "xl/workbook.xml"
MAX_UNPACKED_BYTES: Final = 192 * 1024 * 1024
_CHUNK_BYTES: Final = 1024 * 1024

# Of a number, a spreadsheet keeps 15 digits.
_LONGEST_EXACT: Final = 10**15


class Workbook:
    """One sheet of an XLSX file. Raises UnreadableListError when it cannot be read."""

    delimiter = ";"

    def __init__(self, path: Path, sheet_name: str | None = None, name: str | None = None) -> None:
        named = name or str(path)
        _require_size(path, named)
        try:
            with CalamineWorkbook.from_path(path) as workbook:
                self._sheet = _sheet(workbook, named, sheet_name)
        except (CalamineError, OSError, ValueError) as error:
            raise UnreadableListError(
                f"{named} cannot be read as a workbook ({error}); save it again as XLSX or as CSV"
            ) from None
        self._read = 0

    @property
    def size(self) -> int:
        return self._sheet.height

    @property
    def position(self) -> int:
        return self._read

    @property
    def notes(self) -> list[str]:
        return [f"rows are those of the sheet {self._sheet.name!r}"]

    def rows(self, width: int | None = None) -> Iterator[Row]:
        start = self._sheet.start
        first = start[0] + 1 if start else 1
        for number, values in enumerate(self._sheet.iter_rows(), first):
            self._read = number - first + 1
            cells = [_text(value) for value in values]
            if any(cells):
                yield Row(number, cells)


def _require_size(path: Path, name: str) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            if WORKBOOK_PART not in archive.namelist():
                raise UnreadableListError(
                    f"{name} is a zip, but no XLSX workbook; unpack it and take the file inside,"
                    " or save the table as XLSX or CSV"
                )
            is_small = _unpacks_to_less(archive)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError):
        raise UnreadableListError(
            f"{name} is cut off or damaged: copy it again, or save it as CSV"
        ) from None
    if not is_small:
        raise UnreadableListError(
            f"{name} unpacks to more than a workbook may have here"
            f" ({MAX_UNPACKED_BYTES // 2**20} MB); save it as CSV, which has no such limit"
        )


def _unpacks_to_less(archive: zipfile.ZipFile) -> bool:
    """Whether all parts together stay within the limit, by unpacking them: what the archive says
    of its sizes may be a lie."""
    left = MAX_UNPACKED_BYTES
    for part in archive.infolist():
        # Have the reader go on to the end of what is packed, and not to the size that is said.
        part.file_size = left + 2 * _CHUNK_BYTES
        with archive.open(part) as unpacked:
            while left >= 0 and (chunk := unpacked.read(_CHUNK_BYTES)):
                left -= len(chunk)
        if left < 0:
            return False
    return True


def _sheet(workbook: CalamineWorkbook, name: str, sheet_name: str | None) -> CalamineSheet:
    """The sheet of that name, else the first that can be seen and has rows."""
    if sheet_name is not None:
        if sheet_name not in workbook.sheet_names:
            raise UnreadableListError(
                f"{name} has no sheet {sheet_name!r}; it has {', '.join(workbook.sheet_names)}"
            )
        return workbook.get_sheet_by_name(sheet_name)
    for sheet in workbook.sheets_metadata:
        if sheet.visible == SheetVisibleEnum.Visible:
            found = workbook.get_sheet_by_name(sheet.name)
            if found.height:
                return found
    raise UnreadableListError(f"{name} is empty; there is no row in it")


def _text(value: Any) -> str:
    """A cell as a person reads it. A number too long to be exact keeps its `.0`, to be known by."""
    if isinstance(value, str):
        return value
    if isinstance(value, int | float):
        exact = value == value // 1 and abs(value) < _LONGEST_EXACT
        return str(int(value)) if exact else f"{float(value):.1f}"
    if isinstance(value, datetime):
        return value.date().isoformat()
    return value.isoformat() if isinstance(value, date) else str(value)
