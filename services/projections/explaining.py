"""`GET /v1/elections/{id}/villages/{code}/history`: which events made a number what it is."""

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Path, Query, Request

from services.projections import answers
from services.projections.api import reader_of, reader_only, require_village
from services.projections.explanations import Cause, Defined
from services.projections.reader import invalid
from shared.counts import Counts
from shared.documenting import KPU, documented, json_answer
from shared.problems import ProblemType
from shared.regions import district_of, regions
from shared.web import JsonResponse

DEFAULT_LIMIT: Final = 1_000
MOST_EVENTS: Final = 10_000

router = APIRouter(prefix="/v1/elections", dependencies=[Depends(reader_only)])


@router.get(
    "/{id}/villages/{code}/history",
    summary="The events that changed a village's tally",
    description='`{"from", "to", "village", "name", "district", "definition", "before", "after",'
    ' "events", "next"}`: `before` and `after` are the counts at the positions `from` and `to`,'
    " and the sum of all events' `added` is their difference, exactly. An event is"
    ' `{"position", "recorded_at", "type", "resident_id", "effect", "in_words", "other_village",'
    ' "added"}`; `added` names the counts that it changed, `other_village` where the resident came'
    " from or went to, null where that is unknown or outside the area. `next` is null, or the"
    " position to give as `from` for the events after these. All figures are by the definition"
    " that serves now; `definition` says which fold of the election it is and, unless it served"
    " from the start, the time and position at which it came to serve.",
)
@documented(
    KPU,
    {200: json_answer("The difference, event by event.", answers.History, answers.HISTORY)},
    ProblemType.INVALID,
    ProblemType.NOT_FOUND,
    ProblemType.NOT_YET,
    ProblemType.UNAVAILABLE,
)
async def history(
    request: Request,
    election_id: Annotated[str, Path(alias="id", description="The id of an election.")],
    code: Annotated[str, Path(description="The code of a village, such as 15.01.01.1004.")],
    from_: Annotated[
        str | None,
        Query(alias="from", description="After this position or time; else from the beginning."),
    ] = None,
    to: Annotated[
        str | None,
        Query(description="Up to this position or time; else up to what is counted now."),
    ] = None,
    limit: Annotated[
        int, Query(ge=1, le=MOST_EVENTS, description="The most events in one answer.")
    ] = DEFAULT_LIMIT,
) -> JsonResponse:
    reader = reader_of(request)
    require_village(code, await reader.election(election_id))
    after = 0 if from_ is None else await reader.counted_position(from_, "from")
    up_to = await reader.cut() if to is None else await reader.counted_position(to, "to")
    if after > up_to:
        raise invalid("from", "from lies after to; exchange them.")
    found = await reader.explained(election_id, code, after, up_to, limit)
    return JsonResponse(
        {
            "from": after,
            "to": up_to,
            "village": code,
            "name": regions()[code].name,
            "district": district_of(code),
            "definition": _definition(found.defined),
            "before": found.before._asdict(),
            "after": found.after._asdict(),
            "events": [_event(cause) for cause in found.causes],
            "next": found.next,
        }
    )


def _definition(defined: Defined) -> answers.ServingSince:
    return {"fold": defined.fold, "time": defined.moment, "position": defined.position}


def _event(cause: Cause) -> answers.Event:
    return {
        "position": cause.position,
        "recorded_at": cause.recorded_at,
        "type": cause.type,
        # asyncpg's own UUID class is unknown to orjson.
        "resident_id": str(cause.resident_id),
        "effect": cause.effect,
        "in_words": cause.in_words,
        "other_village": cause.other_village,
        "added": changed(cause.added),
    }


def changed(counts: Counts) -> dict[str, int]:
    """The counts that are not zero."""
    return {name: count for name, count in counts._asdict().items() if count}
