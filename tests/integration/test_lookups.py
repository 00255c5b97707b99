"""KPU asks who voters are: answered to whom an operator allowed to, once the audit has it."""

import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import asyncpg
import httpx
import orjson
import pytest

from services.registry.lookups_api import MOST_NIKS
from shared.access import Role
from tests.integration.test_registry import (
    MASTER_KEY,
    OPERATOR,
    Registry,
    niks,
    read_log,
    rows,
    send,
    serving,
)
from tests.support.builders import NIK, event, registered, retracted
from tests.support.parts import Parts
from tests.support.registry_process import registry_process

PURPOSE: Final = "pencocokan DPT"
VILLAGE: Final = "15.01.01.2001"
AUDIT: Final = "SELECT * FROM registry.lookups ORDER BY lookup_id"


@pytest.fixture
async def registry(parts: Parts, database: str, topics: None) -> AsyncIterator[Registry]:
    async with serving(parts, database) as client:
        yield client


async def kpu(registry: Registry, may_look_up: bool = True) -> dict[str, str]:
    """The header of a new KPU token."""
    tokens = registry.app.state.tokens  # type: ignore[attr-defined]
    return {"Authorization": f"Bearer {await tokens.create(Role.KPU, 'KPU Kerinci', may_look_up)}"}


async def look_up(
    registry: Registry, *residents: object, headers: dict[str, str] = OPERATOR, **members: Any
) -> httpx.Response:
    body = {"purpose": PURPOSE, "resident_ids": list(map(str, residents))} | members
    return await registry.post("/v1/voters/lookup", json=body, headers=headers)


async def residents(registry: Registry) -> list[str]:
    """The ids of the registered, in log order."""
    return [e["resident_id"] for e in await read_log(registry) if "registered" in e["type"]]


async def test_voters_are_named_in_the_order_asked_and_the_audit_has_it(
    registry: Registry, parts: Parts, database: str
) -> None:
    first, second = niks(2)
    await send(registry, registered(first, name="Ani"), registered(second, name="Budi"))
    ani, budi = await residents(registry)
    nobody = str(uuid4())
    answer = await look_up(registry, budi, nobody, ani, budi, headers=await kpu(registry))
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json() == {
        "voters": [
            {"resident_id": budi, "nik": second, "name": "Budi"},
            {"resident_id": ani, "nik": first, "name": "Ani"},
        ],
        "unknown": [nobody],
    }
    (noted,) = await rows(parts, database, AUDIT)
    assert (noted["token_id"], noted["role"], noted["name"]) == (1, "kpu", "KPU Kerinci")
    assert noted["purpose"] == PURPOSE
    assert [str(each) for each in noted["resident_ids"]] == [budi, nobody, ani]
    assert noted["at"] is not None


async def test_the_name_is_the_latest_by_corrections_that_stand(registry: Registry) -> None:
    def renamed(name: str) -> dict[str, Any]:
        return event("biodata.corrected", {"nik": NIK, "reason": "salah tulis", "name": name})

    async def name() -> str:
        (voter,) = (await look_up(registry, *await residents(registry))).json()["voters"]
        return str(voter["name"])

    last = renamed("Budi S.")
    await send(registry, registered(name="Budi"), renamed("Budi Santoso"), last)
    assert await name() == "Budi S."
    await send(registry, retracted(last))
    assert await name() == "Budi Santoso"


async def test_whom_a_retracted_registration_named_is_found_and_the_one_registered_anew_too(
    registry: Registry,
) -> None:
    first = registered(name="Budi")
    await send(registry, first, retracted(first), registered(name="Budi Santoso"))
    voters = (await look_up(registry, *await residents(registry))).json()["voters"]
    assert [(voter["nik"], voter["name"]) for voter in voters] == [
        (NIK, "Budi"),
        (NIK, "Budi Santoso"),
    ]


async def test_whose_key_was_erased_is_unknown(
    registry: Registry, parts: Parts, database: str
) -> None:
    await send(registry, registered())
    await rows(parts, database, "UPDATE registry.vault_keys SET wrapped_key = NULL")
    (erased,) = await residents(registry)
    assert (await look_up(registry, erased)).json() == {"voters": [], "unknown": [erased]}


async def test_only_whom_an_operator_allowed_to_may_ask(
    registry: Registry, parts: Parts, database: str
) -> None:
    tokens = registry.app.state.tokens  # type: ignore[attr-defined]
    station = await tokens.create(Role.STATION, "KRC-02")
    for headers in (
        await kpu(registry, may_look_up=False),
        {"Authorization": f"Bearer {station}"},
    ):
        answer = await look_up(registry, uuid4(), headers=headers)
        assert answer.status_code == 403
        assert answer.json()["type"].endswith("/forbidden")
    nobody = await look_up(registry, uuid4(), headers={"Authorization": "Bearer wrong"})
    assert nobody.status_code == 401
    assert await rows(parts, database, AUDIT) == []


@pytest.mark.parametrize(
    ("members", "field"),
    [
        ({"purpose": ""}, "purpose"),
        ({"purpose": "  "}, "purpose"),
        ({"purpose": "x" * 501}, "purpose"),
        ({"purpose": f"tentang {NIK}"}, "purpose"),
        ({"purpose": None}, "purpose"),
        ({"resident_ids": []}, "resident_ids"),
        ({"resident_ids": [NIK]}, "resident_ids.0"),
        ({"resident_ids": [str(uuid4())] * 1_001}, "resident_ids"),
        ({NIK: 1}, "body"),
    ],
)
async def test_what_cannot_be_asked_is_refused_by_name_and_leaves_no_trace(
    registry: Registry, parts: Parts, database: str, members: dict[str, Any], field: str
) -> None:
    answer = await look_up(registry, uuid4(), **members)
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == field
    assert NIK not in answer.text
    assert await rows(parts, database, AUDIT) == []


async def test_a_thousand_are_answered_at_once(registry: Registry) -> None:
    await send(registry, *map(registered, niks(1_000)))
    answer = await look_up(registry, *await residents(registry))
    assert [voter["nik"] for voter in answer.json()["voters"]] == niks(1_000)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE registry.lookups SET purpose = 'lain'",
        "DELETE FROM registry.lookups",
        "TRUNCATE registry.lookups",
    ],
)
async def test_the_audit_is_appended_to_alone(
    registry: Registry, parts: Parts, database: str, change: str
) -> None:
    await look_up(registry, uuid4())
    with pytest.raises(asyncpg.RaiseError, match=r"registry\.lookups is appended to alone"):
        await rows(parts, database, change)
    assert len(await rows(parts, database, AUDIT)) == 1


async def test_without_the_audit_nobody_is_named(
    registry: Registry, parts: Parts, database: str
) -> None:
    await send(registry, registered(name="Warga Rahasia"))
    await rows(
        parts, database, "ALTER TABLE registry.lookups ADD CHECK (purpose <> 'pencocokan DPT')"
    )
    answer = await look_up(registry, *await residents(registry))
    assert answer.status_code == 500
    assert NIK not in answer.text


def test_no_log_line_tells_who_was_looked_up(
    parts: Parts, database: str, topics: None, tmp_path: Path
) -> None:
    key = base64.b64encode(MASTER_KEY).decode()
    secrets = {"CACAH_OPERATOR_TOKEN": "operator", "CACAH_VAULT_KEY": key}
    log = tmp_path / "registry.log"
    with (
        registry_process(parts, database, secrets, log) as address,
        httpx.Client(base_url=address, headers=OPERATOR) as client,
    ):
        body = orjson.dumps(registered(name="Warga Rahasia"))
        sent = {"Content-Type": "application/cloudevents+json"}
        assert client.post("/v1/events", content=body, headers=sent).status_code == 201
        (entry,) = client.get("/v1/log").json()["events"]
        asked = {"purpose": PURPOSE, "resident_ids": [entry["resident_id"]]}
        named = client.post("/v1/voters/lookup", json=asked).json()["voters"]
        assert [voter["nik"] for voter in named] == [NIK]
        client.post("/v1/voters/lookup", json=asked | {"purpose": f"tentang {NIK}"})
    said = log.read_text()
    assert NIK not in said
    assert "Rahasia" not in said


async def resolve(
    registry: Registry, *niks: str, headers: dict[str, str] = OPERATOR, **members: Any
) -> httpx.Response:
    voters = [{"nik": nik, "village": VILLAGE} for nik in niks]
    body = {"purpose": PURPOSE, "voters": voters} | members
    return await registry.post("/v1/voters/resolve", json=body, headers=headers)


async def test_a_list_by_nik_is_resolved_in_its_order_and_each_nik_is_in_the_audit(
    registry: Registry, parts: Parts, database: str
) -> None:
    first, second, nobodys = niks(3)
    await send(registry, registered(first), registered(second))
    ani, budi = await residents(registry)
    answer = await resolve(registry, second, nobodys, first, headers=await kpu(registry))
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json() == {
        "voters": [
            {"resident_id": budi, "village": VILLAGE},
            {"resident_id": None, "village": VILLAGE},
            {"resident_id": ani, "village": VILLAGE},
        ],
        "unknown": 1,
    }
    noted = await rows(parts, database, AUDIT)
    assert [list(map(str, row["resident_ids"])) for row in noted] == [[budi], [], [ani]]
    assert {(row["asked_for"], row["purpose"], row["name"]) for row in noted} == {
        ("resident_id", PURPOSE, "KPU Kerinci")
    }


async def test_of_a_nik_that_was_registered_anew_the_last_resident_counts(
    registry: Registry, parts: Parts, database: str
) -> None:
    first = registered(name="Budi")
    await send(registry, first, retracted(first), registered(name="Budi Santoso"))
    _, again = await residents(registry)
    assert (await resolve(registry, NIK)).json()["voters"][0]["resident_id"] == again
    await rows(parts, database, "UPDATE registry.vault_keys SET wrapped_key = NULL")
    assert (await resolve(registry, NIK)).json()["unknown"] == 1


async def test_only_who_may_look_up_may_resolve_and_nothing_wrong_is_told_back(
    registry: Registry, parts: Parts, database: str
) -> None:
    answer = await resolve(registry, NIK, headers=await kpu(registry, may_look_up=False))
    assert answer.status_code == 403
    for voters, field in (
        ([], "voters"),
        ([{"nik": NIK[:15], "village": VILLAGE}], "voters.0.nik"),
        ([{"nik": NIK, "village": NIK}], "voters.0.village"),
        ([{"nik": NIK, "village": VILLAGE, "name": "Budi"}], "body"),
        ([{"nik": NIK, "village": VILLAGE}] * (MOST_NIKS + 1), "voters"),
    ):
        answer = await resolve(registry, voters=voters)
        assert answer.status_code == 400
        assert answer.json()["errors"][0]["field"] == field
        assert NIK[:15] not in answer.text
    assert (await resolve(registry, NIK, purpose=f"tentang {NIK}")).status_code == 400
    assert await rows(parts, database, AUDIT) == []
