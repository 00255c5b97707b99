"""Reading a body so that an event that is not JSON costs the others of its batch nothing.

A whole body is JSON or it is not. Where it is not, a batch is taken apart at the commas between
its events, and each is read by itself. What then still cannot be read as RFC 8259 has it is
`Unfit`: kept and refused, with as much of it as a more lenient reader makes out.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

_TOKEN: Final = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[{]+|[\]}]+|,', re.DOTALL)
_NAME: Final = re.compile(r"[A-Za-z0-9_.]{1,60}")
_BLANK: Final = b" \t\n\r"

# Python's own reader gives up at a thousand levels.
DEEPEST: Final = 100

# Five thousand events of the contract have a quarter of that.
MOST_TOKENS: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Unfit:
    """What came in an event's place and is not JSON, or is beyond what JSON can carry unchanged:
    a number without end, half a character, bytes that are no UTF-8. `value` is None where nothing
    of it can be read."""

    value: Any


def made_out(event: Any) -> Mapping[str, Any] | None:
    """The members of an event as far as they can be read; None of what is no object."""
    value = event.value if isinstance(event, Unfit) else event
    return value if isinstance(value, dict) else None


def read_event(body: bytes) -> Any:
    """The JSON value of a body, or an Unfit."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return Unfit(_make_out(body))


def read_batch(body: bytes) -> list[Any] | None:
    """The elements of an array, each a JSON value or an Unfit; None for what is no array."""
    pieces = _pieces(body.strip(_BLANK))
    return None if pieces is None else [read_event(piece) for piece in pieces]


def _make_out(body: bytes) -> Any:
    try:
        return json.loads(_flattened(body).decode("utf-8", "surrogateescape"))
    except ValueError:
        return None


def _flattened(body: bytes) -> bytes:
    """The bytes with `0` in the place of whatever is nested too deeply to be read."""
    kept, begin, depth = bytearray(), 0, 0
    for token in _TOKEN.finditer(body):
        match token[0][:1]:
            case b"[" | b"{":
                if depth <= DEEPEST < depth + len(token[0]):
                    kept += body[begin : token.start() + DEEPEST - depth] + b"0"
                depth += len(token[0])
            case b"]" | b"}":
                if depth > DEEPEST >= depth - len(token[0]):
                    begin = token.end() - (DEEPEST - depth + len(token[0]))
                depth -= len(token[0])
    return bytes(kept + body[begin:])


def _pieces(body: bytes) -> list[bytes] | None:
    """The bytes between the commas of the outermost array."""
    if not body.startswith(b"["):
        return None
    pieces, begin, depth = [], 1, 0
    for number, token in enumerate(_TOKEN.finditer(body)):
        if number == MOST_TOKENS:
            return None
        match token[0][:1]:
            case b"[" | b"{":
                depth += len(token[0])
            case b"]" | b"}":
                depth -= len(token[0])
                if depth <= 0 and token.end() != len(body):
                    return None
            case b"," if depth == 1:
                pieces.append(body[begin : token.start()])
                begin = token.end()
    if depth != 0:
        return None
    pieces.append(body[begin:-1])
    return pieces if all(piece.strip(_BLANK) for piece in pieces) else None


def written(event: Any) -> bytes:
    """What could be made out of an Unfit event: equal content as equal bytes."""
    return json.dumps(_pruned(event), sort_keys=True, separators=(",", ":")).encode()


def _pruned(value: Any, levels: int = DEEPEST) -> Any:
    """A value with `0` in the place of whatever is nested too deeply."""
    match value:
        case dict() if levels:
            return {name: _pruned(member, levels - 1) for name, member in value.items()}
        case list() if levels:
            return [_pruned(item, levels - 1) for item in value]
        case dict() | list():
            return 0
        case _:
            return value


def misfit(event: Mapping[str, Any]) -> str:
    """The first member of an Unfit event that JSON cannot carry."""
    data = event.get("data")
    members = dict(event)
    if isinstance(data, dict):
        del members["data"]
        members |= {f"data.{name}": value for name, value in data.items()}
    found = next((name for name, value in members.items() if not _fits(name, value)), "")
    return found if _NAME.fullmatch(found) else "body"


def _fits(name: str, value: Any) -> bool:
    try:
        orjson.loads(json.dumps({name: _pruned(value)}))
    except orjson.JSONDecodeError:
        return False
    return True
