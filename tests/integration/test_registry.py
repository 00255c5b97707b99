"""The registry on real parts: what it commits, keeps, seals and publishes."""

import asyncio
import base64
import gzip
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import httpx
import orjson
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from cryptography.exceptions import InvalidTag
from pydantic import SecretStr

from services.registry.app import create_app
from services.registry.domain.submissions import MAX_EVENT_BYTES
from services.registry.ledger import Ledger
from services.registry.settings import RegistrySettings
from services.registry.vault import Vault
from shared.access import Role
from shared.events.records import EventRecord, PublishedRecord, read_record
from shared.topics import PARTITIONS, POPULATION_EVENTS
from tests.support.builders import (
    NIK,
    SOURCE,
    activated,
    died,
    event,
    recorded,
    registered,
    retracted,
)
from tests.support.parts import Parts, cloned_database, fresh_topics

BATCH = {"Content-Type": "application/cloudevents-batch+json"}
SINGLE = {"Content-Type": "application/cloudevents+json"}
OPERATOR = {"Authorization": "Bearer operator"}
MASTER_KEY = secrets.token_bytes(32)

Registry = httpx.AsyncClient


def settings(parts: Parts, database: str) -> RegistrySettings:
    return RegistrySettings(
        database_url=parts.url(database),
        kafka_bootstrap=parts.kafka_bootstrap,
        operator_token=SecretStr("operator"),
        vault_key=SecretStr(base64.b64encode(MASTER_KEY).decode()),
    )


@asynccontextmanager
async def serving(parts: Parts, database: str) -> AsyncIterator[Registry]:
    """A registry of this process's own, with an operator's client.

    It is left alone until its broker connections stand: aiokafka leaks those that a
    cancellation meets half made.
    """
    app = create_app(settings(parts, database))
    async with app.router.lifespan_context(app):
        async with asyncio.timeout(20):
            while not (app.state.relay.leading or app.state.relay.waiting):
                await asyncio.sleep(0.01)
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(
            transport=transport, base_url="http://registry", headers=OPERATOR, timeout=30
        ) as client:
            client.app = app  # type: ignore[attr-defined]
            yield client


@pytest.fixture(scope="module")
def lasting_database(parts: Parts) -> Iterator[str]:
    with cloned_database(parts) as name:
        fresh_topics(parts)
        yield name


@pytest.fixture(scope="module")
async def lasting_registry(parts: Parts, lasting_database: str) -> AsyncIterator[Registry]:
    """One registry for the tests that leave nothing behind."""
    async with serving(parts, lasting_database) as client:
        yield client


@pytest.fixture
async def registry(parts: Parts, database: str, topics: None) -> AsyncIterator[Registry]:
    async with serving(parts, database) as client:
        yield client


async def send(registry: Registry, *events: Any) -> list[dict[str, Any]]:
    answer = await registry.post("/v1/events", content=orjson.dumps(events), headers=BATCH)
    assert answer.status_code == 200, answer.text
    results: list[dict[str, Any]] = answer.json()["results"]
    return results


async def read_log(registry: Registry) -> list[dict[str, Any]]:
    answer = await registry.get("/v1/log", params={"limit": 10_000})
    events: list[dict[str, Any]] = answer.json()["events"]
    return events


async def rows(parts: Parts, database: str, query: str) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(parts.dsn(database))
    try:
        found: list[asyncpg.Record] = await connection.fetch(query)
        return found
    finally:
        await connection.close()


def niks(count: int, first: int = 1) -> list[str]:
    return [f"150101271107{number:04}" for number in range(first, first + count)]


async def test_one_event_is_answered_by_its_outcome(registry: Registry) -> None:
    async def post(event: dict[str, Any]) -> httpx.Response:
        return await registry.post("/v1/events", content=orjson.dumps(event), headers=SINGLE)

    waiting, registration = recorded(), registered()
    answers = [
        await post(event)
        for event in (waiting, registration, registration, registered(), registered(sex="X"))
    ]
    assert [answer.status_code for answer in answers] == [202, 201, 200, 409, 400]
    assert answers[1].json() == {
        "source": SOURCE,
        "id": registration["id"],
        "outcome": "accepted",
        "position": 1,
    }
    assert answers[2].json()["first_outcome"] == "accepted"
    assert answers[3].headers["content-type"] == "application/problem+json"
    assert answers[3].json()["type"].endswith("/already-registered")
    assert answers[4].json()["errors"][0]["field"] == "data.sex"


async def test_a_bad_event_holds_up_no_other(registry: Registry) -> None:
    first, second = niks(2)
    results = await send(
        registry, registered(first), 7, {"id": "x"}, registered("bad"), registered(second)
    )
    assert [result["outcome"] for result in results] == [
        "accepted",
        "rejected",
        "rejected",
        "rejected",
        "accepted",
    ]
    assert results[2]["id"] == "x"
    assert [event["position"] for event in await read_log(registry)] == [1, 2]


async def test_an_event_that_is_not_json_holds_up_no_other_and_is_kept(
    registry: Registry, parts: Parts, database: str
) -> None:
    first, second = niks(2)
    odd = (
        orjson.dumps(registered(first, id="odd"))[:-1] + written + b"}"
        for written in (
            b',"note":"\\ud800"',
            b',"note":1e400',
            b',"note":' + b"[" * 2_000 + b"]" * 2_000,
        )
    )
    written = [orjson.dumps(registered(first)), *odd, b'{"id":}', orjson.dumps(registered(second))]
    body = b"[" + b",".join(written) + b"]"
    answer = await registry.post("/v1/events", content=body, headers=BATCH)
    assert answer.status_code == 200, answer.text
    results = answer.json()["results"]
    outcomes = [result["outcome"] for result in results]
    assert outcomes == ["accepted", *["rejected"] * 4, "accepted"]
    assert [result["id"] for result in results[1:5]] == ["odd", "odd", "odd", ""]
    assert [result["problem"]["errors"][0]["field"] for result in results[1:4]] == [
        "note",
        "note",
        "body",
    ]
    alone = await registry.post("/v1/events", content=written[1], headers=SINGLE)
    assert (alone.status_code, alone.json()["errors"][0]["field"]) == (400, "note")
    kept = await rows(
        parts, database, "SELECT claims FROM registry.submissions WHERE event_id = 'odd'"
    )
    assert [row["claims"] for row in kept] == [True, False, False]


async def test_a_name_that_cannot_be_kept_as_it_is_is_kept_as_far_as_it_may_be(
    registry: Registry, parts: Parts, database: str
) -> None:
    names = ["x" * 300, "a\u0000b", f"undo {NIK[:4]} {NIK[4:]}"]
    await send(registry, registered(id="one"))
    results = await send(registry, *(retracted(registered(id="one"), id=name) for name in names))
    assert [result["id"] for result in results] == names
    assert {result["problem"]["errors"][0]["field"] for result in results} == {"id"}
    kept = await rows(
        parts,
        database,
        "SELECT event_id FROM registry.submissions WHERE NOT claims ORDER BY arrival",
    )
    assert [row["event_id"] for row in kept] == ["x" * 255, "a?b", "undo " + "*" * 17]


async def test_the_residents_name_is_known_from_what_is_sealed(registry: Registry) -> None:
    first = registered(id="one", name="Siti Aminah")
    await send(registry, first)
    waits = event("biodata.corrected", {"nik": NIK, "reason": "namanya Siti Amina", "sex": "P"})
    correction = event("biodata.corrected", {"nik": NIK, "reason": "ketik", "name": "Siti Amina"})
    undone = retracted(first)
    undone["data"]["reason"] = "SITI AMINAH"
    results = [(await send(registry, one))[0] for one in (correction, waits, undone)]
    assert [result["outcome"] for result in results] == ["accepted", "rejected", "rejected"]
    for result in results[1:]:
        assert result["problem"]["errors"][0]["field"] == "data.reason"


async def test_a_batch_of_nothing_is_answered_with_nothing(lasting_registry: Registry) -> None:
    assert await send(lasting_registry) == []


async def test_events_of_somebody_erased_count_and_stay_closed(
    registry: Registry, parts: Parts, database: str
) -> None:
    await send(registry, registered(name="Warga Rahasia"))
    await rows(parts, database, "UPDATE registry.vault_keys SET wrapped_key = NULL")
    results = await send(registry, recorded(), activated(), registered(niks(2)[1]))
    assert [result["outcome"] for result in results] == ["accepted"] * 3
    keys = await rows(
        parts, database, "SELECT wrapped_key IS NULL AS erased FROM registry.vault_keys"
    )
    assert sorted(row["erased"] for row in keys) == [False, True]


async def test_the_log_serves_what_was_sent_less_nik_and_name(registry: Registry) -> None:
    await send(registry, registered(name="Warga Rahasia", service="tni"), recorded())
    first, second = await read_log(registry)
    assert first["data"] == {
        "sex": "L",
        "birth_date": "2007-11-27",
        "marital_status": "B",
        "village": "15.01.01.1004",
        "service": "tni",
    }
    assert list(second) == [
        "position",
        "recorded_at",
        "type",
        "time",
        "source",
        "id",
        "resident_id",
        "data",
    ]
    assert second["data"] == {}
    assert first["resident_id"] == second["resident_id"]


async def test_positions_have_no_gap_however_many_clients_and_processes(
    parts: Parts, database: str, topics: None
) -> None:
    async with serving(parts, database) as one, serving(parts, database) as other:
        people = niks(300)
        batches = [people[start : start + 10] for start in range(0, 300, 10)]
        answers = await asyncio.gather(
            *(
                send((one, other)[number % 2], *map(registered, batch), *map(recorded, batch))
                for number, batch in enumerate(batches)
            )
        )
        log = await read_log(one)
    told = sorted(result["position"] for answer in answers for result in answer)
    assert told == list(range(1, 601))
    assert [event["position"] for event in log] == told
    assert [e["recorded_at"] for e in log] == sorted(e["recorded_at"] for e in log)


async def test_one_event_sent_by_many_at_once_is_accepted_once(
    parts: Parts, database: str, topics: None
) -> None:
    event = registered()
    async with serving(parts, database) as one, serving(parts, database) as other:
        answers = await asyncio.gather(
            *(send((one, other)[number % 2], event) for number in range(40))
        )
    outcomes = sorted(result["outcome"] for answer in answers for result in answer)
    assert outcomes == ["accepted"] + ["duplicate"] * 39
    assert {result["position"] for answer in answers for result in answer} == {1}


async def test_what_waited_is_accepted_in_a_later_request_and_by_another_process(
    parts: Parts, database: str, topics: None
) -> None:
    early = activated()
    async with serving(parts, database) as one:
        assert (await send(one, early, recorded()))[0]["outcome"] == "parked"
    async with serving(parts, database) as other:
        await send(other, registered())
        again = (await send(other, early))[0]
        types = [event["type"].split(".", 2)[2] for event in await read_log(other)]
    assert types == ["resident.registered", "ktp.recorded", "ikd.activated"]
    assert (again["outcome"], again["first_outcome"], again["position"]) == (
        "duplicate",
        "parked",
        3,
    )


async def test_a_day_later_somebody_elses_event_has_what_waits_refused(registry: Registry) -> None:
    moment = datetime(2024, 6, 1, 5, tzinfo=UTC)
    vault = Vault(MASTER_KEY)
    registry.app.state.appender.ledger = Ledger(vault, lambda: moment)  # type: ignore[attr-defined]
    waits = activated(time="2024-06-09T09:00:00+07:00")
    outcomes = await send(registry, registered(), waits, died(on="2024-06-01"))
    assert [result["outcome"] for result in outcomes] == ["accepted", "parked", "accepted"]
    moment += timedelta(days=1)
    refused, before = await send(registry, registered(), waits)
    assert (refused["outcome"], before.get("problem")) == ("rejected", None)
    await send(registry, registered(niks(2)[1]))
    (after,) = await send(registry, waits)
    assert (after["outcome"], after["first_outcome"]) == ("duplicate", "parked")
    assert after["problem"]["type"].endswith("/deceased")


async def test_refused_submissions_are_kept_with_their_problem(
    registry: Registry, parts: Parts, database: str
) -> None:
    refused = registered(village="99.99.99.9999", id="r-1")
    await send(registry, refused, registered("bad", id="r-2"), refused)
    kept = await rows(
        parts, database, "SELECT event_id, outcome, problem::text FROM registry.submissions"
    )
    assert [(row["event_id"], row["outcome"]) for row in kept] == [
        ("r-1", "rejected"),
        ("r-2", "rejected"),
    ]
    assert "unknown-village" in kept[0]["problem"]


async def test_no_table_holds_a_nik_or_a_name_that_can_be_read(
    registry: Registry, parts: Parts, database: str
) -> None:
    await send(
        registry,
        registered(name="Warga Rahasia"),
        recorded(),
        registered(niks(2)[1], name="Warga Rahasia", village="99.99.99.9999"),
        registered("150101271107000X", name="Warga Rahasia"),
    )
    tables = await rows(
        parts,
        database,
        "SELECT schemaname, tablename FROM pg_tables"
        " WHERE schemaname NOT IN ('pg_catalog', 'information_schema')",
    )
    for schema, table in tables:
        for row in await rows(parts, database, f"SELECT t::text FROM {schema}.{table} t"):
            for secret in (NIK, "Rahasia", NIK.encode().hex(), b"Rahasia".hex()):
                assert secret not in row[0], table


async def test_what_was_sent_can_be_opened_with_its_persons_key_alone(
    registry: Registry, parts: Parts, database: str
) -> None:
    sent = registered(name="Warga Rahasia") | {"traceparent": "00-1-2-01"}
    await send(registry, sent)
    row = (await rows(parts, database, "SELECT subject, content FROM registry.submissions"))[0]
    key = (await rows(parts, database, "SELECT wrapped_key FROM registry.vault_keys"))[0][0]
    vault = Vault(MASTER_KEY)
    assert orjson.loads(vault.open(row["content"], vault.unwrap(key, row["subject"]))) == sent
    with pytest.raises(InvalidTag):
        vault.open(row["content"], vault.new_key())


async def test_a_station_sends_for_itself_alone(registry: Registry) -> None:
    tokens = registry.app.state.tokens  # type: ignore[attr-defined]
    token = await tokens.create(Role.STATION, "KRC-02")
    registry.headers["Authorization"] = f"Bearer {token}"
    mine = registered(source="urn:dukcapil:station:KRC-02")
    others = registered(niks(2)[1])
    results = await send(registry, mine, others)
    assert [result["outcome"] for result in results] == ["accepted", "rejected"]
    assert results[1]["problem"]["type"].endswith("/forbidden")
    assert (await registry.get("/v1/log")).status_code == 403
    registry.headers["Authorization"] = OPERATOR["Authorization"]
    assert (await send(registry, others))[0]["outcome"] == "accepted"


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer wrong", "Basic operator"])
async def test_without_a_token_nothing_is_read(lasting_registry: Registry, header: str) -> None:
    answer = await lasting_registry.post(
        "/v1/events", content=b"{", headers={"Authorization": header}
    )
    assert answer.status_code == 401
    assert answer.json()["type"].endswith("/unauthorized")
    assert (
        await lasting_registry.get("/healthz", headers={"Authorization": header})
    ).status_code == 200


@pytest.mark.parametrize(
    ("body", "headers", "status", "field"),
    [
        (b"{", SINGLE, 400, "body"),
        (b'"\xff"', SINGLE, 400, "body"),
        (b"[", BATCH, 400, "body"),
        (b"[{},]", BATCH, 400, "body"),
        (b"{}", BATCH, 400, "body"),
        (b"[1]", SINGLE, 400, None),
        (b"{}", {"Content-Type": "application/json"}, 415, "content-type"),
        (b"{}", SINGLE | {"Content-Encoding": "br"}, 415, "content-encoding"),
        (b"{}", SINGLE | {"Content-Encoding": "gzip"}, 400, "body"),
        (gzip.compress(b"{}", mtime=0)[:-4], SINGLE | {"Content-Encoding": "gzip"}, 400, "body"),
        (
            gzip.compress(bytes(100_000_000), mtime=0),
            SINGLE | {"Content-Encoding": "gzip"},
            413,
            "body",
        ),
        (bytes(17_000_000), SINGLE, 413, "body"),
        (b"[" + b"1," * 5_000 + b"1]", BATCH, 413, "body"),
    ],
)
async def test_a_request_that_cannot_be_read_is_refused_by_name(
    lasting_registry: Registry, body: bytes, headers: dict[str, str], status: int, field: str | None
) -> None:
    answer = await lasting_registry.post("/v1/events", content=body, headers=headers)
    assert answer.status_code == status
    problem = answer.json()
    assert problem["type"].endswith("/too-large" if status == 413 else "/invalid")
    if field:
        assert problem["errors"][0]["field"] == field


async def test_gzip_and_five_thousand_events_are_welcome(registry: Registry) -> None:
    body = gzip.compress(orjson.dumps([registered(nik) for nik in niks(5_000)]))
    answer = await registry.post(
        "/v1/events", content=body, headers=BATCH | {"Content-Encoding": "gzip"}
    )
    assert [result["position"] for result in answer.json()["results"]] == list(range(1, 5_001))


async def test_an_event_beyond_64_kib_is_refused_and_its_neighbours_are_not(
    registry: Registry,
) -> None:
    one, other = niks(2)
    large = registered(one) | {"note": "x" * MAX_EVENT_BYTES}
    results = await send(registry, large, registered(other))
    assert [result["outcome"] for result in results] == ["rejected", "accepted"]
    assert results[0]["problem"]["type"].endswith("/too-large")


async def test_the_stations_page_tells_what_is_missing(registry: Registry) -> None:
    people = niks(6)
    sent = [
        registered(nik) | {"stationseq": n} for nik, n in zip(people, (1, 2, 5, 7, 2), strict=False)
    ]
    await send(registry, *sent)
    await send(registry, recorded(people[0], id=f"ktp-{people[0]}") | {"stationseq": 4})
    await send(registry, registered(source="elsewhere") | {"stationseq": 1})
    (station,) = (await registry.get("/v1/stations")).json()["stations"]
    assert (station["station"], station["received"], station["missing"]) == ("KRC-01", 2, [3, 6])


@pytest.mark.parametrize("query", ["after=-1", "after=x", "limit=0", "limit=10001"])
async def test_a_page_of_the_log_that_cannot_be_is_refused_by_name(
    lasting_registry: Registry, query: str
) -> None:
    answer = await lasting_registry.get(f"/v1/log?{query}")
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == query.partition("=")[0]


async def read_topic(parts: Parts, up_to: int) -> list[list[EventRecord | PublishedRecord]]:
    """The records of each partition, until every one has said `up_to`."""
    consumer = AIOKafkaConsumer(bootstrap_servers=parts.kafka_bootstrap)
    partitions = [TopicPartition(POPULATION_EVENTS, n) for n in range(PARTITIONS)]
    await consumer.start()
    try:
        consumer.assign(partitions)
        await consumer.seek_to_beginning()
        found: list[list[EventRecord | PublishedRecord]] = [[] for _ in partitions]
        async with asyncio.timeout(20):
            while not all(_says(records, up_to) for records in found):
                message = await consumer.getone()
                record = read_record(message.value or b"")
                assert isinstance(record, EventRecord | PublishedRecord)
                found[message.partition].append(record)
        return found
    finally:
        await consumer.stop()


def _says(records: list[EventRecord | PublishedRecord], up_to: int) -> bool:
    last = records[-1] if records else None
    return isinstance(last, PublishedRecord) and last.position >= up_to


async def test_the_relay_publishes_each_event_once_in_a_chain(
    registry: Registry, parts: Parts, database: str
) -> None:
    people = niks(100)
    for start in range(0, 100, 20):
        await send(registry, *map(registered, people[start : start + 20]))
    await send(registry, *map(recorded, people))
    partitions = await read_topic(parts, 200)
    events = [r for records in partitions for r in records if isinstance(r, EventRecord)]
    assert sorted(event.logged.position for event in events) == list(range(1, 201))
    for records in partitions:
        last = 0
        for record in records:
            assert record.previous == last
            if isinstance(record, EventRecord):
                last = record.logged.position


async def test_a_relay_that_starts_anew_goes_on_where_the_topic_ends(
    parts: Parts, database: str, topics: None
) -> None:
    people = niks(60)
    for start in range(0, 60, 20):
        async with serving(parts, database) as registry:
            await send(registry, *map(registered, people[start : start + 20]))
            await read_topic(parts, start + 20)
    events = [
        record.logged.position
        for records in await read_topic(parts, 60)
        for record in records
        if isinstance(record, EventRecord)
    ]
    assert sorted(events) == list(range(1, 61))


async def test_the_registry_accepts_while_kafka_is_away_and_says_what_it_waits_for(
    parts: Parts, database: str
) -> None:
    app = create_app(settings(Parts(parts.admin_dsn, "127.0.0.1:1"), database))
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://registry", headers=OPERATOR
        ) as registry,
    ):
        assert (await send(registry, registered()))[0]["outcome"] == "accepted"
        answer = await registry.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["waiting_for"] == ["kafka"]
