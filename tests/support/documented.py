"""Holds what services really take and answer against the committed documents of the interface.

A document lets readers expect more members than it names; here a member that it does not name is a
fault, so that nothing is answered undocumented.
"""

import json
import re
from collections.abc import Awaitable, Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

import httpx
from jsonschema import Draft202012Validator, FormatChecker

FOLDER: Final = Path(__file__).parents[2] / "docs" / "api"

# Outcomes of events of a batch that were understood, so that their form must be the documented one.
UNDERSTOOD: Final = {"accepted", "parked"}
BATCH: Final = "application/cloudevents-batch+json"

# One JSON text; lines of JSON are none.
JSON_TYPES: Final = ("/json", "+json")

Hook = Callable[[httpx.Response], Awaitable[None]]


@cache
def committed(name: str) -> dict[str, Any]:
    """A committed document, such as `registry.openapi.json`."""
    document: dict[str, Any] = json.loads((FOLDER / name).read_text())
    return document


def closed(node: Any) -> Any:
    """A schema in which objects have no members but those named."""
    if isinstance(node, list):
        return [closed(each) for each in node]
    if not isinstance(node, dict):
        return node
    shut = {name: closed(value) for name, value in node.items()}
    is_object = isinstance(node.get("properties"), dict) and "allOf" not in node
    return {"additionalProperties": False} | shut if is_object else shut


class Schemas:
    """Validates values against schemas of one document."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._components = closed(document["components"])
        self._validators: dict[str, Draft202012Validator] = {}

    def faults(self, schema: Mapping[str, Any], value: Any) -> list[str]:
        """Where and why a value is not as a schema has it; never the value itself."""
        key = json.dumps(schema, sort_keys=True)
        if key not in self._validators:
            whole = closed(schema) | {"components": self._components}
            self._validators[key] = Draft202012Validator(whole, format_checker=FormatChecker())
        return [
            f"{error.json_path}: {error.validator} {error.validator_value!r}"[:300]
            for error in self._validators[key].iter_errors(value)
        ]


class Interface:
    """A service's document, as judge of its answers."""

    def __init__(self, service: str) -> None:
        self.document = committed(f"{service}.openapi.json")
        self.seen: set[tuple[str, str, int]] = set()
        self._schemas = Schemas(self.document)
        self._paths = [
            (_pattern(path), path) for path in sorted(self.document["paths"], key=_order)
        ]

    def operation(self, method: str, path: str) -> tuple[str, Mapping[str, Any]] | None:
        """The documented path that an address is of, and what is said of the method."""
        for pattern, documented in self._paths:
            if pattern.fullmatch(path):
                found = self.document["paths"][documented].get(method.lower())
                return (documented, found) if found is not None else None
        return None

    def faults(self, response: httpx.Response) -> list[str]:
        """What is not as documented of an answer whose body was read (a stream's need not be)."""
        request = response.request
        found = self.operation(request.method, request.url.path)
        if found is None:
            return [f"{request.method} {request.url.path} is not documented"]
        path, operation = found
        self.seen.add((request.method, path, response.status_code))
        where = f"{request.method} {path} {response.status_code}"
        reply = operation["responses"].get(str(response.status_code))
        if reply is None:
            return [f"{where}: this status is not documented"]
        if "$ref" in reply:
            reply = self.document["components"]["responses"][reply["$ref"].rpartition("/")[2]]
        faults = self._answer_faults(reply, response) + self._sent_faults(operation, response)
        return [f"{where}: {fault}" for fault in faults]

    def _answer_faults(self, reply: Mapping[str, Any], response: httpx.Response) -> list[str]:
        kept = self.document["components"]["headers"]
        missing = [
            f"the header {name} is missing"
            for name, header in reply.get("headers", {}).items()
            if kept.get(name, header).get("required", False) and name not in response.headers
        ]
        content = reply.get("content", {})
        media_type = response.headers.get("content-type", "").partition(";")[0]
        if not content and not media_type:
            return missing
        if media_type not in content:
            return [*missing, f"the media type {media_type} is not documented"]
        if not media_type.endswith(JSON_TYPES):
            return missing
        return missing + self._schemas.faults(content[media_type]["schema"], response.json())

    def _sent_faults(self, operation: Mapping[str, Any], response: httpx.Response) -> list[str]:
        """What was understood must be as the document says that it is to be sent."""
        request = response.request
        if response.status_code >= 300 or "requestBody" not in operation or not request.content:
            return []
        if request.headers.get("content-encoding"):
            return []
        content = operation["requestBody"]["content"]
        media_type = request.headers.get("content-type", "application/json")
        if not media_type.endswith(JSON_TYPES):
            return []
        schema = content.get(media_type, content.get("application/json", {})).get("schema", {})
        sent = json.loads(request.content)
        if media_type != BATCH:
            return [f"sent {fault}" for fault in self._schemas.faults(schema, sent)]
        results = response.json()["results"]
        return [
            f"sent {fault}"
            for event, result in zip(sent, results, strict=True)
            if result["outcome"] in UNDERSTOOD
            for fault in self._schemas.faults(schema["items"], event)
        ]

    def hook(self) -> Hook:
        """For `event_hooks["response"]` of a client: fails what was answered wrongly."""

        async def check(response: httpx.Response) -> None:
            if not response.headers.get("content-type", "").startswith("text/event-stream"):
                await response.aread()
            assert (faults := self.faults(response)) == [], "\n".join(faults)

        return check


def _pattern(path: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\\\{[^/]+?\\\}", "[^/]+", re.escape(path)))


def _order(path: str) -> tuple[int, str]:
    """Paths without parameters come first."""
    return path.count("{"), path
