"""The file of refused rows: the input's own columns and a reason, to be mended and imported again.

It holds personal data as the input does, so only its owner may read it. It is written beside its
name and put in place when it is complete, and never over a file that somebody may have mended.
"""

import csv
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from cli.importing.layouts import REASON_COLUMN, REASON_PREFIX, Layout
from cli.importing.stopping import ImportStoppedError
from shared.lists.rows import Row
from shared.lists.text_files import DP4_DELIMITER

_MARK: Final = ".refused"
_ATTEMPTS: Final = 1_000


class RefusedRows:
    """Collects refused rows; use as a context manager, and `finish` to put the file in place."""

    def __init__(self, path: Path, layout: Layout, delimiter: str) -> None:
        self.count = 0
        self._path = path
        self._delimiter = delimiter
        self._partial = path.with_name(f".{path.name}.partial")
        try:
            descriptor = os.open(self._partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            os.fchmod(descriptor, 0o600)
        except OSError as error:
            raise ImportStoppedError(
                f"the file of refused rows cannot be written in {path.parent} ({error.strerror});"
                " name another with --refused"
            ) from None
        # A byte-order mark, so that a spreadsheet reads it as UTF-8.
        self._file = os.fdopen(descriptor, "w", encoding="utf-8-sig", newline="")
        self._rows = csv.writer(self._file, delimiter=delimiter, lineterminator="\n")
        if layout.has_header:
            self._write([*layout.titles, REASON_COLUMN])

    def add(self, row: Row, reason: str) -> None:
        """A row too short is not filled up: unmended, it must be refused again."""
        self.count += 1
        self._write([*row.cells, f"{REASON_PREFIX}row {row.number}: {reason}"])

    def _write(self, cells: Sequence[str]) -> None:
        if self._delimiter != DP4_DELIMITER:
            self._rows.writerow(cells)
            return
        # A DP4 file has no quotation: its last cell must not hold the delimiter.
        last = cells[-1].replace(DP4_DELIMITER, " ")
        self._file.write(DP4_DELIMITER.join([*cells[:-1], last]) + "\n")

    def finish(self, last_digest: str | None) -> tuple[Path, str] | None:
        """Put the file in place; answer where it is, and its digest. None if nothing was refused.

        `last_digest` is that of the file which an earlier run put there: that one is replaced,
        unless it was changed since.
        """
        self._file.close()
        if not self.count:
            self._partial.unlink()
            return None
        digest = _digest(self._partial)
        path = self._free_path({digest, last_digest})
        self._partial.rename(path)
        return path, digest

    def discard(self) -> None:
        """Leave nothing behind, if it was not finished."""
        self._file.close()
        self._partial.unlink(missing_ok=True)

    def _free_path(self, replaceable: set[str | None]) -> Path:
        for number in range(1, _ATTEMPTS):
            path = self._path if number == 1 else numbered(self._path, number)
            if not path.exists() or _digest(path) in replaceable:
                return path
        raise ImportStoppedError(f"there are too many files like {self._path}; move some away")


def refused_path(path: Path) -> Path:
    """Where the refused rows of a file go: beside it, numbered if they were refused before."""
    stem, _, after = path.stem.partition(_MARK)
    ending = ".csv" if path.suffix.lower() == ".xlsx" or not path.suffix else path.suffix
    number = int(after[1:]) if after[1:].isdigit() else 1
    first = path.with_name(f"{stem}{_MARK}{ending}")
    return first if path.stem == stem else numbered(first, number + 1)


def numbered(path: Path, number: int) -> Path:
    return path.with_name(f"{path.stem}-{number}{path.suffix}")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
