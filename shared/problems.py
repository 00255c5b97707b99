"""Refusals as RFC 9457 problems, each with a stable type and the member at fault."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Final, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

TYPE_BASE: Final = "https://cacah.example/problems/"
MEDIA_TYPE: Final = "application/problem+json"


class ProblemType(StrEnum):
    """Why something was refused, in the order in which the registry checks (contract 2).

    `dropped` is what becomes of a parked event that an operator gives up. The last ones are not
    about events: they answer the reading side.
    """

    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    RATE_LIMITED = "rate-limited"
    TOO_LARGE = "too-large"
    INVALID = "invalid"
    ID_REUSED = "id-reused"
    IN_THE_FUTURE = "in-the-future"
    UNKNOWN_VILLAGE = "unknown-village"
    UNKNOWN_EVENT = "unknown-event"
    NOT_RETRACTABLE = "not-retractable"
    ALREADY_REGISTERED = "already-registered"
    DECEASED = "deceased"
    TOO_YOUNG = "too-young"
    DROPPED = "dropped"
    NOT_FOUND = "not-found"
    NOT_YET = "not-yet"
    UNAVAILABLE = "unavailable"


STATUS: Final[dict[ProblemType, int]] = {
    ProblemType.UNAUTHORIZED: 401,
    ProblemType.FORBIDDEN: 403,
    ProblemType.RATE_LIMITED: 429,
    ProblemType.TOO_LARGE: 413,
    ProblemType.INVALID: 400,
    ProblemType.ID_REUSED: 409,
    ProblemType.IN_THE_FUTURE: 422,
    ProblemType.UNKNOWN_VILLAGE: 422,
    ProblemType.UNKNOWN_EVENT: 422,
    ProblemType.NOT_RETRACTABLE: 409,
    ProblemType.ALREADY_REGISTERED: 409,
    ProblemType.DECEASED: 409,
    ProblemType.TOO_YOUNG: 422,
    ProblemType.DROPPED: 409,
    ProblemType.NOT_FOUND: 404,
    ProblemType.NOT_YET: 503,
    ProblemType.UNAVAILABLE: 503,
}

TITLES: Final[dict[ProblemType, str]] = {
    ProblemType.UNAUTHORIZED: "A valid token is needed",
    ProblemType.FORBIDDEN: "The token does not allow this",
    ProblemType.RATE_LIMITED: "Too much at once",
    ProblemType.TOO_LARGE: "Too large",
    ProblemType.INVALID: "Not as the contract describes it",
    ProblemType.ID_REUSED: "The same source and id came before with other content",
    ProblemType.IN_THE_FUTURE: "The date lies in the future",
    ProblemType.UNKNOWN_VILLAGE: "The village is not in the national list",
    ProblemType.UNKNOWN_EVENT: "The event to retract is not in the log",
    ProblemType.NOT_RETRACTABLE: "The event cannot be retracted",
    ProblemType.ALREADY_REGISTERED: "The resident is registered already",
    ProblemType.DECEASED: "The resident had died by then",
    ProblemType.TOO_YOUNG: "The resident was not yet 16",
    ProblemType.DROPPED: "An operator dropped it",
    ProblemType.NOT_FOUND: "Not found",
    ProblemType.NOT_YET: "Not counted yet",
    ProblemType.UNAVAILABLE: "Not available now",
}


class FaultyMember(TypedDict):
    """The member at fault: its dotted path, the same as a JSON pointer, and what to do."""

    field: str
    pointer: str
    detail: str


class ProblemDetails(TypedDict):
    """A refusal as RFC 9457 has it; `errors` is there where members are at fault."""

    type: Annotated[str, Field(json_schema_extra={"enum": [TYPE_BASE + t for t in ProblemType]})]
    title: str
    status: int
    detail: str
    errors: NotRequired[list[FaultyMember]]


@dataclass(frozen=True, slots=True)
class Problem:
    """A refusal as a value. `field` is the dotted path of the member at fault, if there is one;
    `detail` is one sentence that says what to do, without any personal value. `more` are further
    members at fault, each with its sentence."""

    type: ProblemType
    detail: str
    field: str | None = None
    status: int | None = None
    more: tuple[tuple[str, str], ...] = ()

    @property
    def http_status(self) -> int:
        return self.status or STATUS[self.type]

    def body(self) -> ProblemDetails:
        """The members of `application/problem+json`."""
        body: ProblemDetails = {
            "type": TYPE_BASE + self.type,
            "title": TITLES[self.type],
            "status": self.http_status,
            "detail": self.detail,
        }
        if self.field is not None:
            faults = ((self.field, self.detail), *self.more)
            body["errors"] = [_error(field, detail) for field, detail in faults]
        return body


def _error(field: str, detail: str) -> FaultyMember:
    return {"field": field, "pointer": "#/" + field.replace(".", "/"), "detail": detail}


class ProblemError(Exception):
    """A request ends with this problem; raised only at the HTTP edge."""

    def __init__(self, problem: Problem, headers: dict[str, str] | None = None) -> None:
        super().__init__(problem.type)
        self.problem = problem
        self.headers = headers or {}
