"""The registry's door for KPU's look-ups: from `resident_id` to NIK and name, and back."""

from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from services.registry import answers
from services.registry.domain.forms import Reason
from services.registry.lookups import LookUps
from services.registry.resolving import Resolving
from shared.access import Principal, Role, require
from shared.bodies import read_as
from shared.documenting import KPU, Asked, Body, documented, json_answer
from shared.problems import Problem, ProblemError, ProblemType
from shared.web import JsonResponse

router = APIRouter()

MOST_RESIDENTS: Final = 1_000
MOST_NIKS: Final = 10_000


class LookUp(BaseModel):
    """Whom to look up, and what for."""

    model_config = ConfigDict(extra="forbid")

    purpose: Reason
    resident_ids: Annotated[list[UUID], Field(min_length=1, max_length=MOST_RESIDENTS)]


@router.post(
    "/v1/voters/lookup",
    summary="Look voters up: NIK and name of each resident_id",
    description=(
        "For KPU's tokens that an operator allowed to, and operators. Body:"
        f' `{{"purpose": "…", "resident_ids": […]}}`, 1 to {MOST_RESIDENTS} of them; the purpose'
        " has 1 to 500 characters and no NIK. Each look-up is written to an audit before it is"
        " answered. Who cannot be named is in `unknown`."
    ),
)
@documented(
    KPU,
    {
        200: json_answer(
            "Who they are. No cache may keep it.",
            answers.Voters,
            answers.VOTERS,
            Cache_Control="`no-store`",
        )
    },
    ProblemType.TOO_LARGE,
    ProblemType.INVALID,
    asked=Asked((Body(answers.LOOK_UP, LookUp),)),
)
async def look_voters_up(request: Request) -> JsonResponse:
    principal = await _allowed(request)
    asked = await read_as(request, LookUp)
    residents = list(dict.fromkeys(asked.resident_ids))
    lookups: LookUps = request.app.state.lookups
    found = await lookups.look_up(principal, asked.purpose, residents)
    answer = JsonResponse(
        {
            "voters": [
                {"resident_id": each, "nik": found[each].nik, "name": found[each].name}
                for each in residents
                if each in found
            ],
            "unknown": [each for each in residents if each not in found],
        }
    )
    answer.headers["Cache-Control"] = "no-store"
    return answer


class ListedVoter(BaseModel):
    """A row of KPU's list."""

    model_config = ConfigDict(extra="forbid")

    nik: Annotated[str, StringConstraints(pattern=r"^[0-9]{16}$")]
    village: Annotated[str, StringConstraints(pattern=r"^[0-9]{2}(\.[0-9]{2}){2}\.[0-9]{4}$")]


class Listed(BaseModel):
    """Rows of a list by NIK, and what they are wanted for."""

    model_config = ConfigDict(extra="forbid")

    purpose: Reason
    voters: Annotated[list[ListedVoter], Field(min_length=1, max_length=MOST_NIKS)]


@router.post(
    "/v1/voters/resolve",
    summary="Find the resident_id of each NIK of a list",
    description=(
        "For KPU's tokens that an operator allowed to look voters up, and operators. Body:"
        ' `{"purpose": "…", "voters": [{"nik", "village"}, …]}`, 1 to'
        f" {MOST_NIKS:,} of them. Answers them in the order asked as `resident_id` and `village`;"
        " `resident_id` is null where nobody has the NIK. Each NIK leaves a row in the audit, with"
        " the purpose, before it is answered. The village is handed back as it came."
    ),
)
@documented(
    KPU,
    {
        200: json_answer(
            "Who they are, in the order asked. No cache may keep it.",
            answers.ResolvedVoters,
            answers.RESOLVED,
            Cache_Control="`no-store`",
        )
    },
    ProblemType.TOO_LARGE,
    ProblemType.INVALID,
    asked=Asked((Body(answers.LISTED, Listed),)),
)
async def resolve_voters(request: Request) -> JsonResponse:
    principal = await _allowed(request)
    asked = await read_as(request, Listed)
    resolving: Resolving = request.app.state.resolving
    found = await resolving.resolve(principal, asked.purpose, [v.nik for v in asked.voters])
    pairs = zip(found, asked.voters, strict=True)
    answer = JsonResponse(
        {
            "voters": [{"resident_id": who, "village": voter.village} for who, voter in pairs],
            "unknown": found.count(None),
        }
    )
    answer.headers["Cache-Control"] = "no-store"
    return answer


async def _allowed(request: Request) -> Principal:
    principal = await require(request, Role.KPU)
    if not principal.may_look_up:
        raise ProblemError(
            Problem(
                ProblemType.FORBIDDEN,
                "This token may not look voters up; ask an operator for one that may.",
            )
        )
    return principal
