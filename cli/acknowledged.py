"""`cacah acknowledged`: how far KPU says that it has taken the feeds over."""

import sys
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cli.operators_door import Members, OperatorsDoor
from cli.stack import StackError
from cli.up import read_settings, refuse

# No row is broken where another program reads them.
WIDTH_IN_A_FILE: Final = 1_000

COLUMNS: Final = ("election", "feed", "token", "name", "acknowledged", "of", "behind", "at (UTC)")


def acknowledged(
    home: Annotated[Path | None, typer.Option(help="The home of a running stack.")] = None,
) -> None:
    """List how far KPU has taken the feeds over, by its own word, and how far it is behind."""
    rows = _rows(home)
    if not rows:
        typer.echo("Nothing was acknowledged yet; KPU does so with PUT …/acknowledged.")
        return
    table = Table(*COLUMNS, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*map(Text, _cells(row)))
    Console(width=None if sys.stdout.isatty() else WIDTH_IN_A_FILE).print(table)


def _rows(home: Path | None) -> list[Members]:
    try:
        settings = read_settings()
        with OperatorsDoor("notifier", settings.at(home or settings.home)) as door:
            rows: list[Members] = door.get("/v1/acknowledged")["acknowledged"]
    except StackError as error:
        refuse(error)
    return rows


def _cells(row: Members) -> list[str]:
    return [
        row["election"],
        row["feed"],
        str(row["token"] or "settings"),
        row["name"],
        f"{row['sequence']:,}",
        f"{row['last']:,}",
        f"{row['behind']:,}",
        row["acknowledged_at"][:19].replace("T", " "),
    ]
