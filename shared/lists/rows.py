"""A row of a file as it stands there, and what every kind of file can do."""

from collections.abc import Iterator
from typing import NamedTuple, Protocol

from shared.lists.faults import Fault


class UnreadableListError(Exception):
    """No rows can be read from it; the message is one sentence that says what to do."""


class Row(NamedTuple):
    """`number` is the line or the spreadsheet row where it begins, counted from 1 as a person
    does. `fault` says why the cells are not what the row means, if they are not."""

    number: int
    cells: list[str]
    fault: Fault | None = None


class Source(Protocol):
    """A file of rows that can be read several times, a row at a time."""

    delimiter: str

    @property
    def size(self) -> int:
        """How much there is to read, in a unit of its own."""

    @property
    def position(self) -> int:
        """How much of `size` was read."""

    @property
    def notes(self) -> list[str]:
        """What a person should know about how the file was read."""

    def rows(self, width: int | None = None) -> Iterator[Row]:
        """The rows that are not blank, from the first; `width` is the number of columns, by
        which a quotation mark left open is told from a text of several lines."""
