"""`cacah as-of`: the tallies of villages exactly as they stood at a time or a position."""

import csv
import json
import sys
from collections.abc import Collection, Iterable
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from cli.projections import (
    COULD_NOT_RUN,
    Address,
    CannotAskError,
    ElectionId,
    Home,
    Projections,
    TokenFile,
    table_console,
)
from shared.counts import Counts

# What a terminal has room for, with its heading; CSV and JSON have every count.
SHOWN: Final = {
    "residents": "residents",
    "eligible": "eligible",
    "eligible_male": "male",
    "eligible_female": "female",
    "eligible_recorded": "recorded",
    "eligible_unrecorded": "unrecorded",
    "first_time": "first time",
    "under_age": "under age",
    "rights_revoked": "revoked",
}

UNBOUNDED_WIDTH: Final = 1_000

Row = dict[str, Any]


def as_of(
    moment: Annotated[
        str,
        typer.Argument(
            metavar="TIME",
            help="A time such as 2024-06-24T12:00:00+07:00, or a position in the log.",
        ),
    ],
    election: ElectionId = "pilkada-2024",
    village: Annotated[
        list[str] | None, typer.Option(help="A village's code; may be given again.")
    ] = None,
    district: Annotated[
        list[str] | None, typer.Option(help="A kecamatan's code; may be given again.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    projections: Address = None,
    token_file: TokenFile = None,
    home: Home = None,
) -> None:
    """Print the tallies of villages exactly as they stood then, and their sum.

    They are by the definition of the election that serves now. Without --village and --district,
    those of the whole area.
    """
    try:
        if as_json and as_csv:
            raise CannotAskError("choose one of --json and --csv")
        with Projections(projections, token_file, home) as asked:
            answer = asked.get((election, "villages"), {"as_of": moment})
        rows = chosen(answer["villages"], village or (), district or ())
    except CannotAskError as error:
        typer.echo(f"cacah as-of: {error}", err=True)
        raise typer.Exit(COULD_NOT_RUN) from None
    if as_json:
        typer.echo(json.dumps({"position": answer["position"], "villages": rows}))
    elif as_csv:
        _print_csv(rows)
    else:
        _print_table(rows, f"{election} as of {moment}: position {answer['position']}")


def chosen(rows: list[Row], villages: Collection[str], districts: Collection[str]) -> list[Row]:
    """The rows of some villages and of those of some districts, of all if none are named.

    Raises CannotAskError for a code of which there is no row.
    """
    for name, codes in (("village", villages), ("district", districts)):
        known = {row[name] for row in rows}
        for code in codes:
            if code not in known:
                raise CannotAskError(f"--{name} {code} is not in the election's area")
    if not villages and not districts:
        return rows
    return [row for row in rows if row["village"] in villages or row["district"] in districts]


def _print_csv(rows: Iterable[Row]) -> None:
    writer = csv.writer(sys.stdout)
    writer.writerow(("village", "name", "district", *Counts._fields))
    for row in rows:
        writer.writerow([row[name] for name in ("village", "name", "district", *Counts._fields)])


def _print_table(rows: list[Row], title: str) -> None:
    console = table_console()
    console.print(title, markup=False)
    # A number that is cut off would be a wrong one: rather fewer columns.
    names = list(SHOWN)
    while not _fits(console, table := _table(rows, names)) and len(names) > 1:
        names.pop()
    console.print(table)


def _fits(console: Console, table: Table) -> bool:
    anything = console.options.update(max_width=UNBOUNDED_WIDTH)
    return Measurement.get(console, anything, table).maximum <= console.width


def _table(rows: list[Row], names: Collection[str]) -> Table:
    table = Table(box=None, pad_edge=False, show_footer=len(rows) > 1)
    table.add_column("village", footer="together", no_wrap=True)
    table.add_column("name", no_wrap=True)
    for name in names:
        total = sum(row[name] for row in rows)
        table.add_column(SHOWN[name], footer=f"{total:,}", justify="right", no_wrap=True)
    for row in rows:
        table.add_row(row["village"], row["name"], *(f"{row[name]:,}" for name in names))
    return table
