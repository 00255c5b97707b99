"""The registry's public door: sending events, reading the log, the stations."""

import asyncio
import zlib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import orjson
from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncEngine

from services.registry import answers, log, republishing
from services.registry.appending import Appender, NotCommittedError, TooMuchWaitingError
from services.registry.domain.deciding import Answer, Outcome
from services.registry.domain.reading import Unfit, made_out, read_batch, read_event
from services.registry.domain.submissions import MAX_EVENT_BYTES, Arrival, arrive, printable
from services.registry.event_shapes import SentEvent
from services.registry.republishing import Republication
from services.registry.vault import Vault
from shared.access import Principal, Role, require
from shared.bodies import MAX_BODY_BYTES, invalid, parse, read_body
from shared.documenting import (
    OPERATORS,
    STATIONS,
    Asked,
    Body,
    Reply,
    documented,
    json_answer,
)
from shared.event_log import last_position, read_log
from shared.events.records import served
from shared.pieces import in_pieces
from shared.problems import Problem, ProblemError, ProblemType
from shared.web import JsonResponse, problem_response

router = APIRouter()

SINGLE: Final = "application/cloudevents+json"
BATCH: Final = "application/cloudevents-batch+json"
MAX_BATCH: Final = 5_000
MAX_LOG_PAGE: Final = 10_000
DEFAULT_LOG_PAGE: Final = 1_000
MISSING_SHOWN: Final = 1_000

Batch = Annotated[list[SentEvent], Field(min_length=1, max_length=MAX_BATCH)]

_SENT: Final = Asked(
    (
        Body(answers.REGISTRATION, SentEvent, SINGLE),
        Body([answers.REGISTRATION, answers.RECORDING], Batch, BATCH),
    ),
    f"At most {MAX_BODY_BYTES} bytes, unpacked, and {MAX_EVENT_BYTES} for one event;"
    " `Content-Encoding: gzip` is welcome.",
)
_ONE_OR_ALL: Final = {"one": answers.DUPLICATE, "batch": answers.RESULTS}
_SENDING: Final = {
    200: Reply(
        "A duplicate: the same `source` and `id` with the same content came before. Or a batch:"
        " one result for each event.",
        (Body(_ONE_OR_ALL, answers.Result | answers.Results, named=True),),
    ),
    201: json_answer("Accepted, at `position` of the log.", answers.Result, answers.ACCEPTED),
    202: json_answer("Parked: it waits for another event.", answers.Result, answers.PARKED_RESULT),
}
# Of one event alone; in a batch the later ones stand in the results.
_REFUSED: Final = (
    ProblemType.RATE_LIMITED,
    ProblemType.TOO_LARGE,
    ProblemType.INVALID,
    (ProblemType.INVALID, 415),
    ProblemType.ID_REUSED,
    ProblemType.IN_THE_FUTURE,
    ProblemType.UNKNOWN_VILLAGE,
    ProblemType.UNKNOWN_EVENT,
    ProblemType.NOT_RETRACTABLE,
    ProblemType.ALREADY_REGISTERED,
    ProblemType.DECEASED,
    ProblemType.TOO_YOUNG,
    ProblemType.UNAVAILABLE,
)

STATUS: Final = {Outcome.ACCEPTED: 201, Outcome.DUPLICATE: 200, Outcome.PARKED: 202}


@router.post(
    "/v1/events",
    summary="Send one event, or a batch",
    description=(
        f"Body: one CloudEvent as {SINGLE}, or an array of up to 5,000 as {BATCH};"
        " Content-Encoding gzip is welcome. One event is answered 201 accepted, 200 duplicate,"
        " 202 parked, or a problem; a batch always 200 with one result for each event."
    ),
)
@documented(STATIONS, _SENDING, *_REFUSED, asked=_SENT)
async def send_events(request: Request) -> Response:
    principal = await require(request, Role.STATION)
    media_type = _media_type(request)
    body = await read_body(request)
    received_at = datetime.now(UTC)
    unpacked = _unpack(body, request)
    if media_type == SINGLE:
        answer = (await _take(request, principal, [_event(unpacked)], received_at))[0]
        return _single(answer)
    answers = await _take(request, principal, await _events(unpacked), received_at)
    return JsonResponse({"results": [_result(answer) for answer in answers]})


def _media_type(request: Request) -> str:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type not in (SINGLE, BATCH):
        raise ProblemError(
            Problem(
                ProblemType.INVALID,
                f"Content-Type must be {SINGLE} or {BATCH}.",
                "content-type",
                status=415,
            )
        )
    return media_type


def _too_large() -> ProblemError:
    return ProblemError(
        Problem(
            ProblemType.TOO_LARGE,
            f"A request may have {MAX_BATCH} events and {MAX_BODY_BYTES} bytes, unpacked, at most;"
            " send it in smaller batches.",
            "body",
        )
    )


def _unpack(body: bytes, request: Request) -> bytes:
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding in ("", "identity"):
        return body
    if encoding != "gzip":
        raise ProblemError(
            Problem(
                ProblemType.INVALID,
                "Content-Encoding must be gzip, or left out.",
                "content-encoding",
                status=415,
            ),
            {"Accept-Encoding": "gzip"},
        )
    unpacker = zlib.decompressobj(wbits=31)
    try:
        unpacked = unpacker.decompress(body, MAX_BODY_BYTES)
        if unpacker.unconsumed_tail:
            raise _too_large()
        unpacked += unpacker.flush()
    except zlib.error:
        raise invalid("body", "is not gzip; send it again as Content-Encoding says") from None
    if not unpacker.eof or unpacker.unused_data:
        raise invalid("body", "is not one whole gzip stream; send it again")
    return unpacked


def _event(body: bytes) -> Any:
    event = read_event(body)
    # What cannot have a name is told where it stops being JSON.
    is_nameless = isinstance(event, Unfit) and made_out(event) is None
    return parse(body) if is_nameless else event


async def _events(body: bytes) -> list[Any]:
    try:
        events = orjson.loads(body)
    except orjson.JSONDecodeError:
        # In a thread, for it takes a while; what is no array is told where it stops being JSON.
        events = await asyncio.to_thread(read_batch, body) or parse(body)
    if not isinstance(events, list):
        raise invalid("body", "must be an array of events for this Content-Type")
    if len(events) > MAX_BATCH:
        raise _too_large()
    return events


async def _take(
    request: Request, principal: Principal, events: list[Any], received_at: datetime
) -> list[Answer]:
    """Read, decide and commit; the answers in the order of the events."""
    arrived = await _arrive(events, principal, request.app.state.vault)
    readable = [one for one in arrived if isinstance(one, Arrival)]
    appender: Appender = request.app.state.appender
    sender = f"{principal.role}:{principal.name}"
    try:
        decided = iter(await appender.submit(readable, sender, received_at) if readable else [])
    except TooMuchWaitingError:
        raise ProblemError(
            Problem(
                ProblemType.RATE_LIMITED, "The registry has much to decide; send it again shortly."
            ),
            {"Retry-After": "1"},
        ) from None
    except NotCommittedError:
        raise ProblemError(
            Problem(
                ProblemType.UNAVAILABLE,
                "The registry could not confirm; send the same events again, nothing is doubled.",
            ),
            {"Retry-After": "1"},
        ) from None
    return [
        next(decided) if isinstance(one, Arrival) else _unreadable(event, one)
        for event, one in zip(events, arrived, strict=True)
    ]


async def _arrive(
    events: Sequence[Any], principal: Principal, vault: Vault
) -> list[Arrival | Problem]:
    def read(event: Any) -> Arrival | Problem:
        source = (made_out(event) or {}).get("source")
        allowed = not isinstance(source, str) or principal.may_send_for(source)
        return arrive(event, allowed, vault.subject_of)

    # A large batch is read in pieces, so that small requests are not held up behind it.
    return await in_pieces(read, events)


def _unreadable(event: Any, problem: Problem) -> Answer:
    """The answer for what has no readable source and id: told back as far as it can be."""
    members = made_out(event) or {}
    source, identity = (
        printable(value) if isinstance(value := members.get(name), str) else ""
        for name in ("source", "id")
    )
    return Answer(source, identity, Outcome.REJECTED, problem=problem)


def _result(answer: Answer) -> answers.Result:
    result: answers.Result = {
        "source": answer.source,
        "id": answer.id,
        "outcome": answer.outcome.value,
    }
    if answer.first is not None:
        result["first_outcome"] = answer.first.value
    if answer.position is not None:
        result["position"] = answer.position
    if answer.warnings:
        result["warnings"] = answer.warnings
    if answer.problem is not None:
        result["problem"] = answer.problem.body()
    return result


def _single(answer: Answer) -> Response:
    if answer.outcome is Outcome.REJECTED:
        assert answer.problem is not None
        return problem_response(answer.problem)
    return JsonResponse(_result(answer), status_code=STATUS[answer.outcome])


@router.get(
    "/v1/log",
    summary="Read the event log",
    description="The entries after a position, in order; `last` is the log's last position.",
)
@documented(
    OPERATORS,
    {200: json_answer("A page of the log.", answers.LogPage, answers.LOG_PAGE)},
    ProblemType.INVALID,
)
async def get_log(
    request: Request,
    after: Annotated[int, Query(ge=0, le=2**62, description="The last position read.")] = 0,
    limit: Annotated[
        int, Query(ge=1, le=MAX_LOG_PAGE, description="The most entries in one answer.")
    ] = DEFAULT_LOG_PAGE,
) -> JsonResponse:
    await require(request)
    engine: AsyncEngine = request.app.state.engine
    async with engine.connect() as connection:
        entries = await read_log(connection, after, limit)
        last = await last_position(connection)
    return JsonResponse({"events": [served(entry) for entry in entries], "last": last})


@router.get(
    "/v1/stations",
    summary="Each station's last contact and what is missing of its events",
    description=(
        "`received` counts the events that arrived without a gap from `stationseq` 1; `missing`"
        f" lists up to {MISSING_SHOWN} numbers below the highest that have not arrived."
    ),
)
@documented(
    OPERATORS,
    {200: json_answer("All stations.", answers.Stations, answers.STATIONS)},
)
async def get_stations(request: Request) -> JsonResponse:
    await require(request)
    engine: AsyncEngine = request.app.state.engine
    async with engine.connect() as connection:
        stations = await log.read_stations(connection)
    return JsonResponse({"stations": [_station(station) for station in stations]})


def _station(station: log.Station) -> answers.Station:
    gapless = station.received[0][1] if station.received and station.received[0][0] == 1 else 0
    missing, count = _missing(station.received)
    return {
        "station": station.source.rpartition(":")[2],
        "source": station.source,
        "last_contact": station.last_contact,
        "received": gapless,
        "missing": missing,
        "missing_count": count,
    }


def _missing(received: Sequence[tuple[int, int]]) -> tuple[list[int], int]:
    """The first numbers of the gaps between the ranges that arrived, and how many there are."""
    shown: list[int] = []
    count, expected = 0, 1
    for first, last in received:
        count += first - expected
        room = MISSING_SHOWN - len(shown)
        shown.extend(range(expected, min(first, expected + room)))
        expected = last + 1
    return shown, count


@router.post(
    "/v1/republish",
    status_code=202,
    summary="Publish the log to Kafka again",
    description=(
        'For operators. Body: `{"from": P}`: everything from position P up to the log\'s present'
        " end goes to `population.events` again; consumers drop by position what they have."
    ),
)
@documented(
    OPERATORS,
    {202: json_answer("It has begun.", answers.Republished, answers.REPUBLISHED)},
    ProblemType.TOO_LARGE,
    ProblemType.INVALID,
    asked=Asked((Body({"from": 120_000}, answers.Republish),)),
)
async def post_republish(request: Request) -> JsonResponse:
    await require(request)
    from_position = _position(parse(await read_body(request)))
    engine: AsyncEngine = request.app.state.engine
    async with engine.begin() as connection:
        last = await last_position(connection)
        if from_position > last + 1:
            raise invalid("from", f"is beyond the log, which ends at position {last}")
        asked = await republishing.ask(connection, from_position)
    return JsonResponse(_republication(asked), status_code=202)


@router.get("/v1/republish/{number}", summary="How far the log is published again")
@documented(
    OPERATORS,
    {200: json_answer("How far it is.", answers.Republished, answers.REPUBLISHED)},
    ProblemType.INVALID,
    ProblemType.NOT_FOUND,
)
async def get_republish(
    request: Request, number: Annotated[int, Path(ge=1, le=2**62, description="Its `id`.")]
) -> JsonResponse:
    await require(request)
    engine: AsyncEngine = request.app.state.engine
    async with engine.connect() as connection:
        found = await republishing.republication(connection, number)
    if found is None:
        raise ProblemError(Problem(ProblemType.NOT_FOUND, f"There is no republication {number}."))
    return JsonResponse(_republication(found))


def _position(body: Any) -> int:
    if not isinstance(body, dict) or body.keys() != {"from"}:
        raise invalid("body", 'must be {"from": P}, P being a position of the log')
    position = body["from"]
    if type(position) is not int or not 1 <= position <= 2**62:
        raise invalid("from", "must be a position of the log, 1 or more")
    return position


def _republication(asked: Republication) -> answers.Republished:
    return {
        "id": asked.id,
        "from": asked.from_position,
        "up_to": asked.up_to,
        "reached": asked.reached,
        "reason": asked.reason,
        "asked_at": asked.asked_at,
        "finished_at": asked.finished_at,
    }
