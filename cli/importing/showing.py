"""How far a reading is: a bar on a terminal, plain lines elsewhere."""

import time
from types import TracebackType
from typing import Final, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

LINE_EVERY_S: Final = 5.0
SAME_LINE_EVERY_S: Final = 5.0
_COLUMNS: Final = "{task.description}", "{task.percentage:>3.0f} %", "{task.fields[counted]}"


class Showing:
    """Shows one step; `show` tells how many rows are done, and which share of the step that is."""

    def __init__(self, console: Console, step: str) -> None:
        self._console = console
        self._step = step
        self._told = time.monotonic()
        self._first = 0, 0.0, self._told
        self._bar: Progress | None = None
        self._task = TaskID(0)
        self._said: dict[str, float] = {}

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            step, percentage, counted = (TextColumn(column) for column in _COLUMNS)
            self._bar = Progress(
                *(step, BarColumn(), percentage, counted, TimeRemainingColumn()),
                console=self._console,
                transient=True,
            )
            self._task = self._bar.add_task(self._step, total=1.0, counted="")
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def begin(self, rows: int, share: float) -> None:
        """Say what was done before: a resumed import begins in the middle."""
        self._first = rows, share, time.monotonic()

    def show(self, rows: int, share: float) -> None:
        rate, left_s = self._speed(rows, share)
        counted = f"{rows:,} rows, {rate:,.0f} rows/s"
        if self._bar is not None:
            self._bar.update(self._task, completed=share, counted=counted)
        elif time.monotonic() - self._told >= LINE_EVERY_S:
            self._told = time.monotonic()
            self.line(f"{self._step}: {counted}, {share:.0%}, {left_s:.0f} s left")

    def say(self, sentence: str) -> None:
        """A line above the bar; what is said again and again is told now and then."""
        kind = sentence.partition(";")[0]
        now = time.monotonic()
        if now - self._said.get(kind, 0.0) >= SAME_LINE_EVERY_S:
            self._said[kind] = now
            self.line(sentence)

    def line(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _speed(self, rows: int, share: float) -> tuple[float, float]:
        """Rows a second, and the seconds left, by what was done since the beginning."""
        now = time.monotonic()
        first_rows, first_share, since = self._first
        if share == first_share or now == since:
            return 0.0, 0.0
        took_s = now - since
        return (rows - first_rows) / took_s, (1 - share) * took_s / (share - first_share)
