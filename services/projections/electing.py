"""Putting an election: `PUT /v1/elections/{id}`, answered once the new counts serve."""

import asyncio
import contextlib
from typing import Annotated, Any, Final

import orjson
from fastapi import APIRouter, Path, Request, Response
from sqlalchemy.ext.asyncio import AsyncEngine

from services.projections import answers, fold_tables, queries
from services.projections.domain.definitions import Fault, read_definition, written_definition
from services.projections.queries import Known
from services.projections.refolding import Refolder
from shared.access import require
from shared.documenting import OPERATORS, Asked, Body, documented, json_answer
from shared.elections import Election
from shared.problems import Problem, ProblemError, ProblemType
from shared.regions import exists
from shared.web import JsonResponse

MOST_BODY_BYTES: Final = 65_536

# After this long the answer is 202, and GET says when the counts serve.
ANSWER_S: Final = 30.0
LOOK_EVERY_S: Final = 0.05
WRITE_TIMEOUT_S: Final = 10.0


class Electing:
    """Takes definitions and waits until they serve."""

    def __init__(self, engine: AsyncEngine, refolder: Refolder) -> None:
        self._engine = engine
        self._refolder = refolder

    async def put(self, election: Election) -> tuple[Known, bool]:
        """Put a definition: what there is of the election then, and whether it is new."""
        async with asyncio.timeout(WRITE_TIMEOUT_S), self._engine.begin() as connection:
            known, is_new = await fold_tables.put(connection, election)
        self._refolder.woken.set()
        return known, is_new

    async def until_serving(self, known: Known, number: int, timeout_s: float) -> Known:
        """What there is of an election once a put serves, or one after it, or the time is over."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while not _serves(known, number):
                    await asyncio.sleep(LOOK_EVERY_S)
                    known = await self._look(known.wanted.id)
        return known

    async def _look(self, election_id: str) -> Known:
        async with self._engine.connect() as connection:
            known = await queries.election(connection, election_id)
        assert known is not None, "an election that was put does not go"
        return known


def _serves(known: Known, number: int) -> bool:
    return known.serving is not None and known.serving.put_number >= number


def election_members(known: Known) -> dict[str, Any]:
    """An election as it is shown: the definition that the counts are by, and its state."""
    shown = known.shown
    state = "folding" if known.is_pending else "serving"
    return {"id": shown.id} | written_definition(shown) | {"state": state}


router = APIRouter(prefix="/v1/elections")

_FOLDING: Final = answers.AN_ELECTION | {"state": "folding"}


@router.put(
    "/{id}",
    summary="Add an election, or change it",
    description="For operators. `{polling_day, area, minimum_age, first_time_since, stages?:"
    " [{name, from}]}`; without `stages` it has none. All residents are counted again for this"
    " election, the others go on. Answered with 200 (201 for a new one) once the new counts serve;"
    " after 30 s with 202, and GET says by `state` when they do.",
)
@documented(
    OPERATORS,
    {
        200: json_answer("The new counts serve.", answers.Election, answers.AN_ELECTION),
        201: json_answer("A new election, which serves.", answers.Election, answers.AN_ELECTION),
        202: json_answer("It is still being counted.", answers.Election, _FOLDING),
    },
    ProblemType.TOO_LARGE,
    ProblemType.INVALID,
    ProblemType.UNAVAILABLE,
    asked=Asked((Body(answers.DEFINITION, answers.Definition),)),
)
async def put_election(
    request: Request,
    election_id: Annotated[str, Path(alias="id", description="The id of an election, old or new.")],
) -> Response:
    await require(request)
    definition = read_definition(election_id, await _body(request), exists)
    if isinstance(definition, Fault):
        raise ProblemError(Problem(ProblemType.INVALID, definition.detail, definition.field))
    electing: Electing = request.app.state.electing
    known, is_new = await electing.put(definition)
    number = known.put.number if known.put else 0
    known = await electing.until_serving(known, number, ANSWER_S)
    status = (201 if is_new else 200) if _serves(known, number) else 202
    return JsonResponse(election_members(known), status_code=status)


async def _body(request: Request) -> Any:
    """The JSON of a request. Raises ProblemError."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MOST_BODY_BYTES:
            raise ProblemError(
                Problem(
                    ProblemType.TOO_LARGE,
                    f"The definition of an election has at most {MOST_BODY_BYTES} bytes.",
                )
            )
    try:
        return orjson.loads(bytes(body))
    except orjson.JSONDecodeError:
        raise ProblemError(
            Problem(ProblemType.INVALID, "The body must be a JSON object.", "body")
        ) from None
