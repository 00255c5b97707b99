"""`cacah tokens` on a real database: a token opens what it should until it is taken back."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine
from typer.testing import CliRunner, Result

from cli.main import main
from services.registry.lookups import LookUps
from services.registry.vault import Vault
from shared import access
from shared.access import Principal, Role, Tokens
from shared.database import create_engine
from tests.integration.test_registry import MASTER_KEY, rows
from tests.support.parts import Parts

SOMEBODY = UUID(int=7)


@pytest.fixture
def named_database(parts: Parts, database: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("CACAH_DATABASE_URL", parts.url(database))
    return parts.url(database)


@pytest.fixture
async def engine(named_database: str) -> AsyncIterator[AsyncEngine]:
    engine = create_engine(named_database)
    yield engine
    await engine.dispose()


def cacah(*arguments: str, status: int = 0) -> Result:
    result = CliRunner().invoke(main, ["tokens", *arguments])
    assert result.exit_code == status, result.output
    return result


async def acting(*arguments: str, status: int = 0) -> Result:
    """The command, which has a loop of its own."""
    return await asyncio.to_thread(cacah, *arguments, status=status)


async def created(*arguments: str) -> str:
    result = await acting("create", *arguments)
    assert "not shown again" in result.stderr
    return result.stdout.strip()


async def test_a_token_is_its_holders_until_it_is_revoked(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = await created("--role", "station", "--name", "KRC-01")
    assert await Tokens(engine, None).principal(token) == Principal(Role.STATION, "KRC-01", 1)
    holding = Tokens(engine, None)
    await holding.principal(token)
    assert (await acting("revoke", "1")).stdout == "Token 1 is revoked.\n"
    assert await Tokens(engine, None).principal(token) is None
    monkeypatch.setattr(access, "CACHE_S", 0.0)
    assert await holding.principal(token) is None
    again = await acting("revoke", "1", status=1)
    assert "No token 1 is in force" in again.stderr


async def test_the_list_shows_who_holds_what_and_no_secret(
    engine: AsyncEngine, parts: Parts, database: str
) -> None:
    secret = await created("--role", "kpu", "--name", "KPU [red]Kerinci[/red]", "--lookup")
    await created("--role", "operator", "--name", "Budi")
    await acting("revoke", "2")
    listed = (await acting("list")).stdout.splitlines()
    assert listed[0].split() == ["id", "role", "name", "looks", "up", "created", "revoked"]
    assert listed[1].startswith("1   kpu       KPU [red]Kerinci[/red]  yes")
    assert listed[2].split()[:4] == ["2", "operator", "Budi", "yes"]
    assert len(listed[2].split()) == 8
    assert secret not in "".join(listed)
    kept = await rows(parts, database, "SELECT t::text FROM access.tokens t")
    assert all(secret not in row[0] for row in kept)


async def test_who_may_look_up_is_said_at_the_making(engine: AsyncEngine) -> None:
    tokens = Tokens(engine, None)
    for arguments, may in (
        (("--role", "kpu", "--name", "KPU", "--lookup"), True),
        (("--role", "kpu", "--name", "KPU"), False),
        (("--role", "operator", "--name", "Budi"), True),
    ):
        holder = await tokens.principal(await created(*arguments))
        assert holder is not None
        assert holder.may_look_up is may
    refused = await acting("create", "--role", "station", "--name", "KRC-01", "--lookup", status=2)
    assert "for KPU's tokens alone" in refused.stderr


@pytest.mark.parametrize(
    ("role", "name"),
    [
        ("station", "KRC 01"),
        ("station", "-KRC"),
        ("station", "Krç"),
        ("station", "x" * 65),
        ("kpu", " "),
    ],
)
async def test_a_token_without_a_fit_name_is_not_made(
    engine: AsyncEngine, role: str, name: str
) -> None:
    await acting("create", "--role", role, "--name", name, status=2)
    assert await Tokens(engine, None).issued() == []


async def test_the_audit_lists_look_ups_with_their_purpose(engine: AsyncEngine) -> None:
    lookups = LookUps(engine, Vault(MASTER_KEY))
    holder = Principal(Role.KPU, "KPU Kerinci", 3, True)
    operator = Principal(Role.OPERATOR, "operator", may_look_up=True)
    await lookups.look_up(holder, "pencocokan DPT", [SOMEBODY, UUID(int=8)])
    await lookups.look_up(operator, "[b]pemeriksaan[/b]", [SOMEBODY])
    heading, first, second = (await acting("audit")).stdout.splitlines()
    assert heading.split()[0] == "number"
    assert first.split()[0] == "1"
    assert first.split()[3:] == ["3", "kpu", "KPU", "Kerinci", "name", "2", "pencocokan", "DPT"]
    said = ["settings", "operator", "operator", "name", "1", "[b]pemeriksaan[/b]"]
    assert second.split()[3:] == said
    assert str(SOMEBODY) in (await acting("audit", "--persons", "--after", "1")).stdout
    assert len((await acting("audit", "--after", "1")).stdout.splitlines()) == 2


def test_a_database_that_is_not_there_is_said_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CACAH_DATABASE_URL", "postgresql+asyncpg://nobody@127.0.0.1:1/nothing")
    away = cacah("list", status=1)
    assert away.stderr.startswith("The tokens cannot be reached: ")
    monkeypatch.delenv("CACAH_DATABASE_URL")
    nothing = cacah("list", "--home", str(tmp_path), status=1)
    assert f"no stack runs in {tmp_path}" in nothing.stderr
