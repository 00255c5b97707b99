"""The command `cacah compare`: reads a list, has it compared, and says what differs."""

import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Final

import typer
from rich.console import Console

from cli.comparing.listing import (
    FaultyRowsError,
    ListedNik,
    Listing,
    is_by_nik,
    write_listing,
)
from cli.comparing.telling import differs, printed, write_differences
from cli.importing.showing import Showing
from cli.operators_door import OperatorsDoor, RefusedError
from cli.projections import table_console
from cli.stack import StackError, StackSettings
from cli.up import read_settings
from shared.lists.rows import UnreadableListError

AGREES: Final = 0
DIFFERS: Final = 1
COULD_NOT_RUN: Final = 2

MOST_DIFFERENCES: Final = 100_000
CHUNK_BYTES: Final = 256 * 1024
SENTENCES_SHOWN: Final = 20

_ROW: Final = re.compile(r"\brow ([0-9]+)")


@dataclass(frozen=True, slots=True)
class _Asked:
    """What was asked for on the command line."""

    file: Path
    election: str
    query: dict[str, str | int]
    sheet: str | None
    purpose: str | None
    settings: StackSettings


def compare(
    file: Annotated[Path, typer.Argument(metavar="LIST", help="CSV, #-delimited text or XLSX.")],
    election: Annotated[str, typer.Option(help="The election's id.")] = "pilkada-2024",
    as_of: Annotated[
        str | None, typer.Option("--as-of", help="A time or a log position; else now.")
    ] = None,
    sequence: Annotated[
        int | None, typer.Option(min=0, help="The sequence of the feed that the list stands at.")
    ] = None,
    area: Annotated[
        str | None, typer.Option(help="The district or village that the list is of, by its code.")
    ] = None,
    purpose: Annotated[
        str | None, typer.Option(help="What a list by NIK is compared for; it goes to the audit.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Where the differences go as CSV; else beside the list.")
    ] = None,
    sheet: Annotated[str | None, typer.Option(help="The sheet of a workbook.")] = None,
    home: Annotated[Path | None, typer.Option(help="The home of a running stack.")] = None,
) -> None:
    """Compare a list with what the feed has told, and say which change made each difference.

    The list is of persons, by resident_id or NIK and village, or of villages' counts. NIKs go to
    the registry alone. Ends with 0 if nothing differs, 1 if something does, 2 if it could not run.
    """
    progress = Console(stderr=True, highlight=False)
    when = {"as_of": as_of, "sequence": sequence, "area": area, "limit": MOST_DIFFERENCES}
    query = {name: value for name, value in when.items() if value is not None}
    try:
        settings = read_settings()
        asked = _Asked(file, election, query, sheet, purpose, settings.at(home or settings.home))
        answer, unknown = _compared(asked, progress)
        written = out or file.with_name(f"{file.name}.differences.csv")
        write_differences(written, answer, unknown)
    except FaultyRowsError as error:
        _say(error.sentences, "the list cannot be compared; correct these rows")
        raise typer.Exit(COULD_NOT_RUN) from None
    except RefusedError as error:
        _say(error.more, str(error))
        raise typer.Exit(COULD_NOT_RUN) from None
    except (UnreadableListError, StackError, OSError) as error:
        typer.echo(f"cacah compare: {error}", err=True)
        raise typer.Exit(COULD_NOT_RUN) from None
    printed(table_console(), answer, unknown)
    found = differs(answer, unknown)
    if found:
        typer.echo(f"{found:,} differences; {found - answer['left_out']:,} are in {written}")
    raise typer.Exit(DIFFERS if found else AGREES)


def _say(sentences: Sequence[str], heading: str) -> None:
    typer.echo(f"cacah compare: {heading}", err=True)
    for sentence in sentences[:SENTENCES_SHOWN]:
        typer.echo(f"  {sentence}", err=True)
    if len(sentences) > SENTENCES_SHOWN:
        typer.echo(f"  and {len(sentences) - SENTENCES_SHOWN} or more", err=True)


def _compared(asked: _Asked, progress: Console) -> tuple[dict[str, Any], list[ListedNik]]:
    with ExitStack() as stack, tempfile.TemporaryFile() as upload:
        registry = _registry(asked, stack)
        with Showing(progress, "asking the registry" if registry else "reading") as showing:
            listing = write_listing(
                asked.file,
                asked.sheet,
                upload,
                lambda batch: _residents(registry, asked.purpose, batch),
                showing.show,
            )
        size = upload.tell()
        upload.seek(0)
        door = stack.enter_context(OperatorsDoor("notifier", asked.settings))
        with Showing(progress, "comparing") as showing:
            content = _chunks(upload, size, listing, showing)
            try:
                answer = door.upload(
                    f"/v1/elections/{asked.election}/compare", content, **asked.query
                )
            except RefusedError as error:
                raise _renumbered(error, listing.shift) from None
    for each in answer["differences"]:
        if each.get("row") is not None:
            each["row"] -= listing.shift
    return answer, listing.unknown


def _registry(asked: _Asked, stack: ExitStack) -> OperatorsDoor | None:
    """The registry where it has to be asked. Raises StackError, UnreadableListError."""
    if not is_by_nik(asked.file, asked.sheet):
        return None
    if not asked.purpose:
        raise StackError(
            "this is a list by NIK: say with --purpose what it is compared for; each NIK that is"
            " looked up leaves a row with it in the registry's audit"
        )
    return stack.enter_context(OperatorsDoor("registry", asked.settings))


def _residents(
    registry: OperatorsDoor | None, purpose: str | None, batch: Sequence[ListedNik]
) -> list[str | None]:
    assert registry is not None
    assert purpose is not None
    voters = [{"nik": each.nik, "village": each.village} for each in batch]
    answer = registry.post("/v1/voters/resolve", {"purpose": purpose, "voters": voters})
    return [each["resident_id"] for each in answer["voters"]]


def _chunks(file: BinaryIO, size: int, listing: Listing, showing: Showing) -> Iterator[bytes]:
    sent = 0
    while chunk := file.read(CHUNK_BYTES):
        yield chunk
        sent += len(chunk)
        showing.show(listing.rows * sent // size, sent / size)


def _renumbered(error: RefusedError, shift: int) -> RefusedError:
    """What was said of rows, by their numbers in the file."""

    def in_the_file(sentence: str) -> str:
        return _ROW.sub(lambda found: f"row {int(found[1]) - shift}", sentence)

    return RefusedError(in_the_file(str(error)), [in_the_file(each) for each in error.more])
