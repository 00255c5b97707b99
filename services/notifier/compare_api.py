"""KPU's door for its own list: uploaded, compared with what the feed has told, answered."""

import asyncio
import csv
import io
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Final

from fastapi import APIRouter, Query, Request, Response

from services.notifier import list_answers
from services.notifier.comparing import Comparing, PersonDifference, PersonsCompared, Twice
from services.notifier.difference_rows import columns_of, rows_of
from services.notifier.domain.comparing import by_village, count_differences, differs
from services.notifier.feed import ElectionFeed, Feed
from services.notifier.known_elections import known_election
from services.notifier.list_answers import CSV_TYPE
from services.notifier.lists import (
    MOST_FAULTS,
    MOST_ROWS,
    RESIDENT,
    CountList,
    FaultyListError,
    PersonList,
    RowFault,
    TooManyRowsError,
    read_list,
)
from services.notifier.uploads import MOST_BYTES, Uploads
from shared.access import Role, require
from shared.as_of import Moment, UnreadableMomentError, read_moment
from shared.documenting import KPU, documented
from shared.event_log import BeyondTheLogError
from shared.lists.rows import UnreadableListError
from shared.problems import Problem, ProblemError, ProblemType
from shared.region_codes import COUNTRY, district_of, lies_in
from shared.regions import exists, regions
from shared.web import JsonResponse

DEFAULT_LIMIT: Final = 10_000
MOST_DIFFERENCES: Final = 100_000

AsOf = Annotated[
    str | None,
    Query(
        description="Compare with what had been told then: by an RFC 3339 time, or before the"
        " first change with a position beyond this log position."
    ),
]
AtSequence = Annotated[
    int | None,
    Query(
        ge=0,
        le=2**62,
        description="Compare with what the feed had told up to this sequence: of the voters' feed"
        " for a list of persons, of the villages' for one of counts.",
    ),
]
Area = Annotated[
    str | None,
    Query(
        description="The list is of this district or village alone, by its code; else of the"
        " election's area."
    ),
]
Sheet = Annotated[str | None, Query(description="The sheet of a workbook; else its first.")]
Limit = Annotated[
    int,
    Query(ge=1, le=MOST_DIFFERENCES, description="The most differences in the answer."),
]


def compare_routes(feed: Feed, comparing: Comparing) -> APIRouter:
    """The route of a comparison."""
    router = APIRouter(prefix="/v1/elections/{election}")
    uploads = Uploads()

    @router.post(
        "/compare",
        summary="Compare a list with what the feed has told",
        description=(
            "The body is the list: CSV, text delimited by #, or XLSX, up to"
            f" {MOST_BYTES // 2**20} MiB and {MOST_ROWS:,} rows, with a header. Of persons:"
            " `resident_id` and `village`; or of counts: `village` and any of the counts' names."
            " The answer has each difference with the change that made it. With Accept: text/csv"
            " the differences as CSV."
        ),
    )
    @documented(
        KPU,
        {200: list_answers.COMPARED},
        *(ProblemType.INVALID, ProblemType.TOO_LARGE, ProblemType.NOT_FOUND),
        *((ProblemType.INVALID, 408), (ProblemType.INVALID, 415)),
        *(ProblemType.RATE_LIMITED, ProblemType.UNAVAILABLE),
        asked=list_answers.LIST,
    )
    async def compare(
        request: Request,
        election: str,
        as_of: AsOf = None,
        sequence: AtSequence = None,
        area: Area = None,
        sheet: Sheet = None,
        limit: Limit = DEFAULT_LIMIT,
    ) -> Response:
        await require(request, Role.KPU)
        known = await known_election(feed, election)
        moment = _moment(as_of, sequence)
        compared = _area(area, known)
        comparison = _Comparison(feed, comparing, known, moment, sequence, compared, limit)
        async with uploads.taken(request) as path, uploads.turn:
            with tempfile.TemporaryFile() as persons:
                read = await asyncio.to_thread(_read, path, compared, sheet, persons)
                return await comparison.answer(request, read, persons)

    return router


def _read(path: Path, area: str, sheet: str | None, persons: BinaryIO) -> PersonList | CountList:
    """The list, or the ProblemError that says what is wrong with it."""
    try:
        found = read_list(path, area, sheet, persons)
    except UnreadableListError as error:
        raise _invalid("body", f"{error}.") from None
    except FaultyListError as error:
        raise _faulty(error.faults) from None
    except TooManyRowsError:
        raise ProblemError(
            Problem(
                ProblemType.TOO_LARGE,
                f"The list has more than {MOST_ROWS:,} rows; send it district by district with"
                " ?area=.",
                "body",
            )
        ) from None
    persons.seek(0)
    return found


@dataclass(frozen=True, slots=True)
class _Comparison:
    """One comparison: what was asked for, and the answer to it."""

    feed: Feed
    comparing: Comparing
    known: ElectionFeed
    moment: Moment | None
    sequence: int | None
    area: str
    limit: int

    async def answer(
        self, request: Request, read: PersonList | CountList, persons: BinaryIO
    ) -> Response:
        members = (
            await self._counts(read)
            if isinstance(read, CountList)
            else await self._persons(read, persons)
        )
        wants_csv = CSV_TYPE in request.headers.get("accept", "")
        # In a thread: many differences would hold up the streams.
        return await asyncio.to_thread(_csv if wants_csv else JsonResponse, members)

    async def _persons(self, read: PersonList, persons: BinaryIO) -> dict[str, Any]:
        election, comparing = self.known.election, self.comparing
        try:
            end = await comparing.voters_end(election, self.moment)
        except BeyondTheLogError as error:
            raise _invalid("as_of", f"as_of {error}") from None
        sequence = self._at(end or 0)
        async with comparing.listing(persons) as connection:
            if doubles := await comparing.doubles(connection, MOST_FAULTS):
                raise _faulty([_twice(double) for double in doubles])
            compared = await comparing.persons(
                connection, election, sequence, self.area, self.limit
            )
        head = self._head("persons", sequence, read.rows)
        return head | await asyncio.to_thread(_person_members, compared, self.area)

    async def _counts(self, read: CountList) -> dict[str, Any]:
        election = self.known.election
        sequence = self._at(await self._villages_end())
        told = await self.comparing.counts_at(election, sequence)
        here = {code: counts for code, counts in told.items() if lies_in(code, self.area)}
        found = await asyncio.to_thread(count_differences, read.villages, here, read.counts)
        shown = found[: self.limit]
        explained = await self.comparing.explain_counts(election, sequence, shown)
        differences = []
        for each in shown:
            why = explained.get((each.village, each.count))
            differences.append(
                _village(each.village)
                | {"count": each.count, "listed": each.listed, "told": each.told}
                | {"change": why.change if why else None}
                | {"later_changes": why.later_changes if why else 0}
            )
        head = self._head("counts", sequence, len(read.villages)) | {"counts": read.counts}
        return head | {"differences": differences, "left_out": len(found) - len(shown)}

    def _head(self, kind: str, sequence: int, rows: int) -> dict[str, Any]:
        return {
            "election": self.known.election,
            "list": kind,
            "area": self.area,
            "sequence": sequence,
            "rows": rows,
        }

    async def _villages_end(self) -> int:
        if self.moment is None:
            return self.known.sequence
        try:
            taken = await self.feed.snapshot_as_of(self.known.election, self.moment)
        except BeyondTheLogError as error:
            raise _invalid("as_of", f"as_of {error}") from None
        return taken.head.sequence if taken else 0

    def _at(self, end: int) -> int:
        if self.sequence is None:
            return end
        if self.sequence > end:
            raise _invalid(
                "sequence", f"sequence lies beyond the end of this feed, which is {end}."
            )
        return self.sequence


def _moment(as_of: str | None, sequence: int | None) -> Moment | None:
    if as_of is None:
        return None
    if sequence is not None:
        raise _invalid("sequence", "Give as_of or sequence, not both: each says when.")
    try:
        return read_moment(as_of)
    except UnreadableMomentError as error:
        raise _invalid("as_of", f"as_of {error}") from None


def _area(area: str | None, known: ElectionFeed) -> str:
    whole = known.area or COUNTRY
    if area is None:
        return whole
    if not exists(area) or not lies_in(area, whole):
        raise _invalid("area", f"area must be the code of a region in {whole}, such as 15.01.16.")
    return area


def _twice(double: Twice) -> RowFault:
    return RowFault(double.row, RESIDENT, f"is that of row {double.first} already")


def _faulty(faults: list[RowFault]) -> ProblemError:
    first, *more = [(f"rows.{fault.row}.{fault.column}", fault.sentence) for fault in faults]
    number = f"{len(faults)} or more" if len(faults) >= MOST_FAULTS else str(len(faults))
    detail = f"{first[1]}. Rows that cannot be compared: {number}; correct the list and send it"
    return ProblemError(
        Problem(ProblemType.INVALID, f"{detail} again.", first[0], more=tuple(more))
    )


def _invalid(field: str, detail: str) -> ProblemError:
    return ProblemError(Problem(ProblemType.INVALID, detail, field))


def _village(code: str) -> dict[str, str]:
    region = regions().get(code)
    return {
        "village": code,
        "name": region.name if region else code,
        "district": district_of(code),
    }


def _person_members(compared: PersonsCompared, area: str) -> dict[str, Any]:
    villages = by_village(compared.listed, compared.pairs)
    found = sum(pair.persons for pair in compared.pairs)
    return {
        "agree": sum(village.listed for village in villages.values())
        - sum(pair.persons for pair in compared.pairs if pair.listed is not None),
        "missing": sum(village.missing for village in villages.values()),
        "superfluous": sum(village.superfluous for village in villages.values()),
        "in_another_village": sum(village.votes_elsewhere for village in villages.values()),
        "villages": [
            _village(code)
            | {
                "listed": village.listed,
                "told": village.told,
                "missing": village.missing,
                "superfluous": village.superfluous,
                "votes_elsewhere": village.votes_elsewhere,
                "listed_elsewhere": village.listed_elsewhere,
            }
            for code, village in sorted(villages.items())
            if lies_in(code, area)
        ],
        "differences": [_person_difference(each) for each in compared.differences],
        "left_out": found - len(compared.differences),
    }


def _person_difference(each: PersonDifference) -> dict[str, Any]:
    return {
        "difference": differs(each.listed, each.told),
        "row": each.row,
        "resident_id": each.voter,
        "listed_village": each.listed,
        "village": each.told,
        "change": each.change,
        "later_changes": each.later_changes,
    }


def _csv(members: dict[str, Any]) -> Response:
    """The differences alone."""
    columns = columns_of(members["list"])
    written = io.StringIO()
    writer = csv.writer(written)
    writer.writerow(columns)
    writer.writerows(rows_of(members["differences"], columns))
    return Response(
        written.getvalue(),
        media_type=CSV_TYPE,
        headers={
            "X-Cacah-Sequence": str(members["sequence"]),
            "X-Cacah-Left-Out": str(members["left_out"]),
        },
    )
