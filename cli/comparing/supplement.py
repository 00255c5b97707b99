"""The commands `cacah supplement`: make one, list and fetch them, and apply them to a list."""

import csv
import hashlib
import tempfile
from collections.abc import Sequence
from enum import StrEnum
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple, NoReturn
from uuid import UUID

import orjson
import typer
from rich.table import Table
from rich.text import Text

from cli.operators_door import OperatorsDoor
from cli.projections import table_console
from cli.stack import StackError
from cli.up import read_settings
from services.notifier.domain.supplements import (
    Entry,
    Head,
    Misfit,
    Total,
    apply,
    canonical,
    canonical_entries,
    canonical_totals,
)
from services.notifier.lists import NAME, FaultyListError, PersonList, read_list
from services.notifier.workbook_writing import MEDIA_TYPE
from shared.lists.rows import UnreadableListError
from shared.region_codes import COUNTRY

COULD_NOT_RUN: Final = 2

app = typer.Typer(help="Numbered supplements of the voters' feed.", no_args_is_help=True)

Home = Annotated[Path | None, typer.Option(help="The home of a running stack.")]
ElectionId = Annotated[str, typer.Option("--election", help="The election's id.")]


class Form(StrEnum):
    """What a supplement is fetched as."""

    JSON = "json"
    CSV = "csv"
    XLSX = "xlsx"
    HTML = "html"
    LINES = "ndjson"


_ACCEPT: Final = {
    Form.JSON: "application/json",
    Form.CSV: "text/csv",
    Form.XLSX: MEDIA_TYPE,
    Form.HTML: "text/html",
    Form.LINES: "application/x-ndjson",
}


class CannotApplyError(Exception):
    """Why a list cannot be brought up to date, in one sentence that says what to do."""


class Document(NamedTuple):
    """A supplement as it was fetched, its hash proved; its times are as they were written."""

    head: Head
    hash: str
    entries: list[Entry]


@app.command()
def make(
    election: ElectionId = "pilkada-2024",
    to_sequence: Annotated[
        int | None, typer.Option("--to", min=1, help="Its last sequence; else the feed's.")
    ] = None,
    from_sequence: Annotated[
        int | None, typer.Option("--from", min=0, help="Where the list stands, for the first one.")
    ] = None,
    home: Home = None,
) -> None:
    """Close the voters' feed into the next supplement. Asked for again it is the same."""
    asked = {"to_sequence": to_sequence, "from_sequence": from_sequence}
    body = {name: value for name, value in asked.items() if value is not None}
    try:
        with _notifier(home) as door:
            made = door.post(f"/v1/elections/{election}/supplements", body)
    except StackError as error:
        _refuse("make", error)
    typer.echo(
        f"Supplement {made['number']}: {made['changes']:,} changes after sequence"
        f" {made['from_sequence']:,} up to {made['to_sequence']:,};"
        f" {made['voters_before']:,} voters before, {made['voters_after']:,} after.\n"
        f"SHA-256 {made['hash']}"
    )


@app.command("list")
def list_all(election: ElectionId = "pilkada-2024", home: Home = None) -> None:
    """List the supplements of an election."""
    try:
        with _notifier(home) as door:
            found = door.get(f"/v1/elections/{election}/supplements")["supplements"]
    except StackError as error:
        _refuse("list", error)
    columns = ("number", "made at (UTC)", "after", "up to", "changes", "voters", "SHA-256")
    table = Table(*columns, box=None, pad_edge=False)
    for each in found:
        table.add_row(*map(Text, _row(each)))
    if found:
        table_console().print(table)
    typer.echo(f"{len(found):,} supplements.")


@app.command()
def get(
    number: Annotated[int, typer.Argument(min=1, metavar="NUMBER")],
    out: Annotated[Path, typer.Argument(metavar="FILE", help="Where it goes.")],
    form: Annotated[Form | None, typer.Option("--as", help="Else by the file's ending.")] = None,
    election: ElectionId = "pilkada-2024",
    home: Home = None,
) -> None:
    """Fetch a supplement into a file: JSON, CSV, XLSX, a page to print, or what its hash covers."""
    try:
        wanted = form or Form(out.suffix[1:].lower())
    except ValueError:
        _refuse("get", f"say with --as what {out} shall be: {', '.join(Form)}")
    try:
        with _notifier(home) as door, out.open("wb") as file:
            door.download(f"/v1/elections/{election}/supplements/{number}", _ACCEPT[wanted], file)
    except StackError as error:
        out.unlink(missing_ok=True)
        _refuse("get", error)
    except OSError as error:
        _refuse("get", f"{out} cannot be written: {error.strerror}")
    typer.echo(f"Supplement {number} is in {out}")


@app.command("apply")
def apply_to_list(
    file: Annotated[Path, typer.Argument(metavar="LIST", help="With resident_id and village.")],
    supplements: Annotated[
        list[Path], typer.Argument(metavar="SUPPLEMENT…", help="As JSON, in order.")
    ],
    out: Annotated[Path, typer.Option(help="Where the new list goes, as CSV.")],
) -> None:
    """Bring a list up to date by supplements, each proved by its hash. Asks no service."""
    try:
        voters = _read_voters(file)
        before = len(voters)
        documents = [_read_document(path) for path in supplements]
        _require_chain(documents)
        for document in documents:
            voters = _applied(voters, document)
        _write_voters(out, voters)
    except (CannotApplyError, UnreadableListError, OSError) as error:
        _refuse("apply", error)
    last = documents[-1].head
    typer.echo(
        f"{before:,} voters became {len(voters):,}, as the feed had told up to sequence"
        f" {last.to_sequence:,}; the new list is {out}"
    )


def _notifier(home: Path | None) -> OperatorsDoor:
    settings = read_settings()
    return OperatorsDoor("notifier", settings.at(home or settings.home))


def _refuse(command: str, error: object) -> NoReturn:
    typer.echo(f"cacah supplement {command}: {error}", err=True)
    raise typer.Exit(COULD_NOT_RUN)


def _row(each: dict[str, Any]) -> tuple[str, ...]:
    return (
        str(each["number"]),
        str(each["made_at"])[:16].replace("T", " "),
        f"{each['from_sequence']:,}",
        f"{each['to_sequence']:,}",
        f"{each['changes']:,}",
        f"{each['voters_after']:,}",
        str(each["hash"]),
    )


def _read_voters(path: Path) -> dict[UUID, str]:
    """The village of each voter of a list, in its order. Raises CannotApplyError."""
    with tempfile.TemporaryFile() as rows:
        try:
            read = read_list(path, COUNTRY, None, rows)
        except FaultyListError as error:
            raise CannotApplyError(f"{path}: {error.faults[0].sentence}") from None
        except UnreadableListError as error:
            raise CannotApplyError(str(error).replace(NAME, str(path), 1)) from None
        if not isinstance(read, PersonList):
            raise CannotApplyError(f"{path} has no column resident_id; a supplement is of persons")
        rows.seek(0)
        voters: dict[UUID, str] = {}
        for line in rows:
            number, voter, village = line.decode().rstrip("\n").split("\t")
            who = UUID(voter)
            if who in voters:
                raise CannotApplyError(f"{path}: row {number}, resident_id: is listed twice")
            voters[who] = village
    return voters


def _read_document(path: Path) -> Document:
    """A supplement whose hash is that of its content. Raises CannotApplyError."""
    try:
        members = orjson.loads(path.read_bytes())
        head = Head(**{name: members[name] for name in Head._fields})
        entries = [Entry(**change) for change in members["changes"]]
        totals = [Total(**total) for total in members["villages"]]
        told = str(members["hash"])
    except (orjson.JSONDecodeError, LookupError, TypeError):
        raise CannotApplyError(
            f"{path} is no supplement as JSON; fetch it with `cacah supplement get`"
        ) from None
    content = hashlib.sha256(canonical(head._asdict()))
    content.update(canonical_entries(entries))
    content.update(canonical_totals(totals))
    if content.hexdigest() != told:
        raise CannotApplyError(
            f"{path} is not as it was made: its content does not have its hash; fetch it again"
        )
    return Document(head, told, entries)


def _require_chain(documents: Sequence[Document]) -> None:
    for earlier, later in pairwise(documents):
        if later.head.previous_hash != earlier.hash:
            raise CannotApplyError(
                f"supplement {later.head.number} does not follow supplement"
                f" {earlier.head.number}; give all of them in order"
            )


def _applied(voters: dict[UUID, str], document: Document) -> dict[UUID, str]:
    taken = apply(voters, ((UUID(entry.voter), entry) for entry in document.entries))
    if isinstance(taken, Misfit):
        entry = taken.entry
        raise CannotApplyError(
            f"the list is not the one that supplement {document.head.number} follows: sequence"
            f" {entry.sequence} finds {entry.voter} in {taken.listed or 'no village'}, not in"
            f" {entry.from_village or 'no village'}; compare it with `cacah compare"
            f" --sequence {document.head.from_sequence}`"
        )
    return taken


def _write_voters(path: Path, voters: dict[UUID, str]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("resident_id", "village"))
        writer.writerows(voters.items())
