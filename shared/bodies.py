"""Reading the body of a request: bounded, and refused by the name of the member at fault."""

from typing import Any, Final, TypeVar

import orjson
from fastapi import Request
from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect

from shared.problems import Problem, ProblemError, ProblemType

MAX_BODY_BYTES: Final = 16 * 1024 * 1024

Model = TypeVar("Model", bound=BaseModel)


async def read_body(request: Request) -> bytes:
    """The bytes of the body, still packed. Raises ProblemError when they are too many."""
    declared = request.headers.get("content-length", "0")
    if declared.isdecimal() and int(declared) > MAX_BODY_BYTES:
        raise _too_large()
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_BODY_BYTES:
                raise _too_large()
    except ClientDisconnect:
        raise invalid("body", "was cut off; send the request again") from None
    return bytes(body)


def parse(body: bytes) -> Any:
    """The JSON value of a body. Raises ProblemError."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise invalid("body", f"is not JSON at line {error.lineno}, column {error.colno}") from None


async def read_as(request: Request, model: type[Model]) -> Model:
    """The JSON object of the body as a model.

    Raises ProblemError; what was sent is not repeated in it, for it may be personal.
    """
    value = parse(await read_body(request))
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise _first_fault(error) from None


def _first_fault(error: ValidationError) -> ProblemError:
    fault = error.errors(include_url=False, include_input=False, include_context=False)[0]
    field = ".".join(str(part) for part in fault["loc"]) or "body"
    match fault["type"]:
        case "missing":
            return invalid(field, "is missing")
        case "extra_forbidden":
            return invalid("body", "has a member that does not belong there; leave it out")
        case "contract":
            return invalid(field, fault["msg"])
        case kind if kind.startswith("uuid"):
            return invalid(field, "must be a UUID")
        case _:
            return invalid(field, fault["msg"].replace("Input should", "must").lower())


def _too_large() -> ProblemError:
    return ProblemError(
        Problem(
            ProblemType.TOO_LARGE,
            f"A request may have {MAX_BODY_BYTES} bytes, unpacked, at most; send less at once.",
            "body",
        )
    )


def invalid(field: str, fault: str) -> ProblemError:
    """A refusal that names the member at fault; `fault` is the end of a sentence."""
    return ProblemError(Problem(ProblemType.INVALID, f"{field} {fault}.", field))
