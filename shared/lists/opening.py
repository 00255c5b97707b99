"""Tells what kind of file there is, and opens it, or says in a sentence why it cannot be read."""

import os
import stat
from pathlib import Path

from shared.lists.rows import Source, UnreadableListError
from shared.lists.text_files import TextFile
from shared.lists.workbooks import OLD_OFFICE_MARK, ZIP_MARK, Workbook


def open_source(
    path: Path, sheet: str | None = None, delimiter: str | None = None, name: str | None = None
) -> Source:
    """The rows of a file, which errors call `name`. Raises UnreadableListError."""
    named = name or str(path)
    _require_file(path)
    try:
        with path.open("rb") as file:
            start = file.read(8)
        if start.startswith(OLD_OFFICE_MARK):
            raise UnreadableListError(
                f"{named} is an old .xls workbook, or one with a password; save it as XLSX or CSV"
            )
        if start.startswith(ZIP_MARK):
            return Workbook(path, sheet, named)
        return TextFile(path, delimiter, named)
    except OSError as error:
        raise UnreadableListError(f"{named} cannot be read: {error.strerror}") from None


def _require_file(path: Path) -> None:
    """A file is read twice, so it must be a real one."""
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        raise UnreadableListError(f"there is no file {path}; check its name") from None
    except OSError as error:
        raise UnreadableListError(f"{path} cannot be read: {error.strerror}") from None
    if stat.S_ISDIR(mode):
        raise UnreadableListError(f"{path} is a directory; name one of the files in it")
    if not stat.S_ISREG(mode):
        raise UnreadableListError(
            f"{path} is not a file that can be read twice, but a pipe or a device;"
            " save what it gives to a file first"
        )
    if not os.access(path, os.R_OK):
        raise UnreadableListError(
            f"{path} cannot be read: your account has no right to; ask its owner"
        )
