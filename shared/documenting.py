"""What a route says of itself to the document of the interface, next to its function.

It is read when the document is made (`shared/openapi.py`). At a request only the roles are read:
who may not ask is refused before anything is said of the parameters (`shared/web.py`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, TypeVar

from pydantic import Field

from shared.access import Role
from shared.problems import STATUS, ProblemType

JSON: Final = "application/json"

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])

# Whose tokens a route takes besides those of operators, which every route takes.
OPERATORS: Final[tuple[Role, ...]] = ()
STATIONS: Final = (Role.STATION,)
KPU: Final = (Role.KPU,)

ATTRIBUTE: Final = "__documented__"


@dataclass(frozen=True, slots=True)
class Body:
    """A body in one media type, with an example, or with several by name.

    `shape` is the type of its JSON, none where it is a text or a file; of a file there is no
    example.
    """

    example: Any
    shape: Any = None
    media_type: str = JSON
    named: bool = False


@dataclass(frozen=True, slots=True)
class Reply:
    """What a status says, its body in one media type or several, and what its headers mean: those
    that are always there, and those that are there at times."""

    says: str
    bodies: tuple[Body, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    at_times: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Asked:
    """The body of a request; `says` is for what a schema cannot say."""

    bodies: tuple[Body, ...]
    says: str = ""
    required: bool = True


@dataclass(frozen=True, slots=True)
class Refusal:
    """A problem that a route answers, under the status of its type unless another is said."""

    type: ProblemType
    status: int

    @classmethod
    def of(cls, given: "Refused") -> "Refusal":
        if isinstance(given, ProblemType):
            return cls(given, STATUS[given])
        return cls(*given)


Refused = ProblemType | tuple[ProblemType, int]


WITH_A_TOKEN: Final[tuple[Refused, ...]] = (
    ProblemType.UNAUTHORIZED,
    ProblemType.FORBIDDEN,
    (ProblemType.UNAVAILABLE, 500),
)


@dataclass(frozen=True, slots=True)
class Documented:
    """All that is said of a route; `roles` is None where no token is needed."""

    roles: tuple[Role, ...] | None
    answers: Mapping[int, Reply]
    asked: Asked | None
    refusals: tuple[Refusal, ...]


def documented(
    roles: tuple[Role, ...] | None,
    answers: Mapping[int, Reply],
    *problems: Refused,
    asked: Asked | None = None,
) -> Callable[[Endpoint], Endpoint]:
    """Say what a route takes and answers; put it under the route's decorator.

    What every route with a token may answer (no token, another's token, a fault of ours) is added.
    """
    always = () if roles is None else WITH_A_TOKEN
    refusals = tuple(Refusal.of(each) for each in (*always, *problems))

    def attach(endpoint: Endpoint) -> Endpoint:
        setattr(endpoint, ATTRIBUTE, Documented(roles, answers, asked, refusals))
        return endpoint

    return attach


def documented_of(endpoint: Any) -> Documented | None:
    """What a route's function says of itself, none where it says nothing."""
    said: Documented | None = getattr(endpoint, ATTRIBUTE, None)
    return said


def json_answer(says: str, shape: Any, example: Any, **headers: str) -> Reply:
    """An answer in JSON; a header's underscores stand for dashes."""
    named = {name.replace("_", "-"): meaning for name, meaning in headers.items()}
    return Reply(says, (Body(example, shape),), named)


def among(kind: type[StrEnum]) -> Any:
    """For `Annotated[str, …]`: the text is a value of an enum."""
    return Field(json_schema_extra={"enum": [member.value for member in kind]})
