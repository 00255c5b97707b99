"""`cacah replay`: counts the whole log again beside the live counts, compares, and switches."""

import asyncio
import signal
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

import asyncpg
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text
from sqlalchemy.exc import SQLAlchemyError

from cli.database import database_of, reason_of
from cli.stack import StackError
from services.projections import replaying
from services.projections.folding import FoldingFailedError
from services.projections.rehearsing import Rehearsal, rehearse
from services.projections.replaying import Difference, Mode, Outcome, ReplayError

SHOWN: Final = 20
SHOWN_COUNTS: Final = ("residents", "eligible", "eligible_recorded")

# Columns of the table where it goes to a file or another program.
WIDTH_OF_FILES: Final = 200

DIFFERS: Final = 1
COULD_NOT_RUN: Final = 2
INTERRUPTED: Final = 130

Tell = replaying.Tell
Result = TypeVar("Result")


def replay(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Compare, and leave what serves as it is.")
    ] = False,
    undo: Annotated[
        bool, typer.Option("--undo", help="Go back to the generation before the last switch.")
    ] = False,
    rules: Annotated[
        Path | None,
        typer.Option(
            "--with",
            help="A Python module with changed rules: say what they would change; touch nothing.",
        ),
    ] = None,
    home: Annotated[Path | None, typer.Option(help="The home of a running stack.")] = None,
) -> None:
    """Count the whole log again beside the live counts, compare village by village, and switch.

    Ends with 0 when the new generation serves (for --dry-run and --with: when nothing differs), 1
    when --dry-run or --with finds differences, and 2 when it could not run: what served goes on.
    """
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = WIDTH_OF_FILES
    if dry_run + undo + (rules is not None) > 1:
        raise typer.BadParameter("take one of --dry-run, --undo and --with")
    try:
        url = database_of(home)
        if rules is not None:
            path = rules
            status = _say_rehearsal(console, _run(console, lambda tell: rehearse(url, path, tell)))
        else:
            mode = Mode.DRY_RUN if dry_run else Mode.UNDO if undo else Mode.REPLAY
            outcome = _run(console, lambda tell: replaying.replay(url, mode, tell))
            status = _say_outcome(console, mode, outcome)
    except* (ReplayError, StackError, FoldingFailedError) as stopped:
        status = _stopped(str(_first(stopped)))
    except* (OSError, SQLAlchemyError, asyncpg.PostgresError, asyncpg.InterfaceError) as failed:
        status = _stopped(f"the database cannot be used: {_reason(_first(failed))}")
    except* (KeyboardInterrupt, asyncio.CancelledError):
        typer.echo("Stopped; what served goes on, and nothing is left behind.", err=True)
        status = INTERRUPTED
    raise typer.Exit(status)


def _stopped(why: str) -> int:
    typer.echo(f"cacah replay: {why}. What served goes on.", err=True)
    return COULD_NOT_RUN


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    found: BaseException = group
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found


def _reason(error: BaseException) -> str:
    return reason_of(error) if isinstance(error, Exception) else str(error)


def _run(console: Console, work: Callable[[Tell], Coroutine[Any, Any, Result]]) -> Result:
    """Work behind a progress bar; Ctrl-C and SIGTERM cancel it, so that it can clean up."""

    async def run(tell: Tell) -> Result:
        task = asyncio.current_task()
        assert task is not None
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        return await work(tell)

    with _bar(console) as tell:
        return asyncio.run(run(tell))


class _Rate(ProgressColumn):
    """Events a second, since the stage began."""

    def render(self, task: Task) -> Text:
        elapsed_s = task.elapsed or 0
        if not task.total or not task.completed or not elapsed_s:
            return Text("")
        return Text(f"{task.completed / elapsed_s:,.0f} events/s")


@contextmanager
def _bar(console: Console) -> Iterator[Tell]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[count]}"),
        _Rate(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        shown: dict[str, Any] = {}

        def tell(now: replaying.Progress) -> None:
            if shown.get("stage") is not now.stage:
                for task in progress.tasks:
                    progress.remove_task(task.id)
                shown["stage"] = now.stage
                shown["task"] = progress.add_task(now.stage.value, total=None, count="")
                if not console.is_terminal:
                    console.print(f"{now.stage.value} …")
            count = f"{now.done:,} of {now.total:,}" if now.total else ""
            progress.update(shown["task"], total=now.total or None, completed=now.done, count=count)

        yield tell


def _say_outcome(console: Console, mode: Mode, outcome: Outcome) -> int:
    _say_differences(console, outcome.differences)
    what = _what_differs(outcome.differences, outcome.voters)
    took = f"{outcome.folded_s:.1f} s, and {1000 * outcome.switched_s:.0f} ms for the switch"
    if mode is Mode.DRY_RUN:
        console.print(
            f"Compared at position {outcome.position:,}: {what}. Nothing was changed.",
            soft_wrap=True,
        )
        return DIFFERS if outcome.differences or outcome.voters else 0
    serves = "The generation before serves again" if mode is Mode.UNDO else "The new one serves"
    told = " KPU is told by ordinary changes." if outcome.differences or outcome.voters else ""
    console.print(
        f"{serves}, from position {outcome.position:,} on: {what}.{told} Took {took}.",
        soft_wrap=True,
    )
    return 0


def _say_rehearsal(console: Console, rehearsal: Rehearsal) -> int:
    _say_differences(console, rehearsal.differences)
    replaced = ", ".join(rehearsal.replaced)
    what = _what_differs(rehearsal.differences, rehearsal.voters)
    console.print(
        f"With other {replaced}, at position {rehearsal.position:,}: {what}. Nothing was changed.",
        soft_wrap=True,
    )
    return DIFFERS if rehearsal.differences or rehearsal.voters else 0


def _what_differs(differences: list[Difference], voters: int) -> str:
    if not differences and not voters:
        return "no village differs"
    people = "1 person votes" if voters == 1 else f"{voters:,} people vote"
    return f"{_villages(len(differences))}, and {people} elsewhere or no more"


def _villages(number: int) -> str:
    return "1 village differs" if number == 1 else f"{number:,} villages differ"


def _say_differences(console: Console, differences: list[Difference]) -> None:
    if not differences:
        return
    table = Table("election", "village", *SHOWN_COUNTS, box=None, pad_edge=False)
    table.add_column("other counts", no_wrap=True)
    for difference in differences[:SHOWN]:
        table.add_row(*_row(difference))
    console.print(table, soft_wrap=True)
    if (others := len(differences) - SHOWN) > 0:
        console.print(f"and {others:,} more")


def _row(difference: Difference) -> list[str]:
    before, after = difference.before._asdict(), difference.after._asdict()

    def step(name: str) -> str:
        if before[name] == after[name]:
            return str(after[name])
        return f"{before[name]} → {after[name]}"

    others = [
        f"{name} {step(name)}"
        for name in before
        if name not in SHOWN_COUNTS and before[name] != after[name]
    ]
    shown = [step(name) for name in SHOWN_COUNTS]
    return [difference.election, difference.village, *shown, ", ".join(others)]
