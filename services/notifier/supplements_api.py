"""KPU's door for supplements: made, listed, and read as JSON, CSV, XLSX or a page to print."""

import asyncio
import csv
import io
import tempfile
from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime
from typing import Annotated, Any, BinaryIO, Final

import orjson
from fastapi import APIRouter, Path, Request, Response
from fastapi.responses import HTMLResponse, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field, StrictInt

from services.notifier import list_answers, supplement_page, workbook_writing
from services.notifier import supplement_words as words
from services.notifier.domain.supplements import (
    Entry,
    canonical,
    canonical_entries,
    canonical_totals,
)
from services.notifier.feed import Feed
from services.notifier.known_elections import known_election
from services.notifier.list_answers import CSV_TYPE, HTML_TYPE, LINES_TYPE
from services.notifier.supplements import Asked, CannotCloseError, Supplement, Supplements
from services.notifier.workbook_writing import WorkbookWriter
from shared.access import Role, require
from shared.bodies import read_as
from shared.documenting import KPU, Body, documented, json_answer
from shared.documenting import Asked as AskedBody
from shared.problems import Problem, ProblemError, ProblemType
from shared.web import JsonResponse

MOST_SEQUENCE: Final = 10**18
MOST_NUMBER: Final = 2**31 - 1
FILE_CHUNK_BYTES: Final = 256 * 1024
_ADDRESS: Final = "The address of the supplement."

Sequence = Annotated[StrictInt, Field(ge=0, le=MOST_SEQUENCE)]
Number = Annotated[int, Path(ge=1, le=MOST_NUMBER, description="The supplement's number.")]


class NewSupplement(BaseModel):
    """Where the supplement shall end, and the first one begin."""

    model_config = ConfigDict(extra="forbid")

    to_sequence: Sequence | None = None
    from_sequence: Sequence | None = None


def supplement_routes(feed: Feed, supplements: Supplements) -> APIRouter:
    """The routes of supplements."""
    router = APIRouter(prefix="/v1/elections/{election}/supplements")

    @router.post(
        "",
        summary="Close the voters' feed into a numbered supplement",
        description=(
            "From the end of the last one to where the feed is now, or to `to_sequence`. The first"
            " begins at 0, or after the `from_sequence` at which your list stands. Asked for again"
            " it is the same (200); a new one is answered 201. Without its changes."
        ),
    )
    @documented(
        KPU,
        {
            status: json_answer(says, list_answers.Supplement, list_answers.MADE, Location=_ADDRESS)
            for status, says in ((201, "It is made."), (200, "It was there."))
        },
        *(ProblemType.INVALID, ProblemType.TOO_LARGE, ProblemType.NOT_FOUND),
        ProblemType.UNAVAILABLE,
        asked=AskedBody((Body({}, NewSupplement),)),
    )
    async def make(request: Request, election: str) -> Response:
        await require(request, Role.KPU)
        await known_election(feed, election)
        asked = await read_as(request, NewSupplement)
        try:
            made, is_new = await supplements.close(
                election, Asked(asked.from_sequence, asked.to_sequence), datetime.now(UTC)
            )
        except CannotCloseError as error:
            raise ProblemError(Problem(ProblemType.INVALID, error.detail, error.field)) from None
        address = f"/v1/elections/{election}/supplements/{made.head.number}"
        members = _members(made) | {"villages": [total._asdict() for total in made.totals]}
        return JsonResponse(members, 201 if is_new else 200, {"Location": address})

    @router.get("", summary="The supplements of an election")
    @documented(
        KPU,
        {200: json_answer("All of them.", list_answers.Supplements, list_answers.SUPPLEMENTS)},
        *(ProblemType.NOT_FOUND, ProblemType.UNAVAILABLE),
    )
    async def every(request: Request, election: str) -> JsonResponse:
        await require(request, Role.KPU)
        await known_election(feed, election)
        found = await supplements.all(election)
        return JsonResponse({"supplements": [_members(each) for each in found]})

    @router.get(
        "/{number}",
        summary="A supplement with its changes",
        description=(
            "JSON; with Accept `text/csv` its changes, with"
            f" `{workbook_writing.MEDIA_TYPE}` a workbook, with `text/html` a page to print (up to"
            f" {supplement_page.MOST_CHANGES:,} changes), with `{LINES_TYPE}` the canonical"
            " content, whose SHA-256 is the supplement's hash."
        ),
    )
    @documented(
        KPU,
        {200: list_answers.WHOLE},
        *(ProblemType.INVALID, ProblemType.TOO_LARGE, ProblemType.NOT_FOUND),
        ProblemType.UNAVAILABLE,
    )
    async def one(request: Request, election: str, number: Number) -> Response:
        await require(request, Role.KPU)
        await known_election(feed, election)
        supplement = await supplements.one(election, number)
        if supplement is None:
            raise ProblemError(
                Problem(
                    ProblemType.NOT_FOUND,
                    "There is no such supplement; GET .../supplements lists those there are.",
                )
            )
        return await _served(request, supplements, supplement)

    return router


def _members(supplement: Supplement) -> dict[str, Any]:
    return {
        **supplement.head._asdict(),
        "hash": supplement.hash,
        "changes": supplement.changes,
        "voters_before": sum(total.before for total in supplement.totals),
        "voters_after": sum(total.after for total in supplement.totals),
    }


async def _served(request: Request, supplements: Supplements, supplement: Supplement) -> Response:
    accepted = request.headers.get("accept", "")
    pages = supplements.entries(supplement)
    headers = {"X-Cacah-Hash": supplement.hash}
    if CSV_TYPE in accepted:
        headers |= _named(supplement, "csv")
        return StreamingResponse(_csv(supplement, pages), media_type=CSV_TYPE, headers=headers)
    if workbook_writing.MEDIA_TYPE in accepted:
        _require_fewer(supplement, workbook_writing.MOST_ROWS - 1, "a workbook")
        headers |= _named(supplement, "xlsx")
        return StreamingResponse(
            _workbook(supplement, pages), media_type=workbook_writing.MEDIA_TYPE, headers=headers
        )
    if HTML_TYPE in accepted:
        return await _page(supplement, pages, headers)
    if LINES_TYPE in accepted:
        return StreamingResponse(_lines(supplement, pages), media_type=LINES_TYPE, headers=headers)
    return StreamingResponse(
        _json(supplement, pages), media_type="application/json", headers=headers
    )


def _named(supplement: Supplement, ending: str) -> dict[str, str]:
    head = supplement.head
    name = f"suplemen-{head.election}-{head.number}.{ending}"
    return {"Content-Disposition": f'attachment; filename="{name}"'}


async def _lines(supplement: Supplement, pages: AsyncIterator[list[Entry]]) -> AsyncIterator[bytes]:
    yield canonical(supplement.head._asdict())
    async for page in pages:
        yield await asyncio.to_thread(canonical_entries, page)
    yield canonical_totals(supplement.totals)


async def _json(supplement: Supplement, pages: AsyncIterator[list[Entry]]) -> AsyncIterator[bytes]:
    head = orjson.dumps(
        supplement.head._asdict() | {"hash": supplement.hash}, option=orjson.OPT_UTC_Z
    )
    villages = orjson.dumps([total._asdict() for total in supplement.totals])
    yield head[:-1] + b',"villages":' + villages + b',"changes":['
    separator = b""
    async for page in pages:
        yield separator + (await asyncio.to_thread(_json_entries, page))
        separator = b","
    yield b"]}"


def _json_entries(page: list[Entry]) -> bytes:
    entries = [entry._asdict() for entry in page]
    return orjson.dumps(entries, option=orjson.OPT_UTC_Z)[1:-1]


_CSV_COLUMNS: Final = (
    *("number", "sequence", "kind", "resident_id", "from_village", "to_village", "reason"),
    *("position", "time", "stage"),
)


async def _csv(supplement: Supplement, pages: AsyncIterator[list[Entry]]) -> AsyncIterator[str]:
    yield _csv_text([_CSV_COLUMNS])
    async for page in pages:
        yield await asyncio.to_thread(_csv_entries, supplement.head.number, page)


def _csv_entries(number: int, page: list[Entry]) -> str:
    return _csv_text(
        (
            *(number, e.sequence, e.kind, e.voter, e.from_village, e.to_village, e.reason),
            *(e.position, e.time.astimezone(UTC).isoformat().replace("+00:00", "Z"), e.stage),
        )
        for e in page
    )


def _csv_text(rows: Iterable[Iterable[Any]]) -> str:
    written = io.StringIO()
    csv.writer(written).writerows(rows)
    return written.getvalue()


async def _page(
    supplement: Supplement, pages: AsyncIterator[list[Entry]], headers: dict[str, str]
) -> Response:
    _require_fewer(supplement, supplement_page.MOST_CHANGES, "a page to print")
    entries = [entry async for page in pages for entry in page]
    body = await asyncio.to_thread(supplement_page.page, supplement, entries)
    policy = {"Content-Security-Policy": supplement_page.POLICY}
    return HTMLResponse(body, headers=headers | policy)


async def _workbook(
    supplement: Supplement, pages: AsyncIterator[list[Entry]]
) -> AsyncIterator[bytes]:
    """A workbook is written whole before its first byte goes out: a zip begins at its end."""
    with tempfile.TemporaryFile() as file:
        writer = await asyncio.to_thread(_begin_workbook, file, supplement)
        async for page in pages:
            await asyncio.to_thread(writer.rows, [_sheet_row(entry) for entry in page])
        await asyncio.to_thread(writer.close)
        file.seek(0)
        while chunk := await asyncio.to_thread(file.read, FILE_CHUNK_BYTES):
            yield chunk


def _begin_workbook(file: BinaryIO, supplement: Supplement) -> WorkbookWriter:
    head = supplement.head
    writer = WorkbookWriter(file, ("Suplemen", "Desa", "Perubahan"))
    writer.sheet((f"Suplemen Daftar Pemilih Nomor {head.number}", ""), (44, 70))
    writer.rows(
        (
            ("Pemilihan", head.election),
            ("Tanggal", words.day(head.made_at)),
            ("Dibuat", words.moment(head.made_at)),
            ("Sesudah urutan", head.from_sequence),
            ("Sampai urutan", head.to_sequence),
            ("Urutan desa sesudah", head.villages_from),
            ("Urutan desa sampai", head.villages_to),
            ("SHA-256", supplement.hash),
            ("SHA-256 suplemen sebelumnya", head.previous_hash),
        )
    )
    titles = ("Kode", "Desa/kelurahan", *words.TOTALS)
    writer.sheet(titles, (15, 28, 12, 12, 12, 14, 14, 12))
    writer.rows((t.village, words.village_name(t.village), *t[1:]) for t in supplement.totals)
    writer.sheet(
        ("Urutan", "Perubahan", "resident_id", "Dari desa", "Ke desa", "Sebab", "Waktu", "Tahapan"),
        (10, 13, 38, 15, 15, 28, 22, 12),
    )
    return writer


def _sheet_row(entry: Entry) -> tuple[workbook_writing.Cell, ...]:
    return (
        entry.sequence,
        words.KINDS[entry.kind],
        entry.voter,
        entry.from_village,
        entry.to_village,
        words.reason(entry),
        words.moment(entry.time),
        entry.stage,
    )


def _require_fewer(supplement: Supplement, most: int, form: str) -> None:
    if supplement.changes > most:
        raise ProblemError(
            Problem(
                ProblemType.TOO_LARGE,
                f"The supplement has {supplement.changes:,} changes, {form} at most {most:,}; take"
                f" it as CSV with Accept: {CSV_TYPE}.",
            )
        )
