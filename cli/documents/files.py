"""The documents as files: those of the code as it is, those that are committed, those released."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson

from cli.documents.asyncapi import asyncapi_document
from cli.documents.breaking import breaking_asyncapi, breaking_openapi
from cli.documents.services import openapi_documents
from shared.web import VERSION

FOLDER: Final = Path(__file__).parents[2] / "docs" / "api"
ASYNCAPI: Final = "cacah.asyncapi.json"
RELEASED: Final = "released"
BREAKING: Final = "BREAKING.md"
UNRELEASED: Final = "## Not released yet"
NOTHING: Final = "Nothing."

_ACCEPTED: Final = re.compile(r"^- `([^`]+)`", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Findings:
    """What is wrong with the committed documents: files that the code no longer writes so, breaks
    that nobody accepted, and breaks that were accepted and are none."""

    drifted: list[str]
    broken: list[str]
    accepted_for_nothing: list[str]

    @property
    def are_none(self) -> bool:
        return not (self.drifted or self.broken or self.accepted_for_nothing)


def written() -> dict[str, bytes]:
    """Every document by its file's name, as the code has it. Raises UndocumentedRouteError."""
    documents: dict[str, Any] = {
        f"{name}.openapi.json": document for name, document in openapi_documents().items()
    }
    documents[ASYNCAPI] = asyncapi_document()
    return {name: _bytes(document) for name, document in documents.items()}


def _bytes(document: Any) -> bytes:
    return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def check(documents: Mapping[str, bytes], folder: Path = FOLDER) -> Findings:
    """Compare the code's documents with those that are committed and those last released."""
    drifted = [name for name, text in documents.items() if _read(folder / name) != text]
    accepted = accepted_breaks(folder)
    broken = list(breaks(documents, folder / RELEASED))
    return Findings(
        drifted,
        [each for each in broken if each not in accepted],
        [each for each in accepted if each not in broken],
    )


def breaks(documents: Mapping[str, bytes], released: Path) -> Iterator[str]:
    """What the documents break of those released, each named with the file."""
    for path in sorted(released.glob("*.json")):
        before = orjson.loads(path.read_bytes())
        if path.name not in documents:
            yield f"{path.name}: the whole document is gone"
            continue
        compare = breaking_asyncapi if path.name == ASYNCAPI else breaking_openapi
        for each in compare(before, orjson.loads(documents[path.name])):
            yield f"{path.name}: {each}"


def accepted_breaks(folder: Path) -> list[str]:
    """The breaks that BREAKING.md names under what is not released yet."""
    _, _, unreleased = (folder / BREAKING).read_text().partition(UNRELEASED)
    return _ACCEPTED.findall(unreleased.partition("\n## ")[0])


def write(documents: Mapping[str, bytes], folder: Path = FOLDER) -> None:
    """Write the documents."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in documents.items():
        (folder / name).write_bytes(text)


def release(documents: Mapping[str, bytes], folder: Path = FOLDER, version: str = VERSION) -> None:
    """Let the documents be what later ones are compared with, and what was accepted up to now be
    told under the version's name."""
    write(documents, folder / RELEASED)
    told = (folder / BREAKING).read_text()
    heading = f"{UNRELEASED}\n\n{NOTHING}\n\n## {version}"
    (folder / BREAKING).write_text(told.replace(UNRELEASED, heading, 1))


def _read(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None
