"""What a person sees of `cacah verify`: a line for each proof, and on a terminal how far it is."""

import time
from types import TracebackType
from typing import Any, Final, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn
from rich.progress import TimeElapsedColumn as Elapsed
from rich.text import Text

from cli.verifying.proof import Proof

REFRESHES_PER_S: Final = 5


class _Read(TaskProgressColumn):
    """The part of the rows that the workers have read, asked of them whenever it is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.read: Any = None

    def render(self, task: Any) -> Text:
        if self.read is not None:
            task.completed = min(self.read.value, task.total)
        return super().render(task)


class Shown:
    """Prints the proofs; `with` it, how far they are is shown below them on a terminal."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._read = _Read()
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), self._read)
        self._progress = Progress(
            *(*columns, Elapsed()),
            console=console,
            transient=True,
            refresh_per_second=REFRESHES_PER_S,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task("", total=None)
        self._began_s = time.monotonic()

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def expect(self, rows: int, read: Any) -> None:
        """So many rows are to be read; `read` counts them."""
        self._read.read = read
        self._progress.update(self._task, total=max(1, rows))

    def begin(self, name: str) -> None:
        """A proof begins."""
        self._began_s = time.monotonic()
        self._progress.update(self._task, description=name)

    def tell(self, proof: Proof) -> None:
        """What a proof says, on one line."""
        took_s = time.monotonic() - self._began_s
        sign, style = ("✓", "green") if proof.holds else ("✗", "bold red")
        said = proof.figures if proof.fault is None else proof.fault
        line = Text.assemble(
            (f"{sign} ", style), (proof.name, "bold"), f": {said} ({took_s:.1f} s)"
        )
        self._console.print(line, soft_wrap=True)
