"""Subscriptions over HTTP, at the notifier as the process that it is in production."""

import asyncio
import base64
import contextlib
import random
import secrets
import signal
import socket
import sqlite3
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import asyncpg
import httpx
import pytest
import pytest_asyncio
from standardwebhooks.webhooks import Webhook

from shared.access import Role, Tokens
from shared.database import create_engine
from shared.regions import villages_in
from tests.support.notifier_process import (
    AUTHORIZED,
    ELECTION,
    WAIT_S,
    NotifierProcess,
    TopicWriter,
    free_port,
    running,
    topic_writer,
)
from tests.support.parts import Parts
from tests.support.proxy import proxy_to
from tests.support.village_records import written
from tests.support.webhook_receiver import Receiver, answering, receiving

EXAMPLE: Final = Path(__file__).parents[2] / "docs" / "examples" / "webhook_receiver.py"
VILLAGES = [village.code for village in villages_in("15.01")[:20]]
VILLAGE = VILLAGES[0]


@pytest.fixture
def notifier_process(parts: Parts, database: str, topics: None) -> NotifierProcess:
    return NotifierProcess(parts.url(database), parts.kafka_bootstrap, secrets.token_hex(4))


@pytest_asyncio.fixture
async def notifier(notifier_process: NotifierProcess) -> AsyncIterator[NotifierProcess]:
    async with running(notifier_process) as ready:
        yield ready


@pytest_asyncio.fixture
async def topic(parts: Parts, topics: None) -> AsyncIterator[TopicWriter]:
    async with topic_writer(parts.kafka_bootstrap) as writer:
        yield writer


def growth(village: str, first: int, last: int) -> list[bytes]:
    return [
        written(village=village, revision=n, position=n, residents=n, before=n - 1)
        for n in range(first, last + 1)
    ]


async def subscribed(client: httpx.AsyncClient, url: str, **given: Any) -> dict[str, Any]:
    asked = {"url": url, "elections": [ELECTION]} | given
    made = await client.post("/v1/subscriptions", json=asked)
    assert made.status_code == 201, made.text
    body: dict[str, Any] = made.json()
    assert made.headers["location"] == f"/v1/subscriptions/{body['id']}"
    return body


async def until_received(receiver: Receiver, sequences: int) -> None:
    async with asyncio.timeout(WAIT_S):
        while len(receiver.sequences()) < sequences:
            await asyncio.sleep(0.02)


async def test_kpu_subscribes_and_receives_what_verifies(
    notifier: NotifierProcess, topic: TopicWriter
) -> None:
    async with receiving() as receiver:
        made = await subscribed(notifier.client, receiver.url)
        assert made["secret"].startswith("whsec_")
        assert made["state"] == "active"
        await topic.write(growth(VILLAGE, 1, 1))
        await until_received(receiver, 1)
        (received,) = receiver.received
        event = Webhook(made["secret"]).verify(received.body, received.headers)
        (served,) = (await notifier.changes())["changes"]
        assert event["data"] == served
        again = (await notifier.client.get(f"/v1/subscriptions/{made['id']}")).json()
        assert "secret" not in again
        listed = (await notifier.client.get("/v1/subscriptions")).json()["subscriptions"]
        assert [each["id"] for each in listed] == [made["id"]]
        assert made["secret"] not in str(listed)


async def test_what_another_process_numbers_is_delivered_by_one_that_can_listen_no_more(
    notifier_process: NotifierProcess, topic: TopicWriter, parts: Parts, database: str
) -> None:
    async with proxy_to("127.0.0.1", 9) as nowhere, receiving() as receiver:
        delivering = NotifierProcess(parts.url(database), f"127.0.0.1:{nowhere.port}", "delivers")
        await delivering.start()
        try:
            await delivering.until_waiting_for("kafka")
            await subscribed(delivering.client, receiver.url)
            async with running(notifier_process) as numbering:
                await topic.write(growth(VILLAGE, 1, 3))
                told = (await numbering.until_told({VILLAGE: 3}))[-1]["sequence"]
                await until_received(receiver, told)
                await forbid_listening(parts, database)
                await topic.write(growth(VILLAGE, 4, 6))
                await until_received(receiver, told + 1)
        finally:
            await delivering.close()


async def forbid_listening(parts: Parts, database: str) -> None:
    """End the connections that listen; those that stand go on, and no other is opened."""
    admin = await asyncpg.connect(parts.admin_dsn)
    try:
        await admin.execute(f"ALTER DATABASE {database} ALLOW_CONNECTIONS false")
        ended = await admin.fetch(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = $1 AND query LIKE 'LISTEN%'",
            database,
        )
    finally:
        await admin.close()
    assert len(ended) == 4, "both feeds of both processes"


async def test_another_kpu_token_sees_nothing_and_an_operator_all(
    notifier: NotifierProcess, parts: Parts, database: str
) -> None:
    engine = create_engine(parts.url(database))
    try:
        tokens = Tokens(engine, None)
        one, other = [await tokens.create(Role.KPU, name) for name in ("one", "other")]
        station = await tokens.create(Role.STATION, "KRC-01")
    finally:
        await engine.dispose()
    async with receiving() as receiver:
        mine = {"Authorization": f"Bearer {one}"}
        async with httpx.AsyncClient(base_url=notifier.base, headers=mine) as client:
            made = await subscribed(client, receiver.url)
        path = f"/v1/subscriptions/{made['id']}"
        theirs = {"Authorization": f"Bearer {other}"}
        async with httpx.AsyncClient(base_url=notifier.base, headers=theirs) as client:
            assert (await client.get("/v1/subscriptions")).json() == {"subscriptions": []}
            answers = [
                await client.get(path),
                await client.delete(path),
                await client.get(f"{path}/deliveries"),
                await client.post(f"{path}/resend", json={"election": ELECTION, "after": 0}),
                *[
                    await client.post(f"{path}/{action}", json={})
                    for action in ("pause", "resume", "secret", "test", "resend-failed")
                ],
            ]
            assert {answer.status_code for answer in answers} == {404}
        assert receiver.received == []
        assert (await notifier.client.get(path)).json()["state"] == "active"
        refused = await notifier.client.get(
            "/v1/subscriptions", headers={"Authorization": f"Bearer {station}"}
        )
        assert refused.status_code == 403
        assert (await notifier.client.delete(path)).status_code == 204
        assert (await notifier.client.get(path)).status_code == 404


UNFIT: Final[list[tuple[dict[str, Any], str]]] = [
    ({"secret": "whsec_" + base64.b64encode(b"s" * 23).decode()}, "secret"),
    ({"secret": "geheim"}, "secret"),
    ({"secret": "whsec_" + "A" * 43 + "=", "signing": "v1a"}, "signing"),
    ({"signing": "v2"}, "signing"),
    ({"url": "https://169.254.169.254/latest/meta-data/"}, "url"),
    ({"url": "http://10.0.0.1/"}, "url"),
    ({"url": "http://8.8.8.8/"}, "url"),
    ({"url": "https://kpu:x@receiver.example/"}, "url"),
    ({"url": "https://2130706433/"}, "url"),
    ({"url": "https://no-such-name.invalid/"}, "url"),
    ({"url": 7}, "url"),
    ({"elections": []}, "elections"),
    ({"elections": "pilkada-2024"}, "elections"),
    ({"elections": [ELECTION, "pilkada-1955"]}, "elections.1"),
    ({"after": {ELECTION: 1_000}}, "after"),
    ({"after": {ELECTION: -1}}, f"after.{ELECTION}"),
    ({"after": {"other": 0}}, "after"),
    ({"colour": "red"}, "colour"),
]


async def test_what_cannot_be_subscribed_is_refused_naming_the_field(
    notifier: NotifierProcess,
) -> None:
    for asked, field in UNFIT:
        body = {"url": "http://127.0.0.1:9/", "elections": [ELECTION]} | asked
        answer = await notifier.client.post("/v1/subscriptions", json=body)
        assert answer.status_code == 400, asked
        problem = answer.json()
        assert problem["type"].endswith("/invalid")
        assert [error["field"] for error in problem["errors"]] == [field], asked
        assert "geheim" not in answer.text


async def test_what_is_no_json_or_too_much_is_refused(notifier: NotifierProcess) -> None:
    answers = [
        await notifier.client.post("/v1/subscriptions", content=content)
        for content in (b"{", b"[]", b"null", b"\xff", b"x" * 20_000)
    ]
    assert [answer.status_code for answer in answers] == [400, 400, 400, 400, 413]


async def test_a_test_event_says_what_came_of_it(notifier: NotifierProcess) -> None:
    async with receiving(answering(500, body=b"not yet")) as receiver:
        made = await subscribed(notifier.client, receiver.url)
        path = f"/v1/subscriptions/{made['id']}"
        failed = (await notifier.client.post(f"{path}/test")).json()
        receiver.behave = answering(200)
        passed = (await notifier.client.post(f"{path}/test")).json()
        kept = (await notifier.client.get(f"{path}/deliveries")).json()
        page = (await notifier.client.get(f"{path}/deliveries?after=1&limit=1")).json()
        beyond = await notifier.client.get(f"{path}/deliveries?after={2**63}")
    assert (failed["delivered"], failed["status"], failed["answer"]) == (False, 500, "not yet")
    assert passed["delivered"]
    assert [row["status"] for row in kept["deliveries"]] == [500, 200]
    assert kept["last"] == kept["deliveries"][-1]["number"]
    assert [row["status"] for row in page["deliveries"]] == [200]
    assert beyond.status_code == 400
    assert beyond.json()["errors"][0]["field"] == "after"
    event = Webhook(made["secret"]).verify(receiver.received[0].body, receiver.received[0].headers)
    assert event["type"] == "webhook.test"


async def test_while_a_secret_is_rotated_both_verify(
    notifier: NotifierProcess, topic: TopicWriter
) -> None:
    async with receiving() as receiver:
        made = await subscribed(notifier.client, receiver.url)
        path = f"/v1/subscriptions/{made['id']}/secret"
        rotated = (await notifier.client.post(path, json={})).json()
        assert rotated["secret"] != made["secret"]
        assert rotated["previous_secret_until"] is not None
        await topic.write(growth(VILLAGE, 1, 1))
        await until_received(receiver, 1)
        received = receiver.received[-1]
        for secret in (made["secret"], rotated["secret"]):
            Webhook(secret).verify(received.body, received.headers)
        asymmetric = {"signing": "v1a", "overlap_hours": 0}
        last = (await notifier.client.post(path, json=asymmetric)).json()
        assert last["public_key"].startswith("whpk_")
        assert "secret" not in last
        await topic.write(growth(VILLAGE, 2, 2))
        await until_received(receiver, 2)
        signatures = receiver.received[-1].headers["webhook-signature"].split(" ")
        assert [signature.partition(",")[0] for signature in signatures] == ["v1a"]


async def test_a_resend_goes_back_and_paused_nothing_goes(
    notifier: NotifierProcess, topic: TopicWriter
) -> None:
    async with receiving() as receiver:
        made = await subscribed(notifier.client, receiver.url)
        path = f"/v1/subscriptions/{made['id']}"
        await topic.write(growth(VILLAGE, 1, 1))
        await until_received(receiver, 1)
        await topic.write(growth(VILLAGE, 2, 2))
        await until_received(receiver, 2)
        paused = (await notifier.client.post(f"{path}/pause")).json()
        assert paused["state"] == "paused"
        receiver.received.clear()
        asked = {"election": ELECTION, "after": 1}
        assert (await notifier.client.post(f"{path}/resend", json=asked)).status_code == 200
        beyond = await notifier.client.post(f"{path}/resend", json=asked | {"after": 3})
        assert beyond.json()["errors"][0]["field"] == "after"
        await asyncio.sleep(1.5)
        assert receiver.received == []
        await notifier.client.post(f"{path}/resume")
        await until_received(receiver, 1)
        assert receiver.sequences() == [2]


async def test_killed_again_and_again_nothing_is_passed_over(
    notifier_process: NotifierProcess, topic: TopicWriter
) -> None:
    chance = random.Random(11)
    notifier = notifier_process
    total = len(VILLAGES) * 40
    async with receiving() as receiver:
        async with _until_killed(notifier):
            await subscribed(notifier.client, receiver.url)
        for village in VILLAGES:
            await topic.write(growth(village, 1, 40))
        for _ in range(5):
            async with _until_killed(notifier):
                await asyncio.sleep(chance.random() * 0.3)
        async with _until_killed(notifier):
            async with asyncio.timeout(WAIT_S):
                while (last := (await notifier.changes(limit=1))["last"]) < 1 or len(
                    receiver.sequences()
                ) < last:
                    await asyncio.sleep(0.1)
            told = (await notifier.changes(limit=10_000))["changes"]
    assert total >= len(told) >= len(VILLAGES)
    assert sorted(receiver.sequences()) == [change["sequence"] for change in told]
    for village in VILLAGES:
        found = receiver.sequences(village)
        assert found == sorted(found)
    await notifier.close()


@contextlib.asynccontextmanager
async def _until_killed(notifier: NotifierProcess) -> AsyncIterator[None]:
    await notifier.start()
    await notifier.until_waiting_for()
    yield
    await notifier.signal(signal.SIGKILL)


async def test_without_a_key_there_are_no_webhooks_and_the_answer_says_what_to_set(
    notifier_process: NotifierProcess,
) -> None:
    notifier_process.environment["CACAH_WEBHOOK_KEY"] = ""
    async with running(notifier_process) as notifier:
        answer = await notifier.client.get("/v1/subscriptions", headers=AUTHORIZED)
        assert answer.status_code == 503
        assert "CACAH_WEBHOOK_KEY" in answer.json()["detail"]


async def test_the_example_receiver_keeps_each_change_once(
    notifier: NotifierProcess, topic: TopicWriter, tmp_path: Path
) -> None:
    port, kept = free_port(), tmp_path / "changes.sqlite"
    secret = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
    example = await asyncio.create_subprocess_exec(
        sys.executable, str(EXAMPLE), str(port), secret, str(kept)
    )
    try:
        await until_open(port)
        url = f"http://127.0.0.1:{port}/"
        made = await subscribed(notifier.client, url, secret=secret)
        wrong = await subscribed(notifier.client, url)
        for village in VILLAGES:
            await topic.write(growth(village, 1, 3))
        async with asyncio.timeout(WAIT_S):
            while (last := (await notifier.changes(limit=1))["last"]) == 0 or rows(kept) < last:
                await asyncio.sleep(0.1)
        asked = {"election": ELECTION, "after": 0}
        await notifier.client.post(f"/v1/subscriptions/{made['id']}/resend", json=asked)
        await asyncio.sleep(1)
        last = (await notifier.changes(limit=1))["last"]
        assert rows(kept) == last
        path = f"/v1/subscriptions/{wrong['id']}/deliveries"
        refused = (await notifier.client.get(path)).json()["deliveries"]
        assert {(row["status"], row["error"]) for row in refused} == {(401, None)}
    finally:
        example.terminate()
        await example.wait()


def rows(database: Path) -> int:
    with contextlib.closing(sqlite3.connect(database)) as connection:
        found: int = connection.execute("SELECT count(*) FROM changes").fetchone()[0]
    return found


async def until_open(port: int) -> None:
    async with asyncio.timeout(WAIT_S):
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                return
            await asyncio.sleep(0.05)
