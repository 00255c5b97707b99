"""Tells what kind of file there is, and opens it, or says in a sentence why it cannot be read."""

import os
import stat
from pathlib import Path

from cli.importing.rows import ImportStoppedError, Source
from cli.importing.text_files import TextFile
from cli.importing.workbooks import OLD_OFFICE_MARK, ZIP_MARK, Workbook


def open_source(path: Path, sheet: str | None = None, delimiter: str | None = None) -> Source:
    """The rows of a file. Raises ImportStoppedError."""
    _require_file(path)
    try:
        with path.open("rb") as file:
            start = file.read(8)
        if start.startswith(OLD_OFFICE_MARK):
            raise ImportStoppedError(
                f"{path} is an old .xls workbook, or one with a password; save it as XLSX or CSV"
            )
        if start.startswith(ZIP_MARK):
            return Workbook(path, sheet)
        return TextFile(path, delimiter)
    except OSError as error:
        raise ImportStoppedError(f"{path} cannot be read: {error.strerror}") from None


def _require_file(path: Path) -> None:
    """A file is read twice, so it must be a real one."""
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        raise ImportStoppedError(f"there is no file {path}; check its name") from None
    except OSError as error:
        raise ImportStoppedError(f"{path} cannot be read: {error.strerror}") from None
    if stat.S_ISDIR(mode):
        raise ImportStoppedError(f"{path} is a directory; name one of the files in it")
    if not stat.S_ISREG(mode):
        raise ImportStoppedError(
            f"{path} is not a file that can be read twice, but a pipe or a device;"
            " save what it gives to a file first"
        )
    if not os.access(path, os.R_OK):
        raise ImportStoppedError(
            f"{path} cannot be read: your account has no right to; ask its owner"
        )
