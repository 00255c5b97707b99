"""KPU states how far it has taken the feeds over: forward only, each token for itself, seen by
both sides."""

import asyncio
import secrets
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final

import pytest
import pytest_asyncio

from shared.access import Role, Tokens
from shared.database import create_engine
from shared.regions import villages_in
from tests.support import voter_records
from tests.support.growing import Growing
from tests.support.notifier_process import (
    ELECTION,
    OPERATOR_TOKEN,
    WAIT_S,
    NotifierProcess,
    running,
    topic_writer,
)
from tests.support.parts import Parts, cloned_database, fresh_topics

VILLAGES: Final = [village.code for village in villages_in("15.01")[:5]]
FEED: Final = f"/v1/elections/{ELECTION}"
METRIC: Final = "cacah_notifier_unacknowledged"


@pytest.fixture(scope="module")
def shared_database(parts: Parts) -> Iterator[str]:
    fresh_topics(parts)
    with cloned_database(parts) as name:
        yield name


@pytest_asyncio.fixture(scope="module")
async def notifier(parts: Parts, shared_database: str) -> AsyncIterator[NotifierProcess]:
    """A notifier whose feed has five changes of villages and one of a voter."""
    process = NotifierProcess(
        parts.url(shared_database),
        parts.kafka_bootstrap,
        f"acknowledged-{secrets.token_hex(4)}",
        "tests.support.impatient_notifier",
    )
    process.environment["CACAH_TEST_LIMITS"] = "acknowledgements.LOOK_S=0.2"
    async with running(process) as ready, topic_writer(parts.kafka_bootstrap) as topic:
        growing = Growing(ready, topic)
        await growing.grow(*VILLAGES)
        await topic.write_persons([voter_records.written()])
        await growing.told()
        async with asyncio.timeout(WAIT_S):
            while (await ready.client.get(f"{FEED}/voters/changes")).json()["last"] < 1:
                await asyncio.sleep(0.05)
        yield ready


@pytest_asyncio.fixture
async def tokens(parts: Parts, shared_database: str) -> AsyncIterator[Tokens]:
    """Tokens of tests before are in force no longer."""
    engine = create_engine(parts.url(shared_database))
    issued = Tokens(engine, None)
    for before in await issued.issued():
        await issued.revoke(before.token_id)
    yield issued
    await engine.dispose()


class Kpu:
    """Whoever holds a token."""

    def __init__(self, notifier: NotifierProcess, token: str) -> None:
        self._client = notifier.client
        self._headers = {"Authorization": f"Bearer {token}"}

    async def put(self, body: Any, feed: str = "") -> tuple[int, dict[str, Any]]:
        answer = await self._client.put(
            f"{FEED}{feed}/acknowledged", json=body, headers=self._headers
        )
        return answer.status_code, answer.json()

    async def get(self, path: str = f"{FEED}/acknowledged") -> dict[str, Any]:
        answer = await self._client.get(path, headers=self._headers)
        answer.raise_for_status()
        body: dict[str, Any] = answer.json()
        return body


async def test_an_acknowledgement_moves_forward_only_and_is_each_tokens_own(
    notifier: NotifierProcess, tokens: Tokens
) -> None:
    one, two = [Kpu(notifier, await tokens.create(Role.KPU, name)) for name in ("one", "two")]
    untold = {"election": ELECTION, "feed": "villages", "sequence": 0, "acknowledged_at": None}
    assert await one.get() == untold | {"last": 5, "behind": 5}
    status, shown = await one.put({"sequence": 3})
    assert status == 200
    assert shown == await one.get()
    assert (shown["sequence"], shown["last"], shown["behind"]) == (3, 5, 2)
    assert (await one.put({"sequence": 3}))[0] == 200
    status, problem = await one.put({"sequence": 2})
    assert status == 409
    assert problem["errors"][0]["field"] == "sequence"
    assert "lower than 3" in problem["detail"]
    assert (await one.get())["sequence"] == 3
    assert (await two.get())["sequence"] == 0
    assert (await one.put({"sequence": 1}, "/voters"))[0] == 200
    assert (await one.get(f"{FEED}/voters/acknowledged"))["behind"] == 0
    sent = [one.put({"sequence": sequence}) for sequence in (4, 5, 4, 5)]
    assert {status for status, _ in await asyncio.gather(*sent)} <= {200, 409}
    assert (await one.get())["sequence"] == 5


WRONG: Final = [
    ({"sequence": 6}, "sequence"),
    ({"sequence": -1}, "sequence"),
    ({"sequence": "3"}, "sequence"),
    ({"sequence": 1.5}, "sequence"),
    ({"sequence": True}, "sequence"),
    ({}, "sequence"),
    ({"sequence": 1, "feed": "voters"}, "body"),
    ([3], "body"),
]


async def test_what_cannot_be_is_refused_by_its_name(
    notifier: NotifierProcess, tokens: Tokens
) -> None:
    kpu = Kpu(notifier, await tokens.create(Role.KPU, "kpu"))
    for body, field in WRONG:
        status, problem = await kpu.put(body)
        assert status == 400, body
        assert [error["field"] for error in problem["errors"]] == [field], body
    assert (await kpu.put({"sequence": 2}, "/voters"))[0] == 400
    station = Kpu(notifier, await tokens.create(Role.STATION, "KRC-01"))
    assert (await station.put({"sequence": 1}))[0] == 403
    assert (await Kpu(notifier, "no").put({"sequence": 1}))[0] == 401
    unknown = await notifier.client.put(
        "/v1/elections/pilkada-1955/acknowledged", json={"sequence": 0}
    )
    assert unknown.status_code == 404
    assert (await kpu.get())["sequence"] == 0


async def test_operators_see_how_far_each_token_lags_until_it_is_revoked(
    notifier: NotifierProcess, tokens: Tokens
) -> None:
    kpu = Kpu(notifier, await tokens.create(Role.KPU, "KPU Kerinci"))
    await kpu.put({"sequence": 2})
    operator = Kpu(notifier, OPERATOR_TOKEN)
    await operator.put({"sequence": 1}, "/voters")
    token = (await tokens.issued())[-1].token_id
    listed = (await operator.get("/v1/acknowledged"))["acknowledged"]
    assert [(row["feed"], row["token"], row["name"], row["behind"]) for row in listed] == [
        ("villages", token, "KPU Kerinci", 3),
        ("voters", None, "operator", 0),
    ]
    assert (await kpu.get("/v1/acknowledged"))["acknowledged"] == listed[:1]
    await until_measured(
        notifier, f'{METRIC}{{election="{ELECTION}",feed="villages",token="{token}"}}', 3
    )
    metrics = await notifier.client.get("/metrics", headers={"Authorization": ""})
    assert "KPU Kerinci" not in metrics.text, "anybody may read it"
    table = await asyncio.to_thread(cacah_acknowledged, notifier)
    assert "KPU Kerinci  2             5   3" in table
    await tokens.revoke(token)
    await until_measured(notifier, METRIC, 0)
    assert len((await operator.get("/v1/acknowledged"))["acknowledged"]) == 1


async def until_measured(notifier: NotifierProcess, metric: str, behind: int) -> None:
    async with asyncio.timeout(WAIT_S):
        while await notifier.metric(metric) != behind:
            await asyncio.sleep(0.05)


def cacah_acknowledged(notifier: NotifierProcess) -> str:
    """What the command prints."""
    environment = notifier.environment | {
        "CACAH_NOTIFIER_URL": notifier.base,
        "CACAH_TOKEN": OPERATOR_TOKEN,
    }
    return subprocess.run(
        [sys.executable, "-m", "cli.main", "acknowledged"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=WAIT_S,
    ).stdout
