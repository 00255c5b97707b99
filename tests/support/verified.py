"""A small whole system that was filled and then left alone, and copies of it to be spoilt."""

import asyncio
import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Final

import asyncpg
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from cli.stack import Stack
from cli.verifying.proof import Proof
from cli.verifying.running import Screen, Servers, Workers, run, workers
from shared.database import plain_dsn
from shared.topics import PARTITIONS, ensure_topics
from tests.support.driving import play
from tests.support.histories import ALL
from tests.support.parts import CHECKOUT
from tests.support.rounds import history, lanes_apart
from tests.support.system import System, observed

SEED: Final = 6
SIZE: Final = 400
SECOND: Final = {
    "polling_day": "2024-06-01",
    "area": "15.01.16",
    "minimum_age": 17,
    "first_time_since": "2023-01-01",
    "stages": [],
}
WITHIN_S: Final = 90
COMMAND_WITHIN_S: Final = 120
TRIES: Final = 5

# All is told, and the second election's history is filled.
_AT_REST: Final = """
    SELECT head.position > 0
        AND head.position <= (SELECT min(position) FROM projections.marks)
        AND head.position <= (SELECT min(published_up_to) FROM registry.relay_marks)
        AND (SELECT count(*) = 2 AND max(history_from) = 0 AND min(told_fold - fold) = 0
            FROM projections.elections)
        AND NOT EXISTS (SELECT FROM projections.outbox)
        AND NOT EXISTS (SELECT FROM projections.voter_outbox)
        AND NOT EXISTS (SELECT FROM projections.voter_differences)
        AND NOT EXISTS (SELECT FROM projections.tallies LEFT JOIN notifier.villages AS told
            USING (election, village) WHERE tallies.revision > coalesce(told.revision, 0))
        AND (SELECT sum(eligible) FROM projections.tallies)
            = (SELECT count(*) FROM notifier.voters WHERE village IS NOT NULL)
    FROM registry.head
"""

Record = tuple[int, bytes | None, bytes]


@dataclass(frozen=True, slots=True)
class Verified:
    """What `cacah verify` said, and how it ended."""

    status: int
    lines: list[str]
    complaint: str

    def faults(self) -> list[str]:
        return [line for line in self.lines if line.startswith("✗")]


@dataclass(frozen=True, slots=True)
class Left:
    """PostgreSQL and Kafka of a system whose services were stopped, and who reads them."""

    dsn: str
    bootstrap: str
    numbers: Iterator[int]
    readers: Workers
    originals: dict[str, list[Record]] = field(default_factory=dict)

    def proofs(self, dsn: str | None = None) -> list[Proof]:
        """What `cacah verify` proves, without starting processes for it."""
        told: list[Proof] = []
        screen = Screen(lambda name: None, told.append, lambda rows, read: None)
        servers = Servers(dsn or self.dsn, self.bootstrap)
        asyncio.run(run(servers, SEED, 0.0, screen, self.readers))
        return told

    def verify(self, *words: str, dsn: str | None = None, bootstrap: str | None = None) -> Verified:
        """Run `cacah verify` as a person does."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith("CACAH_")}
        ended = subprocess.run(
            [sys.executable, "-m", "cli.main", "verify", "--wait", "0", *words],
            env=clean
            | {
                "CACAH_DATABASE_URL": dsn or self.dsn,
                "CACAH_KAFKA_BOOTSTRAP": self.bootstrap if bootstrap is None else bootstrap,
            },
            cwd=CHECKOUT,
            capture_output=True,
            text=True,
            timeout=COMMAND_WITHIN_S,
        )
        return Verified(ended.returncode, ended.stdout.splitlines(), ended.stderr)

    @contextlib.contextmanager
    def copy(self) -> Iterator[str]:
        """A copy of the database; its address."""
        name = f"spoilt_{next(self.numbers)}"
        asyncio.run(execute(self._beside("postgres"), f"CREATE DATABASE {name} TEMPLATE cacah"))
        try:
            yield self._beside(name)
        finally:
            asyncio.run(execute(self._beside("postgres"), f"DROP DATABASE {name} WITH (FORCE)"))

    def _beside(self, database: str) -> str:
        return self.dsn.rpartition("/")[0] + "/" + database

    @contextlib.contextmanager
    def rewritten(self, topic: str, change: Callable[[Record], Sequence[Record]]) -> Iterator[None]:
        """A topic made anew, each of its records changed; afterwards it is as it was."""
        if topic not in self.originals:
            self.originals[topic] = asyncio.run(read_topic(self.bootstrap, topic))
        records = self.originals[topic]
        changed = [new for record in records for new in change(record)]
        asyncio.run(write_topic(self.bootstrap, topic, changed))
        try:
            yield
        finally:
            asyncio.run(write_topic(self.bootstrap, topic, records))


@contextlib.contextmanager
def left_system() -> Iterator[Left]:
    """Fill a system with a hostile history and two elections, and leave its servers running."""
    with tempfile.TemporaryDirectory(prefix="cacah-verify-", ignore_cleanup_errors=True) as home:
        with Stack(Path(home), ports="free") as stack:
            asyncio.run(_fill(stack))
        with (
            Stack(Path(home), ports="free", parts={"postgres", "kafka"}) as stack,
            workers() as readers,
        ):
            dsn = plain_dsn(stack.database_url)
            yield Left(dsn, stack.kafka_bootstrap, count(1), readers)


async def _fill(stack: Stack) -> None:
    async with observed(stack) as system:
        await system.until_ready()
        events = history(SEED, SIZE, ALL)
        half = len(events) // 2
        await _send(system, events[:half])
        await _close(system)
        answer = await system.projections.put("/v1/elections/second", json=SECOND)
        assert answer.status_code in (200, 201), answer.text
        await _send(system, events[half:])
        await _rest(plain_dsn(stack.database_url))
        await _close(system)


async def _close(system: System) -> None:
    """Make a supplement of what KPU was told so far."""
    async with asyncio.timeout(WITHIN_S):
        while True:
            answer = await system.notifier.post("/v1/elections/pilkada-2024/supplements", json={})
            if answer.status_code == 201:
                return
            await asyncio.sleep(0.2)


async def _send(system: System, events: list[dict[str, Any]]) -> None:
    lanes = lanes_apart(events, SEED)
    await play(system.stack.urls["registry"], system.stack.operator_token, lanes)


async def _rest(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        async with asyncio.timeout(WITHIN_S):
            while not await connection.fetchval(_AT_REST):
                await asyncio.sleep(0.2)
    finally:
        await connection.close()


async def execute(dsn: str, *statements: str) -> None:
    """Run statements, each by itself."""
    connection = await asyncpg.connect(dsn)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


async def row_of(dsn: str, query: str) -> tuple[Any, ...]:
    """The one row of a query."""
    connection = await asyncpg.connect(dsn)
    try:
        found = await connection.fetchrow(query)
    finally:
        await connection.close()
    assert found is not None, query
    return tuple(found)


async def read_topic(bootstrap: str, topic: str) -> list[Record]:
    """Every record of a topic: its partition, key and value, each partition's in order."""
    return [record async for record in _records(bootstrap, topic)]


async def _records(bootstrap: str, topic: str) -> AsyncIterator[Record]:
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False)
    partitions = [TopicPartition(topic, number) for number in range(PARTITIONS)]
    try:
        await consumer.start()
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        # By hand: aiokafka may still be placing an assigned partition at its end, and would win.
        for partition, offset in (await consumer.beginning_offsets(partitions)).items():
            consumer.seek(partition, offset)
        for partition in partitions:
            while await consumer.position(partition) < ends[partition]:
                message = await consumer.getone(partition)
                yield message.partition, message.key, message.value
    finally:
        await consumer.stop()


async def write_topic(bootstrap: str, topic: str, records: Sequence[Record]) -> None:
    """Make a topic anew with these records, and see that it has them.

    A broker that has just deleted a topic may still take records for it and lose them.
    """
    for _ in range(TRIES):
        await _write_topic(bootstrap, topic, records)
        if await read_topic(bootstrap, topic) == by_partition(records):
            return
    raise AssertionError(f"{topic} could not be made anew")


def by_partition(records: Sequence[Record]) -> list[Record]:
    """The records in the order in which they are read."""
    return sorted(records, key=lambda record: record[0])


async def _write_topic(bootstrap: str, topic: str, records: Sequence[Record]) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    try:
        await admin.start()
        await admin.delete_topics([topic])
        async with asyncio.timeout(30):
            while topic in await admin.list_topics():
                await asyncio.sleep(0.05)
    finally:
        await admin.close()
    await ensure_topics(bootstrap)
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all")
    try:
        await producer.start()
        sent = [
            await producer.send(topic, value, key=key, partition=partition)
            for partition, key, value in records
        ]
        await asyncio.gather(*sent)
    finally:
        await producer.stop()
