"""Who may not ask is told so before anything else that is wrong with the request (contract 2)."""

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Final

import httpx
import pytest
import pytest_asyncio

from cli.documents.services import applications
from shared.access import Role, Tokens
from shared.database import create_engine
from shared.openapi import document_of
from tests.support.parts import Parts, cloned_database

SERVICES: Final = ("registry", "projections", "notifier")

# What FastAPI itself reads, so that `x` is wrong for it before the route is called.
READ_BY_FASTAPI: Final = ("integer", "boolean")


@dataclass(frozen=True, slots=True)
class Asked:
    """A request to a route, every parameter of which is wrong, and whom the route is for."""

    method: str
    path: str
    query: dict[str, str]
    roles: frozenset[str]
    is_refused_unread: bool

    def __str__(self) -> str:
        return f"{self.method} {self.path} {self.query}"


def asked_of(document: dict[str, Any]) -> Iterator[Asked]:
    """A wrong request to every route."""
    for path, item in document["paths"].items():
        for method, operation in item.items():
            parameters = operation.get("parameters", [])
            roles = [role for each in operation["security"] for role in each["bearer"]]
            yield Asked(
                method.upper(),
                re.sub(r"\{[^}]+\}", "x", path),
                {each["name"]: "x" for each in parameters if each["in"] == "query"},
                frozenset(roles),
                any(is_read_by_fastapi(each["schema"]) for each in parameters),
            )


def is_read_by_fastapi(schema: dict[str, Any]) -> bool:
    return any(
        each.get("type") in READ_BY_FASTAPI or each.get("format") == "uuid"
        for each in (schema, *schema.get("anyOf", []))
    )


@dataclass(frozen=True, slots=True)
class Doors:
    """A client of each service, wrong requests to all of its routes, and a token of each role."""

    clients: dict[str, httpx.AsyncClient]
    asked: dict[str, list[Asked]]
    tokens: dict[Role, str]

    async def ask(self, service: str, asked: Asked, token: str | None) -> tuple[int, str]:
        """The status, and the last word of the problem's type."""
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        answer = await self.clients[service].request(
            asked.method, asked.path, params=asked.query, headers=headers
        )
        is_problem = answer.headers["content-type"] == "application/problem+json"
        return answer.status_code, answer.json()["type"].rpartition("/")[2] if is_problem else ""


@pytest.fixture(scope="module")
def tokens_database(parts: Parts) -> Iterator[str]:
    with cloned_database(parts) as name:
        yield parts.url(name)


@pytest_asyncio.fixture(scope="module")
async def doors(tokens_database: str) -> AsyncIterator[Doors]:
    """The services have no servers but for the tokens: nobody gets so far that they are needed."""
    engine = create_engine(tokens_database)
    tokens = Tokens(engine, None)
    apps = applications()
    async with AsyncExitStack() as opened:
        opened.push_async_callback(engine.dispose)
        clients = {}
        for service, app in apps.items():
            app.state.tokens = tokens
            transport = httpx.ASGITransport(app, raise_app_exceptions=False)
            client = httpx.AsyncClient(transport=transport, base_url=f"http://{service}")
            clients[service] = await opened.enter_async_context(client)
        yield Doors(
            clients,
            {service: list(asked_of(document_of(app))) for service, app in apps.items()},
            {role: await tokens.create(role, "KRC-01") for role in Role},
        )


@pytest.mark.parametrize("service", SERVICES)
async def test_who_has_no_token_learns_nothing_of_what_else_is_wrong(
    doors: Doors, service: str
) -> None:
    guarded = [asked for asked in doors.asked[service] if asked.roles]
    for asked in guarded:
        for token in (None, "of nobody"):
            assert await doors.ask(service, asked, token) == (401, "unauthorized"), asked
    assert any(asked.is_refused_unread for asked in guarded)


@pytest.mark.parametrize("service", SERVICES)
async def test_who_has_a_token_of_another_role_learns_nothing_of_what_else_is_wrong(
    doors: Doors, service: str
) -> None:
    for asked in doors.asked[service]:
        for role in Role:
            if asked.roles and role not in asked.roles:
                answer = await doors.ask(service, asked, doors.tokens[role])
                assert answer == (403, "forbidden"), (asked, role)


@pytest.mark.parametrize("service", SERVICES)
async def test_who_may_ask_is_told_what_is_wrong(doors: Doors, service: str) -> None:
    for asked in doors.asked[service]:
        if asked.is_refused_unread:
            for role in asked.roles:
                answer = await doors.ask(service, asked, doors.tokens[Role(role)])
                assert answer == (400, "invalid"), (asked, role)


@pytest.mark.parametrize("service", SERVICES)
async def test_health_metrics_and_documents_need_no_token(doors: Doors, service: str) -> None:
    open_to_all = [asked.path for asked in doors.asked[service] if not asked.roles]
    assert open_to_all == ["/healthz", "/readyz", "/metrics"]
    for path in (*open_to_all, "/docs", "/openapi.json"):
        answer = await doors.clients[service].get(path)
        assert answer.status_code == (503 if path == "/readyz" else 200), path
