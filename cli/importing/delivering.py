"""The second reading: the good rows are sent, several batches at once, and the answers entered.

Fault model: this process or the registry may die at any moment. Each batch is sent until it is
answered; a row counts as done only when every batch up to it was. What was answered and not yet
entered is sent again by the next run, under the same ids, and nothing is doubled.
"""

import asyncio
import contextlib
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from typing import Final

from cli.importing.door import Door, Result
from cli.importing.events import Event, Writer
from cli.importing.people import People, Person
from cli.importing.progress import Counts, Progress
from cli.importing.refused_rows import RefusedRows
from cli.importing.stopping import ImportStoppedError
from shared.lists.rows import Row

# Two events a row at most, of the 5,000 that the registry takes at once.
BATCH_ROWS: Final = 2_000
MAX_BATCH_ROWS: Final = 2_500
IN_FLIGHT: Final = 3


@dataclass(slots=True)
class Batch:
    """Rows that go together. `owners` says for each event which of the rows it is of; `end` is
    the index of the row after the last that the batch accounts for."""

    rows: list[tuple[int, Row]] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    owners: list[int] = field(default_factory=list)
    number: int = 0
    end: int = 0

    def add(self, index: int, row: Row, events: Iterator[Event]) -> None:
        for event in events:
            self.events.append(event)
            self.owners.append(len(self.rows))
        self.rows.append((index, row))


@dataclass(slots=True)
class Delivery:
    """Sends one file. `rows` gives its rows anew, `good` has one byte for each of them."""

    rows: Callable[[], Iterator[Row]]
    good: bytearray
    people: People
    writer: Writer
    door: Door
    progress: Progress
    refused: RefusedRows
    show: Callable[[int], None]
    batch_rows: int = BATCH_ROWS
    _waiting: dict[int, tuple[Batch, list[Result]]] = field(default_factory=dict)
    _next: int = 0

    async def run(self) -> Counts:
        """Send everything that is not yet acknowledged. Raises ImportStoppedError."""
        await self._require_same_registry()
        # However this ends, the file is closed.
        with contextlib.closing(self._batches()) as batches:
            async with asyncio.TaskGroup() as group:
                for _ in range(IN_FLIGHT):
                    group.create_task(self._send_all(batches))
        return self.progress.state.counts

    async def _require_same_registry(self) -> None:
        """Trust what was acknowledged only if the registry knows the last of it.

        The database may be another one than when the import stopped: all is then sent from the
        first row.
        """
        last = self.good.rfind(1, 0, self.progress.state.acknowledged)
        if last < 0:
            return
        row = next(row for index, row in enumerate(self.rows()) if index == last)
        results = await self.door.send(list(self._events(row)))
        if any(result["outcome"] != "duplicate" for result in results):
            self.progress.restart()

    async def _send_all(self, batches: Iterator[Batch]) -> None:
        for batch in batches:
            results = await self.door.send(batch.events) if batch.events else []
            self._enter(batch, results)

    def _batches(self) -> Generator[Batch, None, None]:
        """The rows not yet acknowledged; those before are passed over, their refusals retold."""
        batch, number = Batch(), 0
        for index, row in self._left():
            if self.good[index]:
                batch.add(index, row, self._events(row))
            batch.end = index + 1
            if len(batch.rows) == self.batch_rows:
                yield batch
                number += 1
                batch = Batch(number=number)
        if batch.end:
            yield batch

    def _left(self) -> Iterator[tuple[int, Row]]:
        begin = self.progress.state.acknowledged
        refusals = self.progress.refusals()
        for index, row in enumerate(self.rows()):
            if index >= begin:
                yield index, row
            elif (reason := refusals.reason(index)) is not None:
                self.refused.add(row, reason)

    def _events(self, row: Row) -> Iterator[Event]:
        person = self.people.read(row)
        if not isinstance(person, Person):
            raise ImportStoppedError("the file was changed while it was read; start again")
        return self.writer.events(person)

    def _enter(self, batch: Batch, results: list[Result]) -> None:
        """Enter the answers in the order of the file, as far as there is no gap."""
        _require_allowed(results)
        self._waiting[batch.number] = batch, results
        while self._next in self._waiting:
            self._account(*self._waiting.pop(self._next))
            self._next += 1

    def _account(self, batch: Batch, results: list[Result]) -> None:
        of_row: list[list[Result]] = [[] for _ in batch.rows]
        for owner, result in zip(batch.owners, results, strict=True):
            of_row[owner].append(result)
        refusals = []
        for (index, row), row_results in zip(batch.rows, of_row, strict=True):
            if (reason := enter(self.progress.state.counts, row_results)) is not None:
                self.refused.add(row, reason)
                refusals.append((index, reason))
        if refusals:
            self.progress.note_refusals(refusals)
        self.progress.acknowledge(batch.end)
        self.show(batch.end)


def enter(counts: Counts, results: list[Result]) -> str | None:
    """Count what became of a row; the reason, if any of its events was refused.

    A duplicate of what was refused at first is refused still: it is told again.
    """
    outcomes = {result["outcome"] for result in results}
    for result in results:
        counts.warnings.update(result.get("warnings", ()))
        counts.parked += result.get("first_outcome", result["outcome"]) == "parked"
    problems = [result["problem"] for result in results if "problem" in result]
    if problems:
        counts.refused += 1
        counts.problems.update(problem["type"].rpartition("/")[2] for problem in problems)
        return "; ".join(problem["detail"] for problem in problems)
    if outcomes == {"duplicate"}:
        counts.already += 1
    else:
        counts.accepted += 1
    return None


def _require_allowed(results: list[Result]) -> None:
    for result in results:
        if result.get("problem", {}).get("type", "").endswith("/forbidden"):
            raise ImportStoppedError(
                "this token may not send for this station; name the station's own with"
                " --token-file, or another station with --station"
            )
