"""Projections' door for operators who look after what is parked."""

import re
from typing import Annotated, Any, Final

import orjson
from fastapi import APIRouter, Path, Query, Request
from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints
from pydantic_core import PydanticCustomError

from services.projections import answers
from services.projections.parked_rows import ParkedRow
from services.projections.parking import MOVED_SHOWN, FoldingUnderWayError, Parking
from services.projections.reader import not_yet
from shared.access import require
from shared.bodies import read_as
from shared.documenting import OPERATORS, Asked, Body, documented, json_answer
from shared.problems import Problem, ProblemError, ProblemType
from shared.web import JsonResponse

router = APIRouter()

MAX_PAGE: Final = 1_000
DEFAULT_PAGE: Final = 100
MOST_SHOWN_BYTES: Final = 65_536

# Projections hold no NIK, but what strangers wrote to the topic, and operators write, could.
_COULD_BE_A_NIK: Final = re.compile(r"\d{16}")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")

Number = Annotated[int, Path(alias="id", ge=1, le=2**62, description="Its number in the list.")]


def _without_nik(value: str) -> str:
    if _COULD_BE_A_NIK.search(value):
        raise PydanticCustomError("contract", "must not hold a NIK")
    if _CONTROL.search(value) or not value.strip():
        raise PydanticCustomError("contract", "must be text without control characters")
    return value


class Dropping(BaseModel):
    """Why a parked record is given up."""

    model_config = ConfigDict(extra="forbid")

    reason: Annotated[
        str, StringConstraints(min_length=1, max_length=500), AfterValidator(_without_nik)
    ]


@router.get(
    "/v1/parked",
    summary="What could not be counted, in the order in which it was set aside",
    description=(
        "For operators. Events that could not be applied and what follows them for the same"
        " resident; `position` and `resident_id` are null for a record that has no place in the"
        " log. Go on with `after` the last `parked_id`."
    ),
)
@documented(
    OPERATORS,
    {200: json_answer("A page of what waits.", answers.ParkedPage, answers.PARKED_PAGE)},
    ProblemType.INVALID,
    ProblemType.UNAVAILABLE,
)
async def get_parked(
    request: Request,
    after: Annotated[int, Query(ge=0, le=2**62, description="The last `parked_id` read.")] = 0,
    limit: Annotated[
        int, Query(ge=1, le=MAX_PAGE, description="The most of them in one answer.")
    ] = DEFAULT_PAGE,
) -> JsonResponse:
    await require(request)
    return JsonResponse(
        {"parked": [_line(row) for row in await _parking(request).waiting(after, limit)]}
    )


@router.get(
    "/v1/parked/{id}",
    summary="One record that is parked, or was dropped",
    description="For operators. `record` is what came, at most its first 64 KiB.",
)
@documented(
    OPERATORS,
    {200: json_answer("The record.", answers.Parked, answers.PARKED)},
    ProblemType.INVALID,
    ProblemType.NOT_FOUND,
    ProblemType.UNAVAILABLE,
)
async def get_one_parked(request: Request, number: Number) -> JsonResponse:
    await require(request)
    row = await _parking(request).find(number)
    if row is None:
        raise _not_found(number)
    return JsonResponse(_whole(row))


@router.post(
    "/v1/parked/retry",
    summary="Try all parked events again, each resident's in the order of the log",
    description=(
        "For operators; no body. Answers how many were tried and how many applied, and the first"
        f" {MOVED_SHOWN} of these. While an election is folded anew or the log is replayed: 503."
    ),
)
@documented(
    OPERATORS,
    {200: json_answer("What trying led to.", answers.Retried, answers.RETRIED)},
    ProblemType.NOT_YET,
    ProblemType.UNAVAILABLE,
)
async def retry_parked(request: Request) -> JsonResponse:
    await require(request)
    try:
        retried = await _parking(request).retry()
    except FoldingUnderWayError:
        raise not_yet(
            "An election is being folded anew, or the log replayed; try again when it is done."
            " What was applied before that stays applied."
        ) from None
    return JsonResponse(
        {
            "tried": retried.tried,
            "applied": retried.applied,
            "moved": [_line(row) for row in retried.moved],
        }
    )


@router.post(
    "/v1/parked/{id}/drop",
    summary="Give up what is parked: it is not counted",
    description=(
        'For operators; body `{"reason": "…"}`, 1 to 500 characters without a NIK. Who dropped it,'
        " when and why is kept with it, and shown here. What follows it for the same resident is"
        " applied without it by the next retry."
    ),
)
@documented(
    OPERATORS,
    {200: json_answer("It is given up.", answers.Parked, answers.DROPPED)},
    ProblemType.TOO_LARGE,
    ProblemType.INVALID,
    ProblemType.NOT_FOUND,
    ProblemType.UNAVAILABLE,
    asked=Asked((Body({"reason": "Written to the topic by a test."}, Dropping),)),
)
async def drop_parked(request: Request, number: Number) -> JsonResponse:
    principal = await require(request)
    dropping = await read_as(request, Dropping)
    by = f"{principal.role}:{principal.name}"
    dropped = await _parking(request).drop(number, by, dropping.reason)
    if dropped is None:
        raise _not_found(number)
    return JsonResponse(_whole(dropped))


def _parking(request: Request) -> Parking:
    parking: Parking = request.app.state.parking
    return parking


def _not_found(number: int) -> ProblemError:
    return ProblemError(
        Problem(
            ProblemType.NOT_FOUND,
            f"Nothing is parked under {number}; GET /v1/parked lists what is, and"
            f" GET /v1/parked/{number} shows what was dropped. What a retry applied is counted.",
        )
    )


def _line(row: ParkedRow) -> answers.ParkedLine:
    return {
        "parked_id": row.parked_id,
        "parked_at": row.parked_at,
        "partition": row.partition,
        "offset": row.offset,
        "position": row.position,
        "resident_id": row.resident_id,
        "type": row.type,
        "why": row.why,
    }


def _whole(row: ParkedRow) -> answers.Parked:
    dropped = row.dropped
    return {
        **_line(row),
        "outcome": "dropped" if dropped else "parked",
        "record": _shown(row),
        "dropped": {"at": dropped.at, "by": dropped.by, "reason": dropped.reason}
        if dropped
        else None,
    }


def _shown(row: ParkedRow) -> Any:
    """The record as JSON where it is that, else as text."""
    text = row.record[:MOST_SHOWN_BYTES].decode(errors="replace")
    if row.position is None:
        text = _COULD_BE_A_NIK.sub("*" * 16, text)
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text
