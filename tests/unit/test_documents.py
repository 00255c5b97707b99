"""The documents of the interface: true to the code, whole, and readable without internet."""

import contextlib
import gzip
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import httpx
import pytest
import typer
from fastapi import FastAPI, Request
from fastapi.routing import iter_route_contexts
from jsonschema import Draft7Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from pydantic import create_model
from typer.testing import CliRunner

from cli.documents import __main__ as command
from cli.documents import files
from cli.documents.services import applications
from shared.counts import Counts
from shared.docs_page import page
from shared.documenting import OPERATORS, documented, json_answer
from shared.events.codec import EVENT_TYPES
from shared.openapi import UndocumentedRouteError, document_of
from shared.web import service_app
from tests.support.documented import Schemas

DATA = Path(__file__).parents[1] / "data"
Written = dict[str, bytes]

SERVICES = ("registry", "projections", "notifier")

# What is served besides the interface: it says nothing that a document could hold.
UNDOCUMENTED = {("GET", "/docs"), ("GET", "/openapi.json")}
DASHBOARD = {("GET", "/"), ("GET", "/web/{name}")}


@pytest.fixture(scope="module")
def apps() -> dict[str, FastAPI]:
    return applications()


@pytest.fixture(scope="module")
def written() -> Written:
    """The documents as the code has them, by the names of their files."""
    return files.written()


@pytest.fixture(scope="module")
def documents(written: Written) -> dict[str, dict[str, Any]]:
    return {service: json.loads(written[f"{service}.openapi.json"]) for service in SERVICES}


@pytest.fixture(scope="module")
def asyncapi(written: Written) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(written[files.ASYNCAPI])
    return document


def test_the_committed_documents_are_the_codes_and_break_nothing(written: Written) -> None:
    found = files.check(written)
    assert found.are_none, found


@pytest.mark.parametrize("service", SERVICES)
def test_each_is_openapi_3_1(documents: dict[str, dict[str, Any]], service: str) -> None:
    assert documents[service]["openapi"].startswith("3.1")
    assert list(OpenAPIV31SpecValidator(documents[service]).iter_errors()) == []


def test_the_topics_are_asyncapi_3(asyncapi: dict[str, Any]) -> None:
    schema = json.loads(gzip.decompress((DATA / "asyncapi-3.0.0.schema.json.gz").read_bytes()))
    assert [error.message for error in Draft7Validator(schema).iter_errors(asyncapi)] == []


@pytest.mark.parametrize("service", SERVICES)
def test_every_route_that_is_served_is_documented_and_no_other(
    apps: dict[str, FastAPI], documents: dict[str, dict[str, Any]], service: str
) -> None:
    served = {
        (method, context.path_format)
        for context in iter_route_contexts(apps[service].routes)
        for method in context.methods or ()
        if method != "HEAD"
    }
    told = {
        (method.upper(), path)
        for path, item in documents[service]["paths"].items()
        for method in item
    }
    assert served - told == UNDOCUMENTED | (DASHBOARD if service == "projections" else set())
    assert told <= served


def test_a_route_that_says_nothing_of_itself_is_refused_by_name() -> None:
    app = bare_app()

    @app.get("/v1/new")
    async def new(_: Request) -> None: ...

    with pytest.raises(UndocumentedRouteError, match=r"GET /v1/new is not documented.*make doc"):
        document_of(app)


def bare_app() -> FastAPI:
    async def readiness() -> dict[str, bool]:
        return {}

    return service_app("cacah", "For a test.", lambda _: contextlib.nullcontext(), readiness)


@pytest.mark.parametrize("service", SERVICES)
def test_every_number_that_is_asked_by_is_one_that_the_database_can_hold(
    documents: dict[str, dict[str, Any]], service: str
) -> None:
    unbounded = [
        f"{method} {path} {parameter['name']}"
        for path, item in documents[service]["paths"].items()
        for method, operation in item.items()
        for parameter in operation.get("parameters", [])
        for schema in (parameter["schema"], *parameter["schema"].get("anyOf", []))
        if schema.get("type") == "integer"
        if "minimum" not in schema or schema.get("maximum", 2**63) > 2**62
    ]
    assert unbounded == []


@pytest.mark.parametrize("service", SERVICES)
def test_every_example_is_as_its_schema_says(
    documents: dict[str, dict[str, Any]], service: str
) -> None:
    document = documents[service]
    schemas = Schemas(document)
    faults = [
        f"{where}: {fault}"
        for where, body in bodies(document)
        for example in examples(document, body)
        for fault in schemas.faults(body["schema"], example)
    ]
    assert faults == []


def bodies(document: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Every body of a request or an answer, and where it stands."""
    problems = document["components"]["responses"]
    found: list[tuple[str, dict[str, Any]]] = []
    for path, item in document["paths"].items():
        for method, operation in item.items():
            replies = operation["responses"].values()
            holders = [r for r in (operation.get("requestBody"), *replies) if r and "$ref" not in r]
            for holder in holders:
                found += [(f"{method} {path}", b) for b in holder.get("content", {}).values()]
    for name, problem in problems.items():
        found += [(name, body) for body in problem["content"].values()]
    return found


def examples(document: dict[str, Any], body: dict[str, Any]) -> list[Any]:
    if "example" in body:
        return [body["example"]]
    kept = document["components"]["examples"]
    return [
        each["value"] if "value" in each else kept[each["$ref"].rpartition("/")[2]]["value"]
        for each in body.get("examples", {}).values()
    ]


def test_every_example_of_a_message_is_as_its_schema_says(asyncapi: dict[str, Any]) -> None:
    schemas = Schemas(asyncapi)
    for name, message in asyncapi["components"]["messages"].items():
        for example in message["examples"]:
            assert schemas.faults(message["payload"], example["payload"]) == [], name
            if "headers" in message:
                assert schemas.faults(message["headers"], example["headers"]) == []


def test_the_counts_and_the_types_of_events_are_all_there(
    documents: dict[str, dict[str, Any]], asyncapi: dict[str, Any]
) -> None:
    for document in (documents["projections"], documents["notifier"], asyncapi):
        counts = document["components"]["schemas"]["Counts"]["properties"]
        assert tuple(counts) == Counts._fields
        assert all(member["description"] for member in counts.values())
    (sent, _) = documents["registry"]["paths"]["/v1/events"]["post"]["requestBody"][
        "content"
    ].values()
    told = asyncapi["components"]["messages"]["event"]["payload"]
    for schema, kept in ((sent["schema"], documents["registry"]), (told, asyncapi)):
        types = {
            kept["components"]["schemas"][each["$ref"].rpartition("/")[2]]["properties"]["type"][
                "const"
            ]
            for each in schema["oneOf"]
        }
        assert types == {f"id.dukcapil.{each}" for each in EVENT_TYPES}


def test_no_person_of_an_example_can_be_real(
    documents: dict[str, dict[str, Any]], asyncapi: dict[str, Any]
) -> None:
    """No province begins with 99; and no NIK at all but where NIKs are sent or looked up."""
    for name, document in {**documents, "asyncapi": asyncapi}.items():
        niks = set(re.findall(r"\"(\d{16})\"", json.dumps(document)))
        assert all(nik.startswith("99") for nik in niks)
        assert bool(niks) == (name == "registry")


class Page(HTMLParser):
    """What a page loads, links to and has anchors for."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.loaded: list[str] = []
        self.links: list[str] = []
        self.anchors: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            if name in ("src", "srcset", "data", "action") or name.startswith("on"):
                self.loaded.append(f"{tag} {name}={value}")
            if name == "style" or (name == "href" and tag != "a"):
                self.loaded.append(f"{tag} {name}={value}")
            if name == "href":
                self.links.append(value or "")
            if name == "id":
                self.anchors.append(value or "")


@pytest.mark.parametrize("service", SERVICES)
async def test_the_page_loads_nothing_and_leads_nowhere_else(
    apps: dict[str, FastAPI], service: str
) -> None:
    transport = httpx.ASGITransport(apps[service])
    async with httpx.AsyncClient(transport=transport, base_url="http://office") as client:
        answer = await client.get("/docs")
        document = (await client.get("/openapi.json")).json()
    assert answer.status_code == 200
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    found = Page(answer.text)
    assert found.loaded == []
    assert not found.tags & {"script", "link", "img", "iframe", "object", "embed", "form", "base"}
    assert "url(" not in answer.text
    assert "@import" not in answer.text
    assert len(set(found.anchors)) == len(found.anchors)
    targets = {link for link in found.links if link != "openapi.json"}
    assert targets <= {f"#{anchor}" for anchor in found.anchors}
    for path, item in document["paths"].items():
        for method in item:
            assert f"{method.upper()} {path}" in answer.text
    assert document == document_of(apps[service])


def test_two_shapes_of_one_name_are_told_apart() -> None:
    app = bare_app()
    one, other = [create_model("Thing", **{name: (int, ...)}) for name in ("one", "other")]  # type: ignore[call-overload]
    for path, kind in (("/one", one), ("/other", other)):

        @app.get(path)
        @documented(OPERATORS, {200: json_answer("It.", kind, {})})
        async def thing(_: Request) -> None: ...

    document = document_of(app)
    schemas = document["components"]["schemas"]
    for name in ("one", "other"):
        content = document["paths"][f"/{name}"]["get"]["responses"]["200"]["content"]
        schema = content["application/json"]["schema"]
        assert list(schemas[schema["$ref"].rpartition("/")[2]]["properties"]) == [name]


def test_what_a_document_says_is_never_markup() -> None:
    app = bare_app()

    @app.get("/v1/new", summary="<script>", description="`<b>` & <i>")
    @documented(OPERATORS, {200: json_answer("<img>", dict[str, str], {"<u>": "</pre>"})})
    async def new(_: Request) -> None: ...

    tags = Page(page(document_of(app))).tags
    assert not tags & {"script", "i", "img", "u"}


def committed_to(folder: Path, documents: dict[str, bytes]) -> Path:
    """A folder with documents as committed and as released, and nothing accepted."""
    files.write(documents, folder)
    (folder / files.BREAKING).write_text(f"# Breaks\n\n{files.UNRELEASED}\n\nNothing.\n")
    files.release(documents, folder, "1.0")
    return folder


def with_other_words(written: Written, change: str, to: str) -> Written:
    """The documents, with something of the registry's said otherwise."""
    name = "registry.openapi.json"
    return written | {name: written[name].replace(change.encode(), to.encode())}


def test_what_the_code_no_longer_says_is_drift(tmp_path: Path, written: Written) -> None:
    folder = committed_to(tmp_path, written)
    found = files.check(with_other_words(written, "Read the event log", "Read all events"), folder)
    assert found == files.Findings(["registry.openapi.json"], [], [])


def test_a_break_stands_until_it_is_accepted_by_name(tmp_path: Path, written: Written) -> None:
    folder = committed_to(tmp_path, written)
    changed = with_other_words(written, "/v1/stations", "/v1/places")
    files.write(changed, folder)
    (broken,) = files.check(changed, folder).broken
    assert broken == "registry.openapi.json: /v1/stations is gone"
    told = (folder / files.BREAKING).read_text()
    accepted = told.replace(f"{files.UNRELEASED}\n", f"{files.UNRELEASED}\n- `{broken}`: use it.\n")
    (folder / files.BREAKING).write_text(accepted)
    assert files.check(changed, folder).are_none
    assert files.check(written, folder).accepted_for_nothing == [broken]


def test_a_release_is_what_later_documents_are_compared_with(
    tmp_path: Path, written: Written
) -> None:
    folder = committed_to(tmp_path, written)
    changed = with_other_words(written, "/v1/stations", "/v1/places")
    files.write(changed, folder)
    told = (folder / files.BREAKING).read_text()
    broken = "- `registry.openapi.json: /v1/stations is gone`: ask /v1/places."
    unreleased = f"{files.UNRELEASED}\n\n{broken}"
    (folder / files.BREAKING).write_text(told.replace(files.UNRELEASED, unreleased))
    files.release(changed, folder, "2.0")
    assert files.check(changed, folder).are_none
    assert files.accepted_breaks(folder) == []
    assert f"## 2.0\n\n{broken}" in (folder / files.BREAKING).read_text()


def test_a_document_that_is_gone_is_a_break(tmp_path: Path, written: Written) -> None:
    folder = committed_to(tmp_path, written)
    kept = {name: text for name, text in written.items() if "notifier" not in name}
    assert files.check(kept, folder).broken == ["notifier.openapi.json: the whole document is gone"]


def test_the_command_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    found = files.Findings(["x.json"], ["y"], ["z"])
    monkeypatch.setattr(files, "check", lambda _: found)
    app = typer.Typer()
    app.command()(command.documents)
    said = CliRunner().invoke(app, ["--check"])
    assert said.exit_code == 1
    assert "docs/api/x.json is not what the code says" in said.output
    assert "Run `make documents`" in said.output
    assert "- `y`: …" in said.output
    assert "docs/api/BREAKING.md names what is not broken; remove: z" in said.output
