"""`GET /v1/progress`: whether the counts are up to date, and to when they belong."""

from fastapi import APIRouter, Depends, Request

from services.projections import answers
from services.projections.api import AsOf, reader_of, reader_only
from shared.documenting import KPU, documented, json_answer
from shared.problems import ProblemType
from shared.web import JsonResponse

router = APIRouter(prefix="/v1/progress", dependencies=[Depends(reader_only)])


@router.get(
    "",
    summary="How far counting has come",
    description="It reads no tallies, so a page may ask it every few seconds. With as_of"
    " `position` and `recorded_at` are of that moment.",
)
@documented(
    KPU,
    {200: json_answer("How far.", answers.Progress, answers.PROGRESS)},
    *(ProblemType.INVALID, ProblemType.NOT_YET, ProblemType.UNAVAILABLE),
)
async def progress(request: Request, as_of: AsOf = None) -> JsonResponse:
    return JsonResponse(await reader_of(request).progress(as_of))
