"""CSV and JSON lines: the file's own last whole row is the cursor.

Fault model: the process may be killed, or the power fail, in the middle of a write. What a write
left unfinished is at the end of the file and is no whole row: it is cut off at the next opening,
and everything after the last whole row is asked for again. Every batch is synced before the next.
A new file gets its heading, and a snapshot, whole or not at all: it takes the place of the empty
one by a rename.
"""

import contextlib
import csv
import fcntl
import io
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Protocol

from cli.following.changes import (
    COLUMNS,
    Change,
    Feed,
    UnreadableChangeError,
    read_change,
    read_row,
)
from cli.following.cursor_file import sync_directory
from cli.following.standing import FeedFault, Standing
from cli.following.target import TargetError, refuse_other


class Format(Protocol):
    """How changes are written to a file, as rows that each end with a line feed."""

    def heading(self) -> bytes:
        """What the file begins with."""

    def row(self, change: Change) -> bytes: ...

    def read(self, row: bytes) -> Change:
        """Raises UnreadableChangeError."""

    def is_whole(self, row: bytes) -> bool:
        """Whether a row ends where its line ends."""

    def may_be_torn(self, rest: bytes) -> bool:
        """Whether what is no whole line can be the beginning of a row of ours."""


class CsvFormat:
    """A heading and a row for each change."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed

    def heading(self) -> bytes:
        return self._written(COLUMNS[self._feed])

    def row(self, change: Change) -> bytes:
        return self._written(change.row(self._feed))

    def read(self, row: bytes) -> Change:
        try:
            (cells,) = csv.reader([row.decode()], strict=True)
        except (UnicodeDecodeError, ValueError, csv.Error) as error:
            raise UnreadableChangeError(str(error)) from None
        return read_row(self._feed, cells)

    def is_whole(self, row: bytes) -> bool:
        """A line feed inside of quotes ends no row: a stage's name may hold one."""
        return row.count(b'"') % 2 == 0

    def may_be_torn(self, rest: bytes) -> bool:
        return rest[:1].isdigit()

    def _written(self, cells: Sequence[object]) -> bytes:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerow(cells)
        return text.getvalue().encode()


class JsonLinesFormat:
    """A line of JSON for each change, the sequence first and all that was sent of it."""

    BEGINNING = b'{"sequence":'

    def __init__(self, feed: Feed) -> None:
        self._feed = feed

    def heading(self) -> bytes:
        return b""

    def row(self, change: Change) -> bytes:
        return change.line()

    def read(self, row: bytes) -> Change:
        return read_change(self._feed, row)

    def is_whole(self, row: bytes) -> bool:
        return True

    def may_be_torn(self, rest: bytes) -> bool:
        length = min(len(rest), len(self.BEGINNING))
        return rest[:length] == self.BEGINNING[:length]


class FileTarget:
    """A file that one process at a time appends to."""

    def __init__(self, path: Path, election: str, feed: Feed, form: Format) -> None:
        # A new file takes the place of what a link leads to, and not of the link.
        self._path = path.resolve()
        self._election = election
        self._feed = feed
        self._format = form
        self._file: IO[bytes] | None = None

    @property
    def shown(self) -> str:
        return str(self._path)

    async def open(self) -> Standing | None:
        file = self._opened()
        with self._faults():
            standing, end = self._read(file)
            file.truncate(end)
            file.seek(end)
            os.fsync(file.fileno())
        return standing

    async def begin(self, standing: Standing, snapshot: Sequence[Change]) -> None:
        partial = self._path.with_name(f"{self._path.name}.new")
        with self._faults():
            with partial.open("wb") as new:
                new.write(self._format.heading())
                new.writelines(map(self._format.row, snapshot))
                new.flush()
                os.fsync(new.fileno())
            partial.rename(self._path)
            sync_directory(self._path.parent)
        await self.close()
        with self._faults():
            self._opened().seek(0, os.SEEK_END)

    async def append(self, changes: Sequence[Change]) -> None:
        assert self._file is not None
        with self._faults():
            self._file.write(b"".join(map(self._format.row, changes)))
            self._file.flush()
            os.fsync(self._file.fileno())

    async def close(self) -> None:
        if self._file is not None:
            # What could not be flushed was no whole batch.
            with contextlib.suppress(OSError):
                self._file.close()
            self._file = None

    def _opened(self) -> IO[bytes]:
        """The file, ours alone; another that began it meanwhile has put its own in the place."""
        with self._faults():
            file = os.fdopen(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644), "r+b")
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                ours = os.path.samestat(os.fstat(file.fileno()), self._path.stat())
            except BlockingIOError:
                ours = False
        if not ours:
            file.close()
            raise TargetError(
                f"another `cacah follow` writes to {self._path}: end it, or name another file"
            )
        self._file = file
        return file

    def _read(self, file: IO[bytes]) -> tuple[Standing | None, int]:
        """What the whole rows come to, and where the last of them ends."""
        heading = self._format.heading()
        first = file.read(len(heading))
        if first != heading:
            self._require_torn(heading.startswith(first), 1)
            return None, 0
        standing, end, number = Standing(self._election, self._feed), len(heading), 1
        for number, row in enumerate(_rows(file, self._format), start=1):
            if not _is_whole(row, self._format):
                self._require_torn(self._format.may_be_torn(row), number)
                break
            self._take(standing, row, number)
            end += len(row)
        return (standing, end) if standing.sequence else (None, 0)

    def _require_torn(self, torn: bool, number: int) -> None:
        if not torn:
            raise TargetError(
                f"{self._path} is no file of this feed (see row {number}): it is left as it is;"
                " name another file"
            )

    def _take(self, standing: Standing, row: bytes, number: int) -> None:
        try:
            change = self._format.read(row)
            refuse_other(self.shown, change.election, self._election, self._feed)
            if self._is_of_snapshot(change, standing):
                standing.sequence = change.sequence
                standing.put(change.key, change.after)
            else:
                standing.enter(change)
        except (UnreadableChangeError, FeedFault) as error:
            raise TargetError(
                f"row {number} of {self._path} cannot be gone on from ({error}); the file is left"
                " as it is: restore it from a copy, or name another"
            ) from None

    def _is_of_snapshot(self, change: Change, standing: Standing) -> bool:
        """A snapshot's rows have no `before`, and only they come before all changes."""
        beginning = standing.sequence in (0, change.sequence)
        return self._feed is Feed.VILLAGES and change.before is None and beginning

    @contextlib.contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise TargetError(
                f"{self._path} cannot be written ({error.strerror}); make room for it or give"
                " your account the right to, and start again: it goes on where it stopped"
            ) from None


def _rows(file: IO[bytes], form: Format) -> Iterator[bytes]:
    """The rows of a file from where it stands; the last may be torn."""
    row = b""
    for line in file:
        row += line
        if _is_whole(row, form):
            yield row
            row = b""
    if row:
        yield row


def _is_whole(row: bytes, form: Format) -> bool:
    return row.endswith(b"\n") and form.is_whole(row)
