"""The OpenAPI document of a service, from its routes and what each says of itself."""

import copy
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode

from shared.documenting import Asked, Body, Documented, Refusal, Reply, documented_of
from shared.problems import MEDIA_TYPE, TITLES, TYPE_BASE, Problem, ProblemDetails

SCHEMAS: Final = "#/components/schemas/"
RESPONSES: Final = "#/components/responses/"
BEARER: Final = "bearer"

# OpenAPI 3.1 has no word for what the events of a stream hold.
EVENT_STREAM: Final = "text/event-stream"
EVENT_DATA: Final = "x-event-data"

# The headers of any answer, and of problems by their status.
HEADERS: Final = {
    "X-Request-Id": {
        "description": "Names the request in the service's logs; tell it to an operator.",
        "required": True,
        "schema": {"type": "string"},
    },
    "WWW-Authenticate": {
        "description": "`Bearer`: what to send.",
        "required": True,
        "schema": {"type": "string"},
    },
    "Retry-After": {
        "description": "In so many seconds the same may be sent again; not where that would not"
        " help.",
        "schema": {"type": "string"},
    },
}
_OF_PROBLEMS: Final = {
    401: ("WWW-Authenticate",),
    429: ("Retry-After",),
    503: ("Retry-After",),
}

Document = dict[str, Any]


class UndocumentedRouteError(Exception):
    """A route says nothing of what it answers; the message says which, and where to say it."""

    def __init__(self, method: str, path: str) -> None:
        super().__init__(
            f"{method.upper()} {path} is not documented: put @documented(…) of"
            " shared/documenting.py under its route's decorator, with what it takes and answers,"
            " then run `make documents`."
        )


class _Untitled(GenerateJsonSchema):
    """Members without titles that only repeat their names."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


class Shapes:
    """The JSON schemas of the types that a document speaks of.

    Types are asked for while the document is built and resolved together at its end, so that one
    that is used twice is one component, and two of one name are told apart.
    """

    def __init__(self) -> None:
        self._wanted: dict[str, tuple[JsonSchemaMode, TypeAdapter[Any]]] = {}

    def of(self, shape: Any, mode: JsonSchemaMode) -> dict[str, Any]:
        """A placeholder for the type's schema."""
        key = str(len(self._wanted))
        self._wanted[key] = (mode, TypeAdapter(shape))
        return {"$shape": key}

    def resolve(self, document: Document) -> dict[str, Any]:
        """Replace the placeholders in a document; the components that they refer to."""
        wanted = [(key, mode, adapter) for key, (mode, adapter) in self._wanted.items()]
        found, shared = TypeAdapter.json_schemas(
            wanted, ref_template=SCHEMAS + "{model}", schema_generator=_Untitled
        )
        schemas = {key: schema for (key, _), schema in found.items()}
        _replace(document, schemas)
        definitions: dict[str, Any] = shared.get("$defs", {})
        return dict(sorted(definitions.items()))


def _replace(node: Any, schemas: Mapping[str, Any]) -> None:
    if isinstance(node, dict):
        if "$shape" in node:
            node.update(copy.deepcopy(schemas[node.pop("$shape")]))
            return
        for value in node.values():
            _replace(value, schemas)
    elif isinstance(node, list):
        for value in node:
            _replace(value, schemas)


def document_of(app: FastAPI) -> Document:
    """The document. Raises UndocumentedRouteError."""
    shapes = Shapes()
    document = copy.deepcopy(app.openapi())
    shapes.of(ProblemDetails, "serialization")
    said = _said(app)
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if (method, path) not in said:
                raise UndocumentedRouteError(method, path)
            _describe(operation, method, path, said[method, path], shapes)
    refusals = {refusal for each in said.values() for refusal in each.refusals}
    document["components"] = {
        "securitySchemes": {BEARER: _bearer()},
        "headers": copy.deepcopy(HEADERS),
        "examples": _problem_examples(refusals),
        "responses": _problems(said.values()),
        "schemas": shapes.resolve(document),
    }
    return document


def _said(app: FastAPI) -> dict[tuple[str, str], Documented]:
    """What the routes say of themselves, by method (small) and path."""
    return {
        (method.lower(), str(context.path_format)): said
        for context in iter_route_contexts(app.routes)
        for method in context.methods or ()
        if (said := documented_of(context.endpoint)) is not None
    }


def _describe(
    operation: Document, method: str, path: str, said: Documented, shapes: Shapes
) -> None:
    operation["operationId"] = _operation_id(method, path)
    for parameter in operation.get("parameters", []):
        _without_title(parameter["schema"])
    if said.asked is not None:
        operation["requestBody"] = _asked(said.asked, shapes)
    operation["responses"] = {
        str(status): _reply(reply, shapes) for status, reply in said.answers.items()
    }
    for status, refusals in _by_status(said.refusals):
        assert status not in said.answers, f"{method} {path}: {status} is an answer and a problem"
        operation["responses"][str(status)] = {"$ref": RESPONSES + _response_name(refusals)}
    operation["responses"] = dict(sorted(operation["responses"].items()))
    operation["security"] = _security(said)


def _operation_id(method: str, path: str) -> str:
    """A name for generated clients that stays when a function is renamed."""
    words = re.findall(r"[A-Za-z0-9]+", path.removeprefix("/v1"))
    return "_".join([method, *words])


def _without_title(schema: Any) -> None:
    for each in (schema, *schema.get("anyOf", [])):
        each.pop("title", None)


def _security(said: Documented) -> list[dict[str, list[str]]]:
    """Role names may stand beside a scheme since OpenAPI 3.1."""
    if said.roles is None:
        return []
    return [{BEARER: [*(role.value for role in said.roles), "operator"]}]


def _asked(asked: Asked, shapes: Shapes) -> Document:
    content = {each.media_type: _body(each, "validation", shapes) for each in asked.bodies}
    written: Document = {"content": content, "required": asked.required}
    return {"description": asked.says} | written if asked.says else written


def _reply(reply: Reply, shapes: Shapes) -> Document:
    headers = {name: _header(says) | {"required": True} for name, says in reply.headers.items()}
    headers |= {name: _header(says) for name, says in reply.at_times.items()}
    written: Document = {"description": reply.says, "headers": headers | _shared("X-Request-Id")}
    if reply.bodies:
        written["content"] = {
            each.media_type: _body(each, "serialization", shapes) for each in reply.bodies
        }
    return written


def _header(says: str) -> Document:
    return {"description": says, "schema": {"type": "string"}}


def _shared(*headers: str) -> Document:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in headers}


def _body(body: Body, mode: JsonSchemaMode, shapes: Shapes) -> Document:
    schema = {"type": "string"} if body.shape is None else shapes.of(body.shape, mode)
    if body.media_type == EVENT_STREAM:
        schema = {"type": "string", EVENT_DATA: schema}
    if body.example is None:
        return {"schema": schema}
    if body.named:
        return {"schema": schema, "examples": {n: {"value": v} for n, v in body.example.items()}}
    return {"schema": schema, "example": body.example}


def _by_status(refusals: Iterable[Refusal]) -> list[tuple[int, list[Refusal]]]:
    found: dict[int, list[Refusal]] = {}
    for refusal in dict.fromkeys(refusals):
        found.setdefault(refusal.status, []).append(refusal)
    return sorted(found.items())


def _problems(said: Iterable[Documented]) -> Document:
    """Every set of problems that some route answers under one status, by name."""
    sets = [refusals for each in said for _, refusals in _by_status(each.refusals)]
    found = {_response_name(refusals): _problem(refusals) for refusals in sets}
    return dict(sorted(found.items()))


def _response_name(refusals: list[Refusal]) -> str:
    return "-".join([str(refusals[0].status), *(each.type for each in refusals)])


def _problem(refusals: list[Refusal]) -> Document:
    """The answer of a status, which may be for one of several problems."""
    schema = {
        "allOf": [{"$ref": SCHEMAS + ProblemDetails.__name__}],
        "properties": {"type": {"enum": [TYPE_BASE + each.type for each in refusals]}},
    }
    examples = {_name(each): {"$ref": f"#/components/examples/{_name(each)}"} for each in refusals}
    return {
        "description": " ".join(f"`{each.type}`: {TITLES[each.type]}." for each in refusals),
        "headers": _shared("X-Request-Id", *_OF_PROBLEMS.get(refusals[0].status, ())),
        "content": {MEDIA_TYPE: {"schema": schema, "examples": examples}},
    }


def _problem_examples(refusals: Iterable[Refusal]) -> Document:
    detail = "One sentence that says what to do."
    return {
        _name(each): {"value": Problem(each.type, detail, status=each.status).body()}
        for each in sorted(refusals, key=_name)
    }


def _name(refusal: Refusal) -> str:
    return f"{refusal.type}-{refusal.status}"


def _bearer() -> Document:
    return {
        "type": "http",
        "scheme": "bearer",
        "description": "A token that an operator made with `cacah tokens create`. Beside each"
        " operation stand the roles whose tokens may do it; operators may do everything.",
    }
