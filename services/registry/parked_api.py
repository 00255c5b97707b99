"""The registry's door for operators who look after what is parked."""

from typing import Annotated, Final

from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, ConfigDict

from services.registry import answers
from services.registry.domain.forms import Reason
from services.registry.parking import MOVED_SHOWN, Parking, Shown
from shared.access import require
from shared.bodies import read_as
from shared.documenting import OPERATORS, Asked, Body, documented, json_answer
from shared.problems import Problem, ProblemError, ProblemType
from shared.web import JsonResponse

router = APIRouter()

MAX_PAGE: Final = 1_000
DEFAULT_PAGE: Final = 100

Arrival = Annotated[int, Path(ge=1, le=2**62, description="The number in the order of arrival.")]


class Dropping(BaseModel):
    """Why a parked submission is given up."""

    model_config = ConfigDict(extra="forbid")

    reason: Reason


@router.get(
    "/v1/parked",
    summary="What waits for another event, in the order of arrival",
    description=(
        "For operators. `waits_for` is `registration` or `recording`, null where the person was"
        " erased; go on with `after` the last `arrival`."
    ),
)
@documented(
    OPERATORS,
    {200: json_answer("A page of what waits.", answers.ParkedPage, answers.PARKED_PAGE)},
    ProblemType.INVALID,
)
async def get_parked(
    request: Request,
    after: Annotated[int, Query(ge=0, le=2**62, description="The last `arrival` read.")] = 0,
    limit: Annotated[
        int, Query(ge=1, le=MAX_PAGE, description="The most of them in one answer.")
    ] = DEFAULT_PAGE,
) -> JsonResponse:
    await require(request)
    waiting = await _parking(request).waiting(after, limit)
    return JsonResponse({"parked": [_line(shown) for shown in waiting]})


@router.get(
    "/v1/parked/{arrival}",
    summary="One submission that is parked, or was, and what became of it",
    description="For operators. `data` is what was sent less NIK and name.",
)
@documented(
    OPERATORS,
    {200: json_answer("The submission.", answers.Parked, answers.PARKED)},
    ProblemType.INVALID,
    ProblemType.NOT_FOUND,
)
async def get_one_parked(request: Request, arrival: Arrival) -> JsonResponse:
    await require(request)
    shown = await _parking(request).find(arrival)
    if shown is None:
        raise _not_found(arrival)
    return JsonResponse(_whole(shown))


@router.post(
    "/v1/parked/retry",
    summary="Try all that is parked again, as if sent now",
    description=(
        "For operators; no body. Answers how many were tried, accepted and rejected, and the"
        f" first {MOVED_SHOWN} that moved."
    ),
)
@documented(
    OPERATORS,
    {200: json_answer("What trying led to.", answers.Retried, answers.RETRIED)},
)
async def retry_parked(request: Request) -> JsonResponse:
    await require(request)
    retried = await _parking(request).retry()
    return JsonResponse(
        {
            "tried": retried.tried,
            "accepted": retried.accepted,
            "rejected": retried.rejected,
            "moved": [_whole(shown) for shown in retried.moved],
        }
    )


@router.post(
    "/v1/parked/{arrival}/drop",
    summary="Give up what is parked: it is rejected as `dropped`",
    description=(
        'For operators; body `{"reason": "…"}`, 1 to 500 characters without a NIK. Who dropped it,'
        " when and why is kept with it, and shown here."
    ),
)
@documented(
    OPERATORS,
    {200: json_answer("It is given up.", answers.Parked, answers.DROPPED)},
    ProblemType.TOO_LARGE,
    ProblemType.INVALID,
    ProblemType.NOT_FOUND,
    asked=Asked((Body({"reason": "Sent for a resident of another regency."}, Dropping),)),
)
async def drop_parked(request: Request, arrival: Arrival) -> JsonResponse:
    principal = await require(request)
    dropping = await read_as(request, Dropping)
    parking = _parking(request)
    if not await parking.drop(arrival, f"{principal.role}:{principal.name}", dropping.reason):
        raise _not_found(arrival)
    shown = await parking.find(arrival)
    assert shown is not None
    return JsonResponse(_whole(shown))


def _parking(request: Request) -> Parking:
    parking: Parking = request.app.state.parking
    return parking


def _not_found(arrival: int) -> ProblemError:
    return ProblemError(
        Problem(
            ProblemType.NOT_FOUND,
            f"Nothing is parked under {arrival}; GET /v1/parked lists what is, and"
            f" GET /v1/parked/{arrival} says what became of what was.",
        )
    )


def _line(shown: Shown) -> answers.ParkedLine:
    row = shown.row
    return {
        "arrival": row.arrival,
        "received_at": row.received_at,
        "source": row.source,
        "id": row.id,
        "type": shown.event.get("type"),
        "waits_for": shown.waits_for,
        "warnings": row.warnings,
    }


def _whole(shown: Shown) -> answers.Parked:
    row = shown.row
    dropped = row.dropped
    return {
        **_line(shown),
        "sender": row.sender,
        "time": shown.event.get("time"),
        "data": shown.data if shown.event else None,
        "outcome": row.outcome,
        "position": row.position,
        "problem": row.problem.body() if row.problem else None,
        "dropped": {"at": dropped.at, "by": dropped.by, "reason": dropped.reason}
        if dropped
        else None,
    }
