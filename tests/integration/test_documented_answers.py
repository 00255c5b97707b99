"""What the services really take and answer is what the documents of the interface say."""

import asyncio
import gzip
import json
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Final

import httpx
import orjson
import pytest_asyncio

from shared.access import Role, Tokens
from shared.elections import PILKADA_2024
from tests.integration.test_registry import BATCH, SINGLE, niks, serving
from tests.support.builders import (
    NIK,
    SIULAK_GEDANG,
    activated,
    died,
    event,
    recorded,
    registered,
    relocated,
    retracted,
)
from tests.support.documented import Interface, Schemas, committed
from tests.support.notifier_process import NotifierProcess, running
from tests.support.parts import Parts, cloned_database, fresh_topics
from tests.support.projections_service import running_service
from tests.support.webhook_receiver import receiving

WAIT_S: Final = 30.0
PILKADA: Final = f"/v1/elections/{PILKADA_2024.id}"
DEFINITION: Final = {
    "polling_day": "2029-02-14",
    "area": "15.01.16",
    "minimum_age": 17,
    "first_time_since": "2024-11-28",
    "stages": [{"name": "dps", "from": "2028-09-01"}],
}
NOBODY: Final = "00000000-0000-4000-8000-000000000000"

# Operations, as ("GET", "/v1/…"), that tests of their own hold against the documents, with
# `Interface.hook` on their client.
ASKED_ELSEWHERE: Final[set[tuple[str, str]]] = set()


@dataclass
class Door:
    """A service's door: an operator's client, each of whose answers is held against the
    document."""

    http: httpx.AsyncClient
    interface: Interface

    def __post_init__(self) -> None:
        self.http.event_hooks = {"response": [self.interface.hook()]}

    def never_asked(self) -> set[tuple[str, str]]:
        """The documented operations that no test here has asked, nor one of their own."""
        paths = self.interface.document["paths"]
        told = {(method.upper(), path) for path, item in paths.items() for method in item}
        return told - {(m, p) for m, p, _ in self.interface.seen} - ASKED_ELSEWHERE

    def answered(self, method: str, path: str) -> set[int]:
        """The statuses that were answered to an operation."""
        return {status for m, p, status in self.interface.seen if (m, p) == (method, path)}


@dataclass
class Office:
    """The three services on one log, and the headers of a KPU and of a station token."""

    registry: Door
    projections: Door
    notifier: Door
    kpu: dict[str, str]
    station: dict[str, str]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def office(parts: Parts) -> AsyncIterator[Office]:
    # The database is made and dropped outside of the running loop.
    database = cloned_database(parts)
    name = await asyncio.to_thread(database.__enter__)
    await asyncio.to_thread(fresh_topics, parts)
    async with AsyncExitStack() as opened:
        opened.push_async_callback(asyncio.to_thread, database.__exit__, None, None, None)
        registry = await opened.enter_async_context(serving(parts, name))
        service = await opened.enter_async_context(
            running_service(parts.url(name), parts.kafka_bootstrap)
        )
        process = NotifierProcess(parts.url(name), parts.kafka_bootstrap, secrets.token_hex(4))
        notifier = await opened.enter_async_context(running(process))
        await service.ready()
        tokens: Tokens = registry.app.state.tokens  # type: ignore[attr-defined]
        kpu, station = [
            {"Authorization": f"Bearer {await tokens.create(role, 'KRC-01', role is Role.KPU)}"}
            for role in (Role.KPU, Role.STATION)
        ]
        yield Office(
            Door(registry, Interface("registry")),
            Door(service.http, Interface("projections")),
            Door(notifier.client, Interface("notifier")),
            kpu,
            station,
        )


async def test_each_outcome_of_an_event_is_as_documented(office: Office) -> None:
    door, (ani, budi, citra) = office.registry, niks(3, first=100)

    async def send(one: Any, **headers: str) -> int:
        content = one if isinstance(one, bytes) else orjson.dumps(one)
        answer = await door.http.post("/v1/events", content=content, headers=SINGLE | headers)
        return answer.status_code

    first = registered(ani)
    assert await send(first) == 201
    assert await send(first) == 200
    assert await send(first | {"time": "2024-06-02T09:00:00+07:00"}) == 409
    assert await send(registered(ani)) == 409
    assert await send(activated(ani)) == 202
    assert await send(recorded(ani)) == 201
    assert await send(relocated(ani, to=SIULAK_GEDANG)) == 201
    assert await send(registered(budi, birth_date="2015-01")) == 201
    assert await send(recorded(budi)) == 422
    assert await send(registered(citra, village="99.99.99.9999")) == 422
    assert await send(registered(citra, birth_date="2999-01-01")) == 422
    assert await send(retracted(registered(citra))) == 422
    assert await send(retracted(first)) == 409
    assert await send(died(budi, on="2024-05-01")) == 201
    assert await send(died(budi, on="2024-05-02")) == 409
    assert await send(event("ktp.failed", {"nik": ani, "reason": "lost"})) == 400
    assert await send(b"{") == 400
    assert await send(first, **{"Content-Type": "text/plain"}) == 415
    assert await send(event("ktp.recorded", {"nik": ani}, note="x" * 70_000)) == 413
    assert await send(recorded(ani, source="urn:dukcapil:station:X-9"), **office.station) == 403
    assert await send(first, Authorization="Bearer nobody") == 401
    assert door.answered("POST", "/v1/events") == {
        *(200, 201, 202, 400, 401, 403, 409, 413, 415, 422),
    }


async def test_a_batch_with_every_type_is_as_documented(office: Office) -> None:
    ani, budi = niks(2, first=200)
    registration = registered(budi)
    events = [
        registered(ani, service="tni"),
        recorded(ani),
        event("ktp.failed", {"nik": ani, "reason": "unreadable"}),
        recorded(ani, stationseq=1, datacontenttype="application/json", traceparent="00-x"),
        activated(ani),
        event("relocation.started", {"nik": ani, "letter_no": "SKPWNI/1501/7"}),
        relocated(ani),
        event("resident.married", {"nik": ani, "married_on": "2024-02-01"}),
        event("service.changed", {"nik": ani, "service": "none", "effective_date": "2024-03-01"}),
        event(
            "rights.revoked", {"nik": ani, "effective_date": "2024-04-01", "verdict_no": "1/Pid"}
        ),
        event(
            "rights.restored", {"nik": ani, "effective_date": "2024-05-01", "verdict_no": "2/Pid"}
        ),
        event("biodata.corrected", {"nik": ani, "reason": "akta", "birth_date": "1980-02"}),
        event("biodata.corrected", {"nik": ani, "reason": "ejaan", "name": "Ani"}),
        died(ani, on="2024-05-20", time="2024-05-25T00:00:00Z"),
        registration,
        retracted(registration),
        {"source": "?"},
        7,
    ]
    packed = gzip.compress(orjson.dumps(events))
    unpacked = await office.registry.http.post(
        "/v1/events", content=orjson.dumps(events), headers=BATCH
    )
    assert [r["outcome"] for r in unpacked.json()["results"]] == ["accepted"] * 16 + [
        "rejected"
    ] * 2
    headers = BATCH | {"Content-Encoding": "gzip"}
    again = await office.registry.http.post("/v1/events", content=packed, headers=headers)
    assert [r["outcome"] for r in again.json()["results"]] == ["duplicate"] * 16 + ["rejected"] * 2
    log = (await office.registry.http.get("/v1/log", params={"limit": 10_000})).json()
    assert len({entry["type"] for entry in log["events"]}) == 13


async def test_what_the_registry_tells_operators_and_kpu_is_as_documented(office: Office) -> None:
    door, http = office.registry, office.registry.http
    (ani,) = niks(1, first=300)
    await http.post("/v1/events", content=orjson.dumps([recorded(ani)]), headers=BATCH)
    waiting = (await http.get("/v1/parked")).json()["parked"]
    arrival = waiting[-1]["arrival"]
    for path in ("/v1/log?after=-1", "/v1/stations", f"/v1/parked/{arrival}", "/v1/parked/99999"):
        await http.get(path)
    await http.post(f"/v1/parked/{arrival}/drop", json={"reason": ""})
    await http.post(f"/v1/parked/{arrival}/drop", json={"reason": "dikirim dua kali"})
    await http.post("/v1/events", content=orjson.dumps([activated(ani)]), headers=BATCH)
    await http.post("/v1/parked/retry")
    begun = (await http.post("/v1/republish", json={"from": 1})).json()
    await http.get(f"/v1/republish/{begun['id']}")
    await http.get("/v1/republish/99999")
    await http.post("/v1/republish", json={"from": 0})
    residents = [e["resident_id"] for e in (await http.get("/v1/log")).json()["events"][:1]]
    asked = {"purpose": "pencocokan DPT", "resident_ids": [*residents, NOBODY]}
    await http.post("/v1/voters/lookup", json=asked, headers=office.kpu)
    await http.post("/v1/voters/lookup", json=asked, headers=office.station)
    await http.post("/v1/voters/lookup", json={"purpose": NIK, "resident_ids": []})
    listed = {"purpose": "pencocokan DPT", "voters": [{"nik": NIK, "village": SIULAK_GEDANG}]}
    await http.post("/v1/voters/resolve", json=listed, headers=office.kpu)
    await http.post("/v1/voters/resolve", json=listed | {"voters": []}, headers=office.kpu)
    for path in ("/healthz", "/readyz", "/metrics"):
        await http.get(path)
    await http.get("/v1/stations", headers=office.kpu)
    assert door.answered("POST", "/v1/parked/{arrival}/drop") == {200, 400}
    assert door.answered("POST", "/v1/voters/lookup") == {200, 400, 403}
    assert door.answered("GET", "/v1/republish/{number}") == {200, 404}
    assert door.never_asked() == set()


async def test_what_projections_answer_is_as_documented(office: Office) -> None:
    door, http = office.projections, office.projections.http
    last = (await office.registry.http.get("/v1/log", params={"limit": 1})).json()["last"]
    async with asyncio.timeout(WAIT_S):
        while (await http.get(f"{PILKADA}/total?min_position={last}")).status_code == 503:
            pass
    for accept in ("application/json", "text/csv"):
        for path in ("", "/villages", "/districts", "/total", f"/villages/{SIULAK_GEDANG}"):
            answer = await http.get(f"{PILKADA}{path}", headers={"Accept": accept})
            assert answer.status_code == 200
        await http.get("/v1/elections", headers={"Accept": accept})
    await http.get(f"{PILKADA}/villages?district=15.01.16&as_of=1")
    await http.get(f"{PILKADA}/villages/{SIULAK_GEDANG}/history")
    await http.get(f"{PILKADA}/villages/{SIULAK_GEDANG}/history?from=x")
    await http.get(f"{PILKADA}/villages/31.71.01.1001")
    await http.get("/v1/elections/nobody")
    for asked in ("", "?as_of=1", "?as_of=yesterday"):
        await http.get(f"/v1/progress{asked}")
    await http.get(f"{PILKADA}/total?as_of=yesterday")
    await http.get(f"{PILKADA}/total", headers=office.station)
    await http.put("/v1/elections/pemilu-2029", json=DEFINITION)
    await http.put("/v1/elections/pemilu-2029", json=DEFINITION)
    await http.put("/v1/elections/pemilu-2029", json=DEFINITION | {"area": "99"})
    await http.get("/v1/parked")
    await http.get("/v1/parked/1")
    await http.post("/v1/parked/retry")
    await http.post("/v1/parked/1/drop", json={"reason": "tak terbaca"})
    for path in ("/healthz", "/readyz", "/metrics"):
        await http.get(path)
    assert door.answered("GET", "/v1/elections/{id}/total") >= {200, 400, 403}
    assert door.answered("PUT", "/v1/elections/{id}") == {200, 201, 400}
    assert door.never_asked() == set()


async def test_what_the_notifier_answers_and_streams_is_as_documented(office: Office) -> None:
    door, http = office.notifier, office.notifier.http
    async with asyncio.timeout(WAIT_S):
        for feed in ("", "/voters"):
            while not (await read(http, f"{PILKADA}{feed}/changes")).get("changes"):
                await asyncio.sleep(0.05)
    await http.get("/v1/elections")
    await http.get(f"{PILKADA}/snapshot")
    await http.get(f"{PILKADA}/snapshot?as_of=soon")
    await http.get(f"{PILKADA}/changes?after=99999999")
    await http.get("/v1/elections/nobody/changes")
    await http.get(f"{PILKADA}/changes?village={SIULAK_GEDANG}")
    await http.get(f"{PILKADA}/changes?village=31.71.01.1001")
    for feed in ("", "/voters"):
        for sequence in (1, 0, 99_999_999):
            await http.put(f"{PILKADA}{feed}/acknowledged", json={"sequence": sequence})
        await http.get(f"{PILKADA}{feed}/acknowledged")
    await http.get("/v1/acknowledged")
    await http.get(f"{PILKADA}/changes", headers=office.station)
    for path in (f"{PILKADA}/stream", f"{PILKADA}/voters/stream"):
        assert await streamed_faults(door, path) == []
    for path in ("/healthz", "/readyz", "/metrics"):
        await http.get(path)
    assert door.answered("GET", "/v1/elections/{election}/changes") == {200, 400, 403, 404}


async def test_comparisons_and_supplements_are_as_documented(office: Office) -> None:
    door, http = office.notifier, office.notifier.http
    for content in (f"resident_id,village\n{NOBODY},{SIULAK_GEDANG}\n", "village#eligible\n", "?"):
        for accept in ("application/json", "text/csv"):
            headers = {"Accept": accept, "Content-Type": "text/csv"}
            await http.post(f"{PILKADA}/compare", content=content, headers=headers)
    counts, text = f"village#eligible\n{SIULAK_GEDANG}#7\n", {"Content-Type": "text/plain"}
    await http.post(f"{PILKADA}/compare", content=counts, headers=office.kpu | text)
    supplements = f"{PILKADA}/supplements"
    for asked in ({}, {}, {"to_sequence": -1}):
        await http.post(supplements, json=asked)
    await http.get(supplements)
    for accept in ("application/json", "text/csv", "text/html", "application/x-ndjson"):
        await http.get(f"{supplements}/1", headers={"Accept": accept})
    await http.get(f"{supplements}/99")
    assert door.answered("POST", "/v1/elections/{election}/compare") == {200, 400}
    assert door.answered("POST", "/v1/elections/{election}/supplements") == {200, 201, 400}


async def read(http: httpx.AsyncClient, path: str) -> dict[str, Any]:
    body: dict[str, Any] = (await http.get(path)).json()
    return body


async def streamed_faults(door: Door, path: str) -> list[str]:
    """What is not as documented of the first event of a stream."""
    found = door.interface.operation("GET", path)
    assert found is not None
    content = found[1]["responses"]["200"]["content"]["text/event-stream"]
    schema = content["schema"]["x-event-data"]
    async with asyncio.timeout(WAIT_S), door.http.stream("GET", path) as answer:
        async for line in answer.aiter_lines():
            if line.startswith("data: "):
                return Schemas(door.interface.document).faults(schema, json.loads(line[6:]))
    return ["no event came"]


async def test_subscriptions_and_what_they_receive_are_as_documented(office: Office) -> None:
    door, http = office.notifier, office.notifier.http
    messages = committed("cacah.asyncapi.json")["components"]["messages"]
    schemas = Schemas(committed("cacah.asyncapi.json"))
    async with receiving() as receiver:
        asked = {"url": receiver.url, "elections": [PILKADA_2024.id]}
        made = (await http.post("/v1/subscriptions", json=asked)).json()
        one = f"/v1/subscriptions/{made['id']}"
        async with asyncio.timeout(WAIT_S):
            while not receiver.received:
                await asyncio.sleep(0.02)
        await http.post(f"{one}/test")
        told = {each.event["type"]: each for each in receiver.received}
        for kind, name in (("voter.change", "voterChange"), ("webhook.test", "webhookTest")):
            assert schemas.faults(messages[name]["payload"], told[kind].event) == []
            headers = {n: v for n, v in told[kind].headers.items() if n.startswith("webhook-")}
            assert schemas.faults(messages[name]["headers"], headers) == []
    await http.post("/v1/subscriptions", json=asked | {"elections": []})
    await http.post("/v1/subscriptions", json=asked | {"url": "ftp://nowhere"})
    await http.get("/v1/subscriptions")
    await http.get(one)
    await http.get(f"/v1/subscriptions/{NOBODY}")
    await http.get(f"{one}/deliveries")
    await http.get(f"{one}/deliveries?limit=0")
    await http.post(f"{one}/secret", json={"signing": "v1a"})
    await http.post(f"{one}/secret", json={"overlap_hours": 1_000})
    await http.post(f"{one}/resend", json={"election": PILKADA_2024.id, "after": 0})
    for action in ("pause", "resume", "resend-failed", "test"):
        await http.post(f"{one}/{action}")
    await http.delete(one)
    assert door.answered("POST", "/v1/subscriptions") == {201, 400}
    assert door.never_asked() == set()
