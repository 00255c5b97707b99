"""Publishes the log to Kafka, behind its own mark, so that the topic can always be made again.

One relay works at a time however many processes there are: it holds an advisory lock. Fault
model: the relay or the broker may stop between any two steps. The marks move after the broker's
acknowledgement, so a restart repeats the tail at most; it first reads the last records of each
partition to make that tail short. Consumers drop repeats by position. The marks also say where
each partition ended: a topic that ends earlier was lost and made anew, and gets the whole log
again, whoever made it and whatever was written to it since.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import asyncpg
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError
from prometheus_client import Counter, Gauge
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from services.registry import republishing
from services.registry.republishing import Tail
from shared import latency
from shared.database import connect, wait_for
from shared.event_log import last_position, read_log
from shared.events.records import (
    LogEntry,
    partition_of,
    read_record,
    write_event,
    write_published,
)
from shared.latency import Leg
from shared.topics import (
    PARTITIONS,
    POPULATION_EVENTS,
    Ends,
    TopicLostError,
    ensure_topics,
    read_ends,
)
from shared.traces import Header, timestamp_ms, trace_headers

logger = logging.getLogger(__name__)

CHANNEL: Final = "registry_log"
BATCH_EVENTS: Final = 2_000
POLL_S: Final = 0.5

# A round costs the same for one event as for fifty, here and in all that follow it. What comes
# after a rest of this length is published at once.
AT_MOST_EVERY_S: Final = 0.025
LOCK_POLL_S: Final = 1.0
RETRY_S: Final = 1.0
TAIL_RECORDS: Final = 8
TAILS_WITHIN_S: Final = 30.0
FETCH_WAIT_MS: Final = 100
BATCH_BYTES: Final = 512 * 1024

# Whether the topic is still the one that was written to, and whether it shall be written again,
# is asked so often; an acknowledgement tells the first by itself.
LOOK_EVERY_S: Final = 2.0

# What was sent to a topic that is gone would else be waited for for 40 seconds.
REQUEST_TIMEOUT_MS: Final = 10_000

# An arbitrary number of our own for pg_try_advisory_lock.
RELAY_LOCK: Final = 0x6361_6361_01

PUBLISHED = Counter("registry_events_published", "Events published to population.events")
LOST = Counter("registry_topic_lost", "Times that population.events was found to be lost")
PUBLISHED_UP_TO = Gauge("registry_published_up_to", "Everything up to this position is published")

_SERVERS_AWAY: Final = (
    KafkaError,
    SQLAlchemyError,
    asyncpg.InterfaceError,
    asyncpg.PostgresError,
    OSError,
    TimeoutError,
)

_MARK = text(
    "INSERT INTO registry.relay_marks (partition, last_event, published_up_to, end_offset)"
    " SELECT * FROM unnest(CAST(:partitions AS smallint[]), CAST(:events AS bigint[]),"
    " CAST(:up_to AS bigint[]), CAST(:ends AS bigint[])) ON CONFLICT (partition) DO UPDATE"
    " SET last_event = excluded.last_event, published_up_to = excluded.published_up_to,"
    " end_offset = excluded.end_offset"
)


class LogBehindTopicError(Exception):
    """The topic holds positions that the log does not have: the wrong database, or an old copy."""


@dataclass(slots=True)
class Turn:
    """The connection that holds the lock and hears of new entries."""

    connection: "asyncpg.Connection[Any]"
    woken: asyncio.Event = field(default_factory=asyncio.Event)

    def check(self) -> None:
        """Raises ConnectionError once the lock may be another's."""
        if self.connection.is_closed():
            raise ConnectionError


@dataclass(slots=True)
class Relay:
    """Publishes until cancelled.

    `leading` tells whether this process is the one that does, `waiting` whether another is.
    """

    engine: AsyncEngine
    database_url: str
    bootstrap: str
    leading: bool = False
    waiting: bool = False

    async def run(self) -> None:
        """Wait for the lock, publish, and begin again after every fault."""
        while True:
            try:
                async with self._turn() as turn:
                    await self._publish(turn)
            except LogBehindTopicError:
                logger.critical(
                    "the topic is ahead of the log; restore the newer database, or delete the"
                    " topic population.events to have it published again"
                )
            except TopicLostError:
                await self._ask_for_all()
            except _SERVERS_AWAY as error:
                logger.warning("relay interrupted", extra={"error": type(error).__name__})
            except Exception:
                # Events are safe in the log meanwhile; a relay that dies silently is not.
                logger.exception("relay failed")
            finally:
                self.leading = False
            await asyncio.sleep(RETRY_S)

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator["Turn"]:
        """This process's turn at publishing: the lock is held as long as its connection lives."""
        connection = await connect(self.database_url)
        turn = Turn(connection)
        try:
            while not await connection.fetchval("SELECT pg_try_advisory_lock($1)", RELAY_LOCK):
                self.waiting = True
                await asyncio.sleep(LOCK_POLL_S)
            self.waiting = False
            await connection.add_listener(CHANNEL, lambda *_: turn.woken.set())
            yield turn
        finally:
            with contextlib.suppress(Exception):
                await connection.close(timeout=2)

    async def _publish(self, turn: "Turn") -> None:
        await ensure_topics(self.bootstrap)
        await self._look()
        tails = await read_tails(self.bootstrap)
        await self._check(tails)
        async with self.engine.connect() as connection:
            ends = await republishing.ends(connection)
            pending = await republishing.pending(connection)
            if pending:
                tails = await republishing.tails_before(connection, pending, len(tails))
        producer = AIOKafkaProducer(
            bootstrap_servers=self.bootstrap,
            enable_idempotence=True,
            acks="all",
            max_batch_size=BATCH_BYTES,
            linger_ms=0,
            request_timeout_ms=REQUEST_TIMEOUT_MS,
        )
        try:
            await producer.start()
            self.leading = True
            logger.info("relay leads", extra={"from": min(tail.up_to for tail in tails)})
            await self._publish_on(turn, producer, _Topic(tails, ends, pending))
        finally:
            self.leading = False
            await producer.stop()

    async def _publish_on(self, turn: "Turn", producer: AIOKafkaProducer, topic: "_Topic") -> None:
        """Publish until the topic is lost, or is to be written again from an earlier position."""
        looked_s = time.monotonic()
        while True:
            turn.check()
            rested_s = time.monotonic() + AT_MOST_EVERY_S
            if await self._publish_next(producer, topic):
                await asyncio.sleep(max(0.0, rested_s - time.monotonic()))
            else:
                await wait_for(turn.woken, POLL_S)
            if time.monotonic() - looked_s > LOOK_EVERY_S:
                await self._look()
                async with self.engine.connect() as connection:
                    if set(await republishing.pending(connection)) - set(topic.pending):
                        return
                looked_s = time.monotonic()

    async def _look(self) -> None:
        """Raises TopicLostError when the topic has lost what was published."""
        # In this order: what is acknowledged in between makes the topic longer, never the marks.
        async with self.engine.connect() as connection:
            known = await republishing.ends(connection)
        found = await read_ends(self.bootstrap, POPULATION_EVENTS)
        if known.are_beyond(found):
            raise TopicLostError

    async def _ask_for_all(self) -> None:
        logger.error("the topic was lost and is published again from the log, from its beginning")
        LOST.inc()
        try:
            async with self.engine.begin() as connection:
                await republishing.begin_anew(connection)
        except _SERVERS_AWAY as error:
            # The marks still say that it was lost: the next turn notices again.
            logger.warning("relay interrupted", extra={"error": type(error).__name__})

    async def _check(self, tails: Sequence[Tail]) -> None:
        async with self.engine.connect() as connection:
            last = await last_position(connection)
        if max(tail.last_event for tail in tails) > last:
            raise LogBehindTopicError

    async def _publish_next(self, producer: AIOKafkaProducer, topic: "_Topic") -> bool:
        """Publish the next entries; whether there were any."""
        tails = topic.tails
        after = min(tail.up_to for tail in tails)
        async with self.engine.connect() as connection:
            entries = await read_log(connection, after, BATCH_EVENTS)
        if not entries:
            return False
        # What is published again is no news: it has no trace.
        traced = not topic.pending
        published_at = datetime.now(UTC)
        batches = [
            (partition, batch)
            for partition, records in enumerate(due(entries, tails, traced))
            for batch in _batches(producer, records, published_at)
        ]
        counts = [(partition, batch.record_count()) for partition, batch in batches]
        sent = [
            await producer.send_batch(batch, POPULATION_EVENTS, partition=partition)
            for partition, batch in batches
        ]
        # All are heard before one that failed is told: any may show that the topic was lost.
        acknowledged = await asyncio.gather(*sent, return_exceptions=True)
        for (partition, records), stored in zip(counts, acknowledged, strict=True):
            if not isinstance(stored, BaseException):
                topic.ends.acknowledge(partition, stored.offset, records)
        for stored in acknowledged:
            if isinstance(stored, BaseException):
                raise stored
        await self._mark(topic)
        PUBLISHED.inc(len(entries))
        PUBLISHED_UP_TO.set(entries[-1].position)
        if traced:
            for entry in entries:
                latency.observe(Leg.PUBLISHED, entry.recorded_at, published_at)
        return True

    async def _mark(self, topic: "_Topic") -> None:
        async with self.engine.begin() as connection:
            await connection.execute(
                _MARK,
                {
                    "partitions": list(range(len(topic.tails))),
                    "events": [tail.last_event for tail in topic.tails],
                    "up_to": [tail.up_to for tail in topic.tails],
                    "ends": [topic.ends.offsets.get(n, 0) for n in range(len(topic.tails))],
                },
            )
            if topic.pending:
                up_to = min(tail.up_to for tail in topic.tails)
                topic.pending = await republishing.advance(connection, topic.pending, up_to)


@dataclass(slots=True)
class _Topic:
    """The topic as it is being written: where the chains and the offsets end, and the
    republications under way by their numbers, each with the position that it has reached."""

    tails: list[Tail]
    ends: Ends
    pending: dict[int, int]


class Record(NamedTuple):
    """A record to publish."""

    key: bytes | None
    value: bytes
    headers: list[Header]


def due(
    entries: Sequence[LogEntry], tails: Sequence[Tail], traced: bool = True
) -> list[list[Record]]:
    """The records to publish, by partition, and the tails moved to where they then end.

    What a partition has already is left out; each ends with a record that says up to where it
    has everything, though it may have got no event at all.
    """
    records: list[list[Record]] = [[] for _ in tails]
    for entry in entries:
        partition = partition_of(entry.resident_id, len(tails))
        tail = tails[partition]
        if entry.position > tail.up_to:
            key = str(entry.resident_id).encode()
            headers = trace_headers(entry.received_at) if traced else []
            records[partition].append(Record(key, write_event(entry, tail.last_event), headers))
            tail.last_event = entry.position
    up_to = entries[-1].position
    for partition, tail in enumerate(tails):
        tail.up_to = max(tail.up_to, up_to)
        records[partition].append(Record(None, write_published(tail.up_to, tail.last_event), []))
    return records


def _batches(
    producer: AIOKafkaProducer, records: Sequence[Record], published_at: datetime
) -> list[Any]:
    """Batches for one partition, left open: the sender writes its sequence numbers into them."""
    batch = producer.create_batch()
    batches = [batch]
    stamp = timestamp_ms(published_at)
    for key, value, headers in records:
        if batch.append(key=key, value=value, timestamp=stamp, headers=headers) is None:
            batch = producer.create_batch()
            batches.append(batch)
            batch.append(key=key, value=value, timestamp=stamp, headers=headers)
    return batches


async def read_tails(bootstrap: str) -> list[Tail]:
    """Where each partition of the topic ends, read from its last records."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap, enable_auto_commit=False, fetch_max_wait_ms=FETCH_WAIT_MS
    )
    partitions = [TopicPartition(POPULATION_EVENTS, n) for n in range(PARTITIONS)]
    tails = [Tail() for _ in partitions]
    try:
        async with asyncio.timeout(TAILS_WITHIN_S):
            await consumer.start()
            consumer.assign(partitions)
            begins = await consumer.beginning_offsets(partitions)
            ends = await consumer.end_offsets(partitions)
            # All are placed before any is read: a fetch under way holds the next one up.
            for partition in partitions:
                last = max(begins[partition], ends[partition] - TAIL_RECORDS)
                consumer.seek(partition, last)
            while await _some_remain(consumer, partitions, ends):
                fetched = await consumer.getmany(timeout_ms=FETCH_WAIT_MS)
                for partition, messages in fetched.items():
                    for message in messages:
                        tails[partition.partition].see(read_record(message.value or b""))
    finally:
        await consumer.stop()
    return tails


async def _some_remain(
    consumer: AIOKafkaConsumer,
    partitions: Sequence[TopicPartition],
    ends: Mapping[TopicPartition, int],
) -> bool:
    places = [(await consumer.position(partition), ends[partition]) for partition in partitions]
    return any(place < end for place, end in places)
