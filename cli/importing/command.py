"""The command `cacah import`: reads what was asked for, and says how it ended."""

import re
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console

from cli.importing.delivering import BATCH_ROWS, MAX_BATCH_ROWS
from cli.importing.layouts import Form
from cli.importing.running import REGISTRY_SETTING, TOKEN_SETTING, Options, run
from cli.importing.stopping import ImportStoppedError
from cli.stack import StackError
from cli.up import read_settings
from shared.calendar import office_date
from shared.lists.rows import UnreadableListError
from shared.lists.village_codes import dotted
from shared.regions import village_codes

COULD_NOT_RUN: Final = 2
INTERRUPTED: Final = 130

_STATION: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def import_file(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="CSV, DP4 or XLSX.")],
    form: Annotated[Form | None, typer.Option(help="The form of a file without a header.")] = None,
    mapping: Annotated[
        Path | None, typer.Option(help="A TOML file that says what the columns are.")
    ] = None,
    village: Annotated[
        str | None, typer.Option(help="The village code of all rows, if the file has none.")
    ] = None,
    sheet: Annotated[str | None, typer.Option(help="The sheet of a workbook.")] = None,
    recode: Annotated[
        bool, typer.Option("--recode", help="Replace village codes from before 2020.")
    ] = False,
    recordings: Annotated[
        bool, typer.Option("--recordings", help="Send ktp.recorded where the KTP-el column is S.")
    ] = False,
    recorded_on: Annotated[
        str | None, typer.Option(help="The day of the list, YYYY-MM-DD; else that of the import.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check and report; send nothing.")
    ] = False,
    list_all: Annotated[
        bool, typer.Option("--list-all", help="List every problem, not the first of each kind.")
    ] = False,
    refused: Annotated[
        Path | None, typer.Option(help="Where the refused rows go; else beside the file.")
    ] = None,
    station: Annotated[str | None, typer.Option(help="The code of the station that sends.")] = None,
    registry: Annotated[
        str | None, typer.Option(help=f"Its address; else {REGISTRY_SETTING}, or the local one.")
    ] = None,
    batch: Annotated[
        int,
        typer.Option(
            min=1, max=MAX_BATCH_ROWS, help="Rows in one request; take fewer on a slow line."
        ),
    ] = BATCH_ROWS,
    token_file: Annotated[
        Path | None,
        typer.Option(help=f"Holds the token; else {TOKEN_SETTING}, or the local operator's."),
    ] = None,
    home: Annotated[Path | None, typer.Option(help="The home of the local stack.")] = None,
) -> None:
    """Check a list of residents, and send its good rows to the registry as a station does.

    The same command goes on where an import was stopped; nothing is doubled. Ends with 0 if every
    row was taken, 1 if some were refused, 2 if it could not run.
    """
    console = Console(stderr=True, highlight=False)
    try:
        settings = read_settings()
        options = Options(
            file=file,
            form=form,
            mapping=mapping,
            village=_village(village),
            sheet=sheet,
            recode=recode,
            recordings=recordings,
            recorded_on=_recorded_on(recorded_on),
            dry_run=dry_run,
            list_all=list_all,
            refused=refused,
            station=_station(station, dry_run),
            registry=registry,
            batch_rows=batch,
            token_file=token_file,
            settings=settings.at(home or settings.home),
        )
        status = run(options, console)
    except* (ImportStoppedError, UnreadableListError, StackError) as stopped:
        typer.echo(f"cacah import: {_first(stopped)}", err=True)
        status = COULD_NOT_RUN
    except* OSError as failed:
        error = _first(failed)
        typer.echo(f"cacah import: {error}; put that right, the same command goes on", err=True)
        status = COULD_NOT_RUN
    except* KeyboardInterrupt:
        typer.echo("Stopped; the same command goes on where this ended.", err=True)
        status = INTERRUPTED
    raise typer.Exit(status)


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    found: BaseException = group
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found


def _village(code: str | None) -> str | None:
    if code is None:
        return None
    written = dotted(code) if code.isdigit() and len(code) == 10 else code
    if written not in village_codes():
        raise ImportStoppedError(f"--village {code} is not a village of the national list")
    return written


def _recorded_on(written: str | None) -> date | None:
    if written is None:
        return None
    try:
        day = date.fromisoformat(written)
    except ValueError:
        raise ImportStoppedError("--recorded-on must be a date written YYYY-MM-DD") from None
    if day > office_date(datetime.now(UTC)):
        raise ImportStoppedError("--recorded-on lies after today in Asia/Jakarta")
    return day


def _station(code: str | None, dry_run: bool) -> str | None:
    if code is None and not dry_run:
        raise ImportStoppedError("name the station that sends with --station, such as KRC-01")
    if code is not None and not _STATION.fullmatch(code):
        raise ImportStoppedError("--station must be letters, digits, dots and dashes, up to 64")
    return code
