"""Operators look at what is parked, try it again, give it up: over HTTP and by `cacah parked`."""

import base64
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import orjson
import pytest
from typer.testing import CliRunner, Result

from cli.main import main
from shared.access import Role
from tests.integration.test_registry import (
    BATCH,
    MASTER_KEY,
    OPERATOR,
    Registry,
    niks,
    read_log,
    rows,
    send,
    serving,
)
from tests.support.builders import NIK, SOURCE, activated, event, recorded, registered
from tests.support.parts import Parts
from tests.support.registry_process import registry_process

NAME: Final = "Warga Rahasia"
FORGET: Final = "UPDATE registry.vault_keys SET wrapped_key = NULL"


@pytest.fixture
async def registry(parts: Parts, database: str, topics: None) -> AsyncIterator[Registry]:
    async with serving(parts, database) as client:
        yield client


async def parked(registry: Registry, **parameters: int) -> list[dict[str, Any]]:
    answer = await registry.get("/v1/parked", params=parameters)
    assert answer.status_code == 200, answer.text
    assert NIK not in answer.text
    listed: list[dict[str, Any]] = answer.json()["parked"]
    return listed


def corrected() -> dict[str, Any]:
    return event("biodata.corrected", {"nik": NIK, "name": NAME, "reason": "salah", "sex": "P"})


async def test_what_waits_is_listed_with_what_it_waits_for(registry: Registry) -> None:
    other = niks(2)[1]
    early = recorded(id="early")
    ahead = activated(other, id="ahead", time="2999-01-01T00:00:00Z")
    await send(registry, early, registered(other), ahead, recorded(id="late"))
    listed = await parked(registry)
    assert [(each["arrival"], each["id"], each["waits_for"]) for each in listed] == [
        (1, "early", "registration"),
        (3, "ahead", "recording"),
        (4, "late", "registration"),
    ]
    assert {key: listed[1][key] for key in ("source", "type", "warnings")} == {
        "source": SOURCE,
        "type": "id.dukcapil.ikd.activated",
        "warnings": ["clock-ahead"],
    }
    assert [each["id"] for each in await parked(registry, after=1, limit=1)] == ["ahead"]
    assert await parked(registry, after=4) == []


async def test_one_is_shown_without_nik_and_name_and_with_what_became_of_it(
    registry: Registry,
) -> None:
    await send(registry, corrected())
    answer = await registry.get("/v1/parked/1")
    assert NIK not in answer.text
    assert NAME not in answer.text
    shown = answer.json()
    assert shown["data"] == {"reason": "salah", "sex": "P"}
    assert (shown["sender"], shown["outcome"]) == ("operator:operator", "parked")
    await send(registry, registered())
    shown = (await registry.get("/v1/parked/1")).json()
    assert (shown["outcome"], shown["position"], shown["waits_for"]) == ("accepted", 2, None)
    for unknown in ("/v1/parked/2", "/v1/parked/99"):
        assert (await registry.get(unknown)).status_code == 404


async def test_trying_again_moves_what_can_in_order_of_arrival(
    registry: Registry, parts: Parts, database: str
) -> None:
    """By itself nothing could move any more; a registration put right behind its back can do it."""
    first, second = niks(2)
    await send(registry, registered(first, id="r-1"), registered(second, id="r-2"))
    log_of_residents = "UPDATE registry.residents SET subject = reverse(subject)"
    await rows(parts, database, log_of_residents)
    waiting = [activated(second, id="a"), activated(first, id="b")]
    waiting += [recorded(second, id="c"), recorded(first, id="d")]
    assert {each["outcome"] for each in await send(registry, *waiting)} == {"parked"}
    nothing = (await registry.post("/v1/parked/retry")).json()
    assert nothing == {"tried": 4, "accepted": 0, "rejected": 0, "moved": []}
    await rows(parts, database, log_of_residents)
    told = (await registry.post("/v1/parked/retry")).json()
    assert (told["tried"], told["accepted"], told["rejected"]) == (4, 4, 0)
    assert [(each["id"], each["position"]) for each in told["moved"]] == [
        ("a", 4),
        ("b", 6),
        ("c", 3),
        ("d", 5),
    ]
    assert [each["id"] for each in await read_log(registry)][2:] == ["c", "a", "d", "b"]
    assert await parked(registry) == []


async def test_what_is_dropped_is_rejected_for_ever_with_a_trace(
    registry: Registry, parts: Parts, database: str
) -> None:
    waits = recorded(id="waits")
    await send(registry, waits)
    answer = await registry.post("/v1/parked/1/drop", json={"reason": "tercatat dua kali"})
    assert answer.status_code == 200
    assert answer.json()["dropped"]["by"] == "operator:operator"
    _, again = await send(registry, registered(), waits)
    assert (again["outcome"], again["first_outcome"]) == ("duplicate", "parked")
    assert again["problem"]["type"].endswith("/dropped")
    assert [each["id"] for each in await read_log(registry)] != ["waits"]
    (row,) = await rows(
        parts,
        database,
        "SELECT outcome, position, dropped_at, dropped_by, drop_reason"
        " FROM registry.submissions WHERE event_id = 'waits'",
    )
    assert (row["outcome"], row["position"]) == ("rejected", None)
    assert (row["dropped_by"], row["drop_reason"]) == ("operator:operator", "tercatat dua kali")
    assert row["dropped_at"] is not None
    twice = await registry.post("/v1/parked/1/drop", json={"reason": "lagi"})
    assert (twice.status_code, twice.json()["type"].rpartition("/")[2]) == (404, "not-found")
    shown = (await registry.get("/v1/parked/1")).json()
    assert shown["dropped"]["reason"] == "tercatat dua kali"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"{", "body"),
        (b"[]", "body"),
        (b"{}", "reason"),
        (b'{"reason": ""}', "reason"),
        (b'{"reason": "' + b"x" * 501 + b'"}', "reason"),
        (f'{{"reason": "ganda {NIK}"}}'.encode(), "reason"),
        (b'{"reason": "x", "nik": "1"}', "body"),
    ],
)
async def test_dropping_needs_a_reason_without_a_nik(
    registry: Registry, body: bytes, field: str
) -> None:
    await send(registry, recorded())
    answer = await registry.post("/v1/parked/1/drop", content=body)
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == field
    assert NIK not in answer.text
    assert len(await parked(registry)) == 1


async def test_what_is_parked_is_for_operators_alone(registry: Registry) -> None:
    tokens = registry.app.state.tokens  # type: ignore[attr-defined]
    for role in (Role.STATION, Role.KPU):
        token = await tokens.create(role, "KRC-02")
        registry.headers["Authorization"] = f"Bearer {token}"
        for method, path in (
            ("GET", "/v1/parked"),
            ("GET", "/v1/parked/1"),
            ("POST", "/v1/parked/retry"),
            ("POST", "/v1/parked/1/drop"),
        ):
            assert (await registry.request(method, path)).status_code == 403, path


async def test_an_erased_person_is_listed_as_nobody_and_can_be_dropped(
    registry: Registry, parts: Parts, database: str
) -> None:
    await send(registry, recorded())
    await rows(parts, database, FORGET)
    (listed,) = await parked(registry)
    assert (listed["type"], listed["waits_for"]) == (None, None)
    assert (await registry.post("/v1/parked/retry")).json()["tried"] == 1
    dropped = await registry.post("/v1/parked/1/drop", json={"reason": "dihapus"})
    assert dropped.json()["data"] is None
    assert await parked(registry) == []


@pytest.fixture
def address(parts: Parts, database: str, topics: None, tmp_path: Path) -> Iterator[str]:
    key = base64.b64encode(MASTER_KEY).decode()
    secrets = {"CACAH_OPERATOR_TOKEN": "operator", "CACAH_VAULT_KEY": key}
    with registry_process(parts, database, secrets, tmp_path / "registry.log") as where:
        yield where


def test_the_command_lists_shows_tries_again_and_drops(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CACAH_REGISTRY_URL", address)
    monkeypatch.setenv("CACAH_TOKEN", "operator")
    events = [corrected() | {"id": "[red]odd[/red]"}, recorded(id="early")]
    body = orjson.dumps(events)
    httpx.post(f"{address}/v1/events", content=body, headers=BATCH | OPERATOR)
    listed = cacah("list", "--at", "registry").stdout.splitlines()
    assert listed[1].split()[0] == "1"
    assert "[red]odd[/red]  biodata.corrected  registration" in listed[1]
    assert listed[-1] == "2 parked at the registry."
    assert orjson.loads(cacah("show", "1").stdout)["data"] == {"reason": "salah", "sex": "P"}
    assert cacah("retry").stdout == "2 tried: 0 accepted, 0 rejected, 2 still parked.\n"
    assert cacah("drop", "2", "--reason", "ganda").stdout.startswith("Dropped early of ")
    assert cacah("list", "--at", "registry").stdout.endswith("1 parked at the registry.\n")
    again = cacah("drop", "2", "--reason", "ganda", status=2)
    assert "Nothing is parked under 2" in again.stderr
    for said in (*tmp_path.iterdir(),):
        told = said.read_text()
        assert NIK not in told
        assert NAME not in told


def test_the_command_says_what_hinders_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CACAH_REGISTRY_URL", "http://127.0.0.1:1")
    monkeypatch.delenv("CACAH_TOKEN", raising=False)
    missing = cacah("list", "--home", str(tmp_path), status=2)
    assert "set CACAH_TOKEN to an operator's token" in missing.stderr
    monkeypatch.setenv("CACAH_TOKEN", "operator")
    silent = cacah("list", status=2)
    assert "no registry answers at http://127.0.0.1:1" in silent.stderr


def cacah(*arguments: str, status: int = 0) -> Result:
    result = CliRunner().invoke(main, ["parked", *arguments])
    assert result.exit_code == status, result.output
    return result
