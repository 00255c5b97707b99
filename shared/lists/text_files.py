"""Text files of rows: delimiters, encodings and quotation marks as offices produce them.

One bad row must never spoil the next. So a file is read line by line; only a row with a quotation
mark that is still open at its end takes in further lines, and only if that makes it whole.
"""

import csv
from collections import deque
from collections.abc import Iterator
from io import TextIOWrapper
from pathlib import Path
from typing import BinaryIO, Final

from shared.lists.faults import Fault, Kind
from shared.lists.rows import Row, UnreadableListError

LINE_LIMIT: Final = 65_536
# A text of more lines than this is a quotation mark left open.
QUOTED_LINES_LIMIT: Final = 30
_SNIFFED_BYTES: Final = 65_536

DP4_DELIMITER: Final = "#"
DELIMITERS: Final = (DP4_DELIMITER, ";", ",", "\t")

_REPLACEMENT: Final = "\ufffd"
_NUL_FAULT: Final = Fault(Kind.ROW_NUL)
_UNREADABLE_FAULT: Final = Fault(Kind.ROW_UNREADABLE)
_QUOTES_FAULT: Final = Fault(Kind.ROW_QUOTES)
_TOO_LONG_FAULT: Final = Fault(Kind.ROW_TOO_LONG, f"{LINE_LIMIT:,}")


class TextFile:
    """A CSV or `#`-delimited file. Raises UnreadableListError when it holds no text."""

    def __init__(self, path: Path, delimiter: str | None = None, name: str | None = None) -> None:
        self._path = path
        self._name = name or str(path)
        self._encoding = _encoding(path)
        self._bytes = path.stat().st_size
        self._open: BinaryIO | None = None
        self._windows_lines = 0
        self.delimiter = delimiter or self._sniff()

    @property
    def size(self) -> int:
        return self._bytes

    @property
    def position(self) -> int:
        return self._open.tell() if self._open is not None and not self._open.closed else 0

    @property
    def notes(self) -> list[str]:
        if not self._windows_lines:
            return []
        return [f"{self._windows_lines:,} lines are not UTF-8 and were read as Windows-1252"]

    def rows(self, width: int | None = None) -> Iterator[Row]:
        self._windows_lines = 0
        with self._opened() as text:
            yield from self._split(_Lines(self._lines(text)), width)

    def _split(self, lines: "_Lines", width: int | None) -> Iterator[Row]:
        delimiter, blank = self.delimiter, self.delimiter + ' \t"'
        quoted = delimiter != DP4_DELIMITER
        for number, line in lines:
            if "\0" in line or _REPLACEMENT in line or len(line) >= LINE_LIMIT:
                yield Row(number, line[:LINE_LIMIT].split(delimiter), _line_fault(line))
            elif not line.strip(blank):
                continue
            elif quoted and '"' in line:
                yield _quoted_row(number, line, lines, delimiter, width)
            else:
                yield Row(number, line.split(delimiter))

    def _opened(self) -> TextIOWrapper:
        binary = self._path.open("rb")
        self._open = binary
        errors = "surrogateescape" if self._encoding == "utf-8-sig" else "replace"
        return TextIOWrapper(binary, encoding=self._encoding, errors=errors)

    def _lines(self, text: TextIOWrapper) -> Iterator[str]:
        """The lines without their ends; one that is too long is cut, and the rest passed over."""
        while line := text.readline(LINE_LIMIT):
            whole = line.endswith("\n")
            yield self._decoded(line[:-1] if whole else line)
            while not whole and (rest := text.readline(LINE_LIMIT)):
                whole = rest.endswith("\n")

    def _decoded(self, line: str) -> str:
        """A line that is not UTF-8 is read as Windows-1252: old lists mix both."""
        if line.isascii():
            return line
        try:
            line.encode()
        except UnicodeEncodeError:
            self._windows_lines += 1
            return line.encode(errors="surrogateescape").decode("cp1252", "replace")
        return line

    def _sniff(self) -> str:
        """The delimiter that the first line has most of; of a tie, the one that quotes less."""
        with self._opened() as text:
            first = next((line for line in self._lines(text) if line.strip()), None)
        if first is None:
            raise UnreadableListError(f"{self._name} is empty; there is no row in it")
        best = max(DELIMITERS, key=first.count)
        return best if best in first else ","


class _Lines:
    """Numbered lines, some of which can be put back."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = enumerate(lines, 1)
        self._back: deque[tuple[int, str]] = deque()

    def __iter__(self) -> Iterator[tuple[int, str]]:
        while True:
            yield from self._put_back()
            following = next(self._lines, None)
            if following is None:
                return
            yield following

    def take(self) -> tuple[int, str] | None:
        """The next line, or none at the end."""
        return self._back.popleft() if self._back else next(self._lines, None)

    def put_back(self, lines: list[tuple[int, str]]) -> None:
        self._back.extendleft(reversed(lines))

    def _put_back(self) -> Iterator[tuple[int, str]]:
        while self._back:
            yield self._back.popleft()


def _line_fault(line: str) -> Fault:
    if "\0" in line:
        return _NUL_FAULT
    return _UNREADABLE_FAULT if _REPLACEMENT in line else _TOO_LONG_FAULT


def _quoted_row(number: int, line: str, lines: _Lines, delimiter: str, width: int | None) -> Row:
    """A row with quotation marks, and as many further lines as it takes to close them.

    Where that makes no row of the right width, the line alone is at fault, and what was taken
    in is read again as rows of their own.
    """
    cells, is_open = _parsed([line], delimiter)
    taken: list[tuple[int, str]] = []
    while is_open and len(taken) < QUOTED_LINES_LIMIT and (more := lines.take()) is not None:
        taken.append(more)
        if '"' in more[1]:
            cells, is_open = _parsed([line, *(text for _, text in taken)], delimiter)
    if cells is None or (taken and width is not None and len(cells) != width):
        lines.put_back(taken)
        return Row(number, line.split(delimiter), _QUOTES_FAULT)
    return Row(number, cells)


def _parsed(lines: list[str], delimiter: str) -> tuple[list[str] | None, bool]:
    """The cells, none when they are not well quoted; and whether a quotation mark is open."""
    ended = [f"{line}\n" for line in lines]
    try:
        return next(csv.reader(ended, delimiter=delimiter, strict=True)), False
    except csv.Error as error:
        return None, "unexpected end" in str(error)


def _encoding(path: Path) -> str:
    """UTF-16 by its mark, or by the zero bytes between its letters; else UTF-8, line by line."""
    with path.open("rb") as file:
        start = file.read(_SNIFFED_BYTES)
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    evens, odds = start[0:200:2], start[1:200:2]
    if len(odds) >= 4 and evens.count(0) == len(evens):
        return "utf-16-be"
    if len(odds) >= 4 and odds.count(0) == len(odds):
        return "utf-16-le"
    return "utf-8-sig"
