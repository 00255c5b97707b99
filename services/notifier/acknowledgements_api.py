"""Where KPU states how far it has taken a feed over, and both sides read it."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Protocol

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field, StrictInt

from services.notifier import answers
from services.notifier.acknowledgements import (
    SETTINGS_TOKEN,
    Acknowledged,
    Acknowledgements,
    FeedName,
)
from services.notifier.known_elections import known_election
from services.notifier.streaming import FeedEnd
from shared.access import Principal, Role, require
from shared.bodies import read_as
from shared.documenting import KPU, Asked, Body, documented, json_answer
from shared.problems import Problem, ProblemError, ProblemType
from shared.web import JsonResponse

_MOST: Final = 2**53
_SO_FAR: Final = json_answer("How far.", answers.Acknowledged, answers.ACKNOWLEDGED)


class _Ends(Protocol):
    """A feed that knows how far it goes."""

    async def election(self, election: str) -> FeedEnd | None: ...


class Statement(BaseModel):
    """Everything up to `sequence` is in KPU's own list."""

    model_config = ConfigDict(extra="forbid")

    sequence: Annotated[StrictInt, Field(ge=0, le=_MOST)]


def acknowledgement_routes(held: Acknowledgements, villages: _Ends, voters: _Ends) -> APIRouter:
    """The routes of both feeds, and the list of all."""
    router = APIRouter(prefix="/v1")
    _add_feed(router, held, FeedName.VOTERS, voters, "/elections/{election}/voters/acknowledged")
    _add_feed(router, held, FeedName.VILLAGES, villages, "/elections/{election}/acknowledged")

    @router.get("/acknowledged", summary="How far each feed was acknowledged")
    @documented(
        KPU,
        {200: json_answer("All of them.", answers.AllAcknowledged, answers.ALL_ACKNOWLEDGED)},
        ProblemType.UNAVAILABLE,
    )
    async def all_acknowledged(request: Request) -> JsonResponse:
        """A KPU token sees its own, an operator those of every token in force."""
        principal = await require(request, Role.KPU)
        operator = principal.role is Role.OPERATOR
        found = await (held.all() if operator else held.of(_token(principal)))
        return JsonResponse({"acknowledged": [_listed(each) for each in found]})

    return router


def _add_feed(
    router: APIRouter, held: Acknowledgements, feed: FeedName, ends: _Ends, path: str
) -> None:
    @router.get(path, summary=f"How far you have acknowledged the feed of {feed}")
    @documented(KPU, {200: _SO_FAR}, ProblemType.NOT_FOUND, ProblemType.UNAVAILABLE)
    async def acknowledged(request: Request, election: str) -> JsonResponse:
        """`sequence` is 0, and `acknowledged_at` null, before the first statement; `behind` is
        how many changes follow."""
        principal = await require(request, Role.KPU)
        end = await known_election(ends, election)
        return JsonResponse(await _shown(held, feed, principal, end))

    @router.put(path, summary=f"State how far you have taken the feed of {feed} over")
    @documented(
        KPU,
        {200: _SO_FAR},
        *(ProblemType.INVALID, (ProblemType.INVALID, 409), ProblemType.TOO_LARGE),
        *(ProblemType.NOT_FOUND, ProblemType.UNAVAILABLE),
        asked=Asked((Body({"sequence": 4800}, Statement),)),
    )
    async def acknowledge(request: Request, election: str) -> JsonResponse:
        """`{"sequence": S}`: every change up to S is in your own list. It only moves forward: a
        lower one than before is refused with 409, the same again changes nothing. Nothing
        depends on it but what both sides are shown."""
        principal = await require(request, Role.KPU)
        end = await known_election(ends, election)
        stated = (await read_as(request, Statement)).sequence
        if stated > end.sequence:
            raise _beyond(end.sequence)
        now = datetime.now(UTC)
        kept = await held.acknowledge(end.election, feed, _token(principal), stated, now)
        shown = await _shown(held, feed, principal, end)
        if not kept:
            raise _lower(shown["sequence"])
        return JsonResponse(shown)


async def _shown(
    held: Acknowledgements, feed: FeedName, principal: Principal, end: FeedEnd
) -> dict[str, Any]:
    own = _of_feed(await held.of(_token(principal)), end.election, feed)
    sequence = own.sequence if own else 0
    last = max(end.sequence, own.last) if own else end.sequence
    return {
        "election": end.election,
        "feed": feed.value,
        "sequence": sequence,
        "acknowledged_at": own.acknowledged_at if own else None,
        "last": last,
        "behind": last - sequence,
    }


def _of_feed(found: Iterable[Acknowledged], election: str, feed: FeedName) -> Acknowledged | None:
    own = [each for each in found if (each.election, each.feed) == (election, feed)]
    return own[0] if own else None


def _listed(each: Acknowledged) -> dict[str, Any]:
    return {
        "election": each.election,
        "feed": each.feed.value,
        "token": each.token_id or None,
        "name": each.name,
        "sequence": each.sequence,
        "acknowledged_at": each.acknowledged_at,
        "last": each.last,
        "behind": each.behind,
    }


def _token(principal: Principal) -> int:
    return principal.token_id or SETTINGS_TOKEN


def _beyond(end: int) -> ProblemError:
    return ProblemError(
        Problem(
            ProblemType.INVALID,
            f"sequence lies beyond the end of the feed, which is {end}: it was probably taken"
            " from another election's feed, or from the other feed of this one.",
            "sequence",
        )
    )


def _lower(held: int) -> ProblemError:
    return ProblemError(
        Problem(
            ProblemType.INVALID,
            f"sequence is lower than {held}, which you acknowledged before, and that is not taken"
            " back. If your list was restored from an older copy, read the feed on from where it"
            " stands; go on acknowledging when it has passed that again.",
            "sequence",
            status=409,
        )
    )
