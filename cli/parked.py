"""`cacah parked`: what waits, what it waits for, trying it again, and giving it up."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final

import orjson
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cli.operators_door import OperatorsDoor
from cli.parked_places import PLACES, ParkedPlace, Place
from cli.stack import StackError
from cli.up import read_settings, refuse

# No row is broken where another program reads them.
WIDTH_IN_A_FILE: Final = 1_000

app = typer.Typer(help="What waits, and what becomes of it.", no_args_is_help=True)

Home = Annotated[Path | None, typer.Option(help="The home of a running stack.")]
At = Annotated[Place, typer.Option("--at", help="The service that it is parked at.")]
Number = Annotated[int, typer.Argument(min=1, metavar="NUMBER", help="As `list` shows it.")]


@app.command("list")
def list_parked(
    at: Annotated[
        Place | None, typer.Option("--at", help="One service alone; else every one.")
    ] = None,
    home: Home = None,
) -> None:
    """List what is parked, in its order, and what it waits for. No NIK, no name."""
    for each in [at] if at else PLACES:
        with _opened(each, home) as place:
            table = Table(*place.columns, box=None, pad_edge=False)
            for row in place.rows():
                table.add_row(*map(Text, row))
        if table.row_count:
            Console(width=None if sys.stdout.isatty() else WIDTH_IN_A_FILE).print(table)
        typer.echo(f"{table.row_count:,} parked at the {each}.")


@app.command()
def show(number: Number, at: At = Place.REGISTRY, home: Home = None) -> None:
    """Show one that is parked, or was, and what became of it, as JSON."""
    with _opened(at, home) as place:
        shown = place.show(number)
    typer.echo(orjson.dumps(shown, option=orjson.OPT_INDENT_2))


@app.command()
def retry(at: At = Place.REGISTRY, home: Home = None) -> None:
    """Try all that is parked again, as if it came now, in its order."""
    with _opened(at, home) as place, Console(stderr=True).status("trying again …"):
        said = place.retry()
    typer.echo(said)


@app.command()
def drop(
    number: Number,
    reason: Annotated[str, typer.Option(help="Why; it is kept with who and when. No NIK.")],
    at: At = Place.REGISTRY,
    home: Home = None,
) -> None:
    """Give one up: it will never be tried again, and a trace is left of it."""
    with _opened(at, home) as place:
        said = place.drop(number, reason)
    typer.echo(said)


@contextmanager
def _opened(at: Place, home: Path | None) -> Iterator[ParkedPlace]:
    """A place by its door; what hinders is said in one sentence."""
    try:
        settings = read_settings()
        with OperatorsDoor(at.value, settings.at(home or settings.home)) as door:
            yield PLACES[at](door)
    except StackError as error:
        refuse(error)
