"""The shell of a service's HTTP side: problems, request ids, health, metrics, documentation."""

import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from functools import cache
from typing import Any, Final, Literal

import orjson
from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from typing_extensions import TypedDict

from shared import telemetry
from shared.access import require
from shared.docs_page import PAGE_HEADERS, page
from shared.documenting import Body, Reply, documented, documented_of, json_answer
from shared.openapi import document_of
from shared.problems import MEDIA_TYPE, Problem, ProblemError, ProblemType

logger = logging.getLogger(__name__)

REQUEST_ID_HEADER: Final = b"x-request-id"
VERSION: Final = "0.1.0"

# Longer than clients and proxies keep a connection that rests: they must be the ones to close it,
# since a request that meets our closing fails without an answer.
KEEP_ALIVE_S: Final = 75

# What a service waits for, by name, and whether it is there now.
Readiness = Callable[[], Awaitable[Mapping[str, bool]]]
Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]

_FROM_STATUS: Final = {
    400: ProblemType.INVALID,
    401: ProblemType.UNAUTHORIZED,
    403: ProblemType.FORBIDDEN,
    404: ProblemType.NOT_FOUND,
    413: ProblemType.TOO_LARGE,
    429: ProblemType.RATE_LIMITED,
    503: ProblemType.UNAVAILABLE,
}


class JsonResponse(Response):
    """A JSON body written by orjson: dates as RFC 3339, UUIDs as text."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return orjson.dumps(content, option=orjson.OPT_UTC_Z)


class RequestId:
    """Gives each request an id, in its logs and in the answer's `X-Request-Id`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        current = secrets.token_hex(8)
        telemetry.request_id.set(current)

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = [*message.get("headers", []), (REQUEST_ID_HEADER, current.encode())]
                message = {**message, "headers": headers}
            await send(message)

        await self._app(scope, receive, send_with_id)


def problem_response(problem: Problem, headers: Mapping[str, str] | None = None) -> Response:
    """A problem as an HTTP answer."""
    return Response(
        orjson.dumps(problem.body()),
        status_code=problem.http_status,
        media_type=MEDIA_TYPE,
        headers=dict(headers or {}),
    )


async def _let_in(request: Request) -> None:
    """Refuse whoever a route is not for, as it says of itself. Raises ProblemError.

    FastAPI looks at a route's parameters before it calls it, and at dependencies before that: who
    may not ask is told so, and nothing of what else is wrong (contract section 2).
    """
    said = documented_of(request.scope["endpoint"])
    if said is not None and said.roles is not None:
        await require(request, *said.roles)


async def _on_problem(_: Request, error: Exception) -> Response:
    assert isinstance(error, ProblemError)
    return problem_response(error.problem, error.headers)


async def _on_http_exception(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    kind = _FROM_STATUS.get(error.status_code, ProblemType.INVALID)
    return problem_response(
        Problem(kind, str(error.detail), status=error.status_code), error.headers
    )


async def _on_invalid_parameter(_: Request, error: Exception) -> Response:
    """FastAPI's own answer would repeat the value sent: this one names only the member."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"][1:]) or "body"
    return problem_response(Problem(ProblemType.INVALID, f"{field}: {first['msg']}.", field))


async def _on_fault(request: Request, error: Exception) -> Response:
    logger.error("request failed", exc_info=error, extra={"path": request.url.path})
    return problem_response(
        Problem(
            ProblemType.UNAVAILABLE,
            "The service failed; send the same request again, and tell an operator the"
            " X-Request-Id if it goes on.",
            status=500,
        )
    )


def service_app(title: str, summary: str, lifespan: Lifespan, readiness: Readiness) -> FastAPI:
    """A FastAPI application with the doors that every service has (contract section 7)."""
    app = FastAPI(
        title=title,
        summary=summary,
        version=VERSION,
        lifespan=lifespan,
        openapi_url=None,
        dependencies=[Depends(_let_in)],
    )
    app.add_middleware(RequestId)
    app.add_exception_handler(ProblemError, _on_problem)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(RequestValidationError, _on_invalid_parameter)
    app.add_exception_handler(Exception, _on_fault)
    _add_health(app, readiness)
    _add_docs(app)
    return app


class Alive(TypedDict):
    status: Literal["alive"]


class Ready(TypedDict):
    status: Literal["ready"]


class NotReady(TypedDict):
    """`waiting_for` names what the service waits for, such as `kafka`."""

    status: Literal["not ready"]
    waiting_for: list[str]


_READY: Final = {
    200: json_answer("It can.", Ready, {"status": "ready"}),
    503: json_answer(
        "It waits.", NotReady, {"status": "not ready", "waiting_for": ["kafka", "postgresql"]}
    ),
}
_METRICS: Final = Reply(
    "The metrics of this process.",
    (Body("registry_published_up_to 120345.0\n", media_type="text/plain"),),
)


def _add_health(app: FastAPI, readiness: Readiness) -> None:
    @app.get("/healthz", summary="The process lives", include_in_schema=True)
    @documented(None, {200: json_answer("It does.", Alive, {"status": "alive"})})
    async def healthz() -> JsonResponse:
        return JsonResponse({"status": "alive"})

    @app.get("/readyz", summary="The service can do its work; else what it waits for")
    @documented(None, _READY)
    async def readyz() -> JsonResponse:
        parts = await readiness()
        missing = sorted(name for name, there in parts.items() if not there)
        if missing:
            return JsonResponse({"status": "not ready", "waiting_for": missing}, status_code=503)
        return JsonResponse({"status": "ready"})

    @app.get("/metrics", summary="Prometheus metrics")
    @documented(None, {200: _METRICS})
    async def metrics() -> Response:
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


def _add_docs(app: FastAPI) -> None:
    """The interface as a page and as OpenAPI, made at the first request for it.

    Both run in a thread: making it takes a while, in which others must not wait.
    """

    @cache
    def document() -> Mapping[str, Any]:
        return document_of(app)

    @app.get("/docs", include_in_schema=False)
    def docs() -> HTMLResponse:
        return HTMLResponse(page(document()), headers=PAGE_HEADERS)

    @app.get("/openapi.json", include_in_schema=False)
    def openapi() -> JsonResponse:
        return JsonResponse(document())
