"""What projections answer: elections and tallies, as JSON and as CSV (contract section 5)."""

import re
from collections.abc import Iterable
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Path, Query, Request, Response

from services.projections import answers
from services.projections.csv_rows import (
    CSV_MEDIA_TYPE,
    ELECTION_COLUMNS,
    POSITION_HEADER,
    csv_text,
    stages_text,
)
from services.projections.domain.tally import coverage, is_untouched, summed, tps_min
from services.projections.electing import election_members
from services.projections.queries import Reading
from services.projections.reader import Reader, invalid, not_found
from shared.access import Role, require
from shared.apart import apart
from shared.counts import Counts
from shared.documenting import KPU, documented
from shared.elections import Election
from shared.problems import ProblemType
from shared.regions import district_of, lies_in, regions
from shared.web import JsonResponse

MAX_POSITION: Final = 2**62
DISTRICT_DOTS: Final = 2
WORD: Final = re.compile("[a-z_]{1,40}")

Row = dict[str, Any]


async def reader_only(request: Request) -> None:
    """Lets KPU and operators read, and refuses a parameter that would be passed over silently."""
    await require(request, Role.KPU)
    known = {parameter.alias for parameter in request.scope["route"].dependant.query_params}
    for name in request.query_params:
        if name not in known:
            # What was sent is not repeated, unless it can be nothing but a word.
            shown = name if WORD.fullmatch(name) else "?"
            raise invalid(shown, f"{shown} is not a parameter of this address; leave it out.")


router = APIRouter(prefix="/v1/elections", dependencies=[Depends(reader_only)])

ElectionId = Annotated[str, Path(alias="id", description="The id of an election.")]
MinPosition = Annotated[
    int | None,
    Query(
        ge=0,
        le=MAX_POSITION,
        description="Wait, up to 10 s, until every event up to this log position is counted.",
    ),
]
AsOf = Annotated[
    str | None,
    Query(
        description="The counts exactly as they stood then, by the definition that serves now: a"
        " log position, or an RFC 3339 time such as 2024-06-24T12:00:00%2B07:00, which means the"
        " last position recorded by then. Not together with min_position.",
    ),
]
_AS_CSV: Final = (
    f" With Accept: text/csv the rows as CSV with a header row, the position in {POSITION_HEADER}."
)
_COUNTS_TEXT: Final = (
    f"The counts are {', '.join(Counts._fields)}; then coverage (eligible_recorded / eligible, null"
    " where nobody is eligible), untouched and tps_min (600 voters a polling station at most, none"
    " of them for two villages)."
)


_READING: Final = (
    ProblemType.INVALID,
    ProblemType.NOT_FOUND,
    ProblemType.NOT_YET,
    ProblemType.UNAVAILABLE,
)


@router.get(
    "",
    summary="All elections",
    description='`{"elections": [{"id", "polling_day", "area", "minimum_age", "first_time_since",'
    ' "stages": [{"name", "from"}], "state"}]}`, sorted by id; `state` is `folding` while a'
    " definition that was put does not serve yet, else `serving`."
    + _AS_CSV.partition(", the position")[0]
    + ".",
)
@documented(KPU, {200: answers.ELECTIONS}, ProblemType.INVALID, ProblemType.UNAVAILABLE)
async def list_elections(request: Request) -> Response:
    rows = [election_members(known) for known in await reader_of(request).elections()]
    if _wants_csv(request):
        return _csv(
            [row | {"stages": stages_text(row["stages"])} for row in rows], ELECTION_COLUMNS
        )
    return JsonResponse({"elections": rows})


@router.get(
    "/{id}",
    summary="One election",
    description="The members of the election in the list of all." + _AS_CSV.partition(", the")[0],
)
@documented(
    KPU,
    {200: answers.ELECTION},
    ProblemType.INVALID,
    ProblemType.NOT_FOUND,
    ProblemType.UNAVAILABLE,
)
async def one_election(request: Request, election_id: ElectionId) -> Response:
    row = election_members(await reader_of(request).known(election_id))
    if _wants_csv(request):
        return _csv([row | {"stages": stages_text(row["stages"])}], ELECTION_COLUMNS)
    return JsonResponse(row)


@router.get(
    "/{id}/villages",
    summary="The tally of every village of an election's area",
    description='`{"position": P, "villages": [{"village": code, "name", "district": code, …}]}`,'
    f" sorted by code, as of the log position P. {_COUNTS_TEXT}{_AS_CSV}",
)
@documented(KPU, {200: answers.VILLAGES}, *_READING)
async def list_villages(
    request: Request,
    election_id: ElectionId,
    district: Annotated[
        str | None, Query(description="Only the villages of this kecamatan, such as 15.01.16.")
    ] = None,
    min_position: MinPosition = None,
    as_of: AsOf = None,
) -> Response:
    election = await reader_of(request).election(election_id)
    if district is not None:
        _check_district(district, election)
    reading = await reader_of(request).tallies(election, min_position, as_of, district)
    # The country's villages take a second, in which counting must go on.
    return await apart(
        len(reading.villages), lambda: _rows(request, reading, "villages", _village_rows(reading))
    )


@router.get(
    "/{id}/villages/{code}",
    summary="The tally of one village",
    description='`{"position": P, "village": code, "name", "district": code, …}`: the members of'
    f" the village's row, and P beside them. {_COUNTS_TEXT}{_AS_CSV}",
)
@documented(KPU, {200: answers.VILLAGE}, *_READING)
async def one_village(
    request: Request,
    election_id: ElectionId,
    code: Annotated[str, Path(description="The code of a village, such as 15.01.01.1004.")],
    min_position: MinPosition = None,
    as_of: AsOf = None,
) -> Response:
    election = await reader_of(request).election(election_id)
    require_village(code, election)
    reading = await reader_of(request).tallies(election, min_position, as_of, code)
    if not reading.villages:
        # It left the area since.
        raise not_found("village", "the election's list of villages has all of its area")
    return _one(request, reading, _village_rows(reading)[0])


@router.get(
    "/{id}/districts",
    summary="The tally of every kecamatan: the sum of its villages",
    description='`{"position": P, "districts": [{"district": code, "name", …}]}`, sorted by code.'
    f" {_COUNTS_TEXT}{_AS_CSV}",
)
@documented(KPU, {200: answers.DISTRICTS}, *_READING)
async def list_districts(
    request: Request,
    election_id: ElectionId,
    min_position: MinPosition = None,
    as_of: AsOf = None,
) -> Response:
    election = await reader_of(request).election(election_id)
    reading = await reader_of(request).tallies(election, min_position, as_of)
    return await apart(
        len(reading.villages), lambda: _rows(request, reading, "districts", _district_rows(reading))
    )


@router.get(
    "/{id}/total",
    summary="The tally of the whole area: the sum of its villages",
    description=f'`{{"position": P, …}}`: the counts with P beside them. {_COUNTS_TEXT}{_AS_CSV}',
)
@documented(KPU, {200: answers.TOTAL}, *_READING)
async def total(
    request: Request,
    election_id: ElectionId,
    min_position: MinPosition = None,
    as_of: AsOf = None,
) -> Response:
    election = await reader_of(request).election(election_id)
    reading = await reader_of(request).tallies(election, min_position, as_of)
    tallies = reading.villages.values()
    row = await apart(len(tallies), lambda: _measured(tallies))
    return _one(request, reading, row)


def reader_of(request: Request) -> Reader:
    """What answers the routes."""
    reader: Reader = request.app.state.reader
    return reader


def require_village(code: str, election: Election) -> None:
    """Raises ProblemError where a code is no village of the election's area."""
    region = regions().get(code)
    if region is None or not region.is_village or not lies_in(code, election.area):
        raise not_found("village", "the election's list of villages has all of its area")


def _check_district(district: str, election: Election) -> None:
    region = regions().get(district)
    is_district = region is not None and district.count(".") == 2
    if not is_district or not (
        lies_in(district, election.area) or lies_in(election.area, district)
    ):
        raise invalid(
            "district", "district must be the code of a kecamatan of the election's area."
        )


def _measured(villages: Iterable[Counts]) -> Row:
    """The counts of some villages together, and what follows from them."""
    tallies = list(villages)
    counts = summed(tallies)
    return counts._asdict() | {
        "coverage": coverage(counts),
        "untouched": is_untouched(counts),
        "tps_min": tps_min(tallies),
    }


def _village_rows(reading: Reading) -> list[Row]:
    return [
        {"village": code, "name": regions()[code].name, "district": district_of(code)}
        | _measured([counts])
        for code, counts in reading.villages.items()
    ]


def _district_rows(reading: Reading) -> list[Row]:
    villages: dict[str, list[Counts]] = {}
    for code, counts in reading.villages.items():
        villages.setdefault(district_of(code), []).append(counts)
    return [
        {"district": code, "name": regions()[code].name} | _measured(tallies)
        for code, tallies in sorted(villages.items())
    ]


def _rows(request: Request, reading: Reading, name: str, rows: list[Row]) -> Response:
    if _wants_csv(request):
        return _csv(rows, rows[0] if rows else (), reading.position)
    return JsonResponse({"position": reading.position, name: rows})


def _one(request: Request, reading: Reading, row: Row) -> Response:
    if _wants_csv(request):
        return _csv([row], row, reading.position)
    return JsonResponse({"position": reading.position} | row)


def _wants_csv(request: Request) -> bool:
    """Whether CSV is named in Accept, and not valued lower than JSON."""
    accepted = _accepted(request.headers.get("accept", ""))
    wanted = accepted.get(CSV_MEDIA_TYPE, 0.0)
    return wanted > 0 and wanted >= accepted.get("application/json", 0.0)


def _accepted(header: str) -> dict[str, float]:
    accepted = {}
    for part in header.split(","):
        media_type, _, parameters = part.partition(";")
        accepted[media_type.strip().lower()] = _quality(parameters)
    return accepted


def _quality(parameters: str) -> float:
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0


def _csv(rows: Iterable[Row], columns: Iterable[str], position: int | None = None) -> Response:
    headers = {} if position is None else {POSITION_HEADER: str(position)}
    return Response(csv_text(rows, columns), media_type=CSV_MEDIA_TYPE, headers=headers)
