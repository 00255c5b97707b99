"""The feed's snapshot as it was at a time or a position: a prefix of the feed, and what it told."""

import asyncio
import random
import secrets
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from services.notifier.domain.changes import VillageRecord
from services.notifier.feed import Feed
from services.notifier.records import Batch
from shared.counts import NOTHING, Counts, VillageKey
from shared.database import create_engine
from shared.elections import PILKADA_2024
from shared.regions import villages_in
from tests.support.notifier_process import (
    ELECTION,
    NotifierProcess,
    TopicWriter,
    running,
    topic_writer,
)
from tests.support.parts import Parts
from tests.support.village_records import counts, written

VILLAGES = [village.code for village in villages_in("15.01")[:7]]
LOG_END = 1_000


@pytest_asyncio.fixture
async def notifier(parts: Parts, database: str, topics: None) -> AsyncIterator[NotifierProcess]:
    await execute(parts, database, f"UPDATE registry.head SET position = {LOG_END}")
    process = NotifierProcess(
        parts.url(database), parts.kafka_bootstrap, f"notifier-{secrets.token_hex(4)}"
    )
    async with running(process) as ready:
        yield ready


@pytest_asyncio.fixture
async def topic(parts: Parts, topics: None) -> AsyncIterator[TopicWriter]:
    async with topic_writer(parts.kafka_bootstrap) as writer:
        yield writer


async def execute(parts: Parts, database: str, statement: str) -> list[Any]:
    connection = await asyncpg.connect(parts.dsn(database))
    try:
        rows: list[Any] = await connection.fetch(statement)
        return rows
    finally:
        await connection.close()


async def snapshot(notifier: NotifierProcess, moment: Any) -> dict[str, Any]:
    answer = await notifier.client.get(
        f"/v1/elections/{ELECTION}/snapshot", params={"as_of": str(moment)}
    )
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def told_by(feed: list[dict[str, Any]], sequence: int) -> dict[str, Any]:
    """The snapshot that adding up the changes to a sequence gives."""
    stands = {change["village"]: change["after"] for change in feed[:sequence]}
    return {
        "sequence": sequence,
        "position": max((change["position"] for change in feed[:sequence]), default=0),
        "villages": [
            {"village": village.code, "name": village.name, "district": village.code[:8]}
            | stands.get(village.code, counts())
            for village in villages_in("15.01")
        ],
    }


async def lived(topic: TopicWriter, notifier: NotifierProcess) -> list[dict[str, Any]]:
    """A feed whose positions go up and down: villages are told apart from each other."""
    chance = random.Random(7)
    residents = dict.fromkeys(VILLAGES, 0)
    for revision in range(1, 21):
        for village in chance.sample(VILLAGES, len(VILLAGES)):
            record = written(
                village=village,
                revision=revision,
                position=revision * 20 + chance.randint(-60, 60) + 70,
                before=residents[village],
                residents=residents[village] + 1,
            )
            residents[village] += 1
            await topic.write([record])
        await asyncio.sleep(0.02)
    return await notifier.until_told(residents)


async def test_a_position_means_what_was_told_before_anything_beyond_it(
    notifier: NotifierProcess, topic: TopicWriter
) -> None:
    feed = await lived(topic, notifier)
    assert [c["position"] for c in feed] != sorted(c["position"] for c in feed)
    highest = max(change["position"] for change in feed)
    for position in [*range(0, highest + 1, 13), highest, LOG_END]:
        beyond = [change["sequence"] for change in feed if change["position"] > position]
        expected = told_by(feed, min(beyond, default=len(feed) + 1) - 1)
        assert await snapshot(notifier, position) == expected


async def test_a_time_means_what_was_numbered_by_then(
    notifier: NotifierProcess, topic: TopicWriter, parts: Parts, database: str
) -> None:
    feed = await lived(topic, notifier)
    rows = await execute(
        parts, database, "SELECT numbered_at FROM notifier.changes ORDER BY sequence"
    )
    numbered_at = [row["numbered_at"] for row in rows]
    assert numbered_at == sorted(numbered_at)
    for moment in {*numbered_at}:
        for offset in (-1, 0, 1):
            then = moment + timedelta(microseconds=offset)
            sequence = sum(numbered <= then for numbered in numbered_at)
            assert await snapshot(notifier, then.isoformat()) == told_by(feed, sequence)
    assert await snapshot(notifier, datetime.now(UTC).isoformat()) == told_by(feed, len(feed))


async def test_before_the_feed_began_all_is_zero(notifier: NotifierProcess) -> None:
    for moment in (0, LOG_END, "1945-08-17T10:00:00+07:00"):
        assert await snapshot(notifier, moment) == told_by([], 0)


@pytest.mark.parametrize(
    "written_as", ["", "1.5", "-1", "2024-06-24", "2024-13-01", "2100-01-01T00:00:00Z", "1001"]
)
async def test_what_is_no_moment_is_invalid(notifier: NotifierProcess, written_as: str) -> None:
    url = f"/v1/elections/{ELECTION}/snapshot"
    answer = await notifier.client.get(url, params={"as_of": written_as})
    assert answer.status_code == 400
    (error,) = answer.json()["errors"]
    assert error["field"] == "as_of"


async def test_an_unknown_election_is_not_found(notifier: NotifierProcess) -> None:
    for election in ("none", "x/../y", "%00"):
        answer = await notifier.client.get(f"/v1/elections/{election}/snapshot?as_of=0")
        assert answer.status_code == 404


async def test_times_rise_with_the_sequence_though_a_clock_goes_back(
    parts: Parts, database: str
) -> None:
    engine = create_engine(parts.url(database), pool_size=1)
    feed = Feed(engine)
    began = datetime(2024, 9, 1, tzinfo=UTC)
    for revision, minutes in enumerate((0, 10, 5, 20), 1):
        record = VillageRecord(
            VillageKey(PILKADA_2024.id, VILLAGES[0]),
            VILLAGES[0][:8],
            revision,
            revision,
            began,
            None,
            Counts(residents=revision - 1) if revision > 1 else NOTHING,
            Counts(residents=revision),
        )
        await feed.take(Batch([record], []), began + timedelta(minutes=minutes))
    for minutes, sequence in [(-1, 0), (0, 1), (5, 1), (9, 1), (10, 3), (19, 3), (20, 4)]:
        taken = await feed.snapshot_as_of(PILKADA_2024.id, began + timedelta(minutes=minutes))
        assert taken is not None
        assert taken.head.sequence == sequence
        assert list(taken.counts.values()) == [Counts(residents=sequence)] * (sequence > 0)
    await engine.dispose()
    rows = await execute(
        parts, database, "SELECT numbered_at FROM notifier.changes ORDER BY sequence"
    )
    assert [(row["numbered_at"] - began) // timedelta(minutes=1) for row in rows] == [0, 10, 10, 20]
