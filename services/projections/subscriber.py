"""Consuming `population.events`: whose partitions are whose, and batches that must not be lost.

A batch that fails is tried again until it is stored, or until its partitions are somebody
else's: faststream's loop would go on to the next batch, and the next commit pass this one.
Kafka's offsets are a hint; the marks in PostgreSQL say what is counted.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any, Final

from aiokafka import ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError
from faststream import AckPolicy
from faststream.kafka import KafkaBroker, KafkaMessage

from services.projections import metrics
from services.projections.domain.arrivals import Arrival
from services.projections.failures import FORESEEN, described
from services.projections.projecting import Progress, Projector
from shared.events.records import read_record
from shared.topics import POPULATION_EVENTS, ensure_topics
from shared.traces import read_event_trace

logger = logging.getLogger(__name__)

GROUP: Final = "projections"
BATCH_RECORDS: Final = 2_000

# faststream sleeps this long after each empty poll, so it is a part of every event's way.
EMPTY_POLL_MS: Final = 20

# The least that brokers allow: after a SIGKILL the group waits this long for the dead member.
SESSION_TIMEOUT_MS: Final = 6_000
HEARTBEAT_MS: Final = 2_000
REQUEST_TIMEOUT_MS: Final = 10_000

CLAIM_TIMEOUT_S: Final = 5.0
COMMIT_TIMEOUT_S: Final = 5.0
PING_TIMEOUT_S: Final = 2.0
STOP_TIMEOUT_S: Final = 5.0

# Between attempts at a batch: doubled from the first to the longest.
FIRST_PAUSE_S: Final = 0.1
LONGEST_PAUSE_S: Final = 2.0

# Where the counting stands still for so long while the log is ahead, the log is read: the broker
# may be away, or have lost its topic and give what is counted again, or lack what comes next.
READ_LOG_AFTER_S: Final = 10.0

# A consumer that gets nothing for so long, although there was something in the log, is made anew.
STUCK_AFTER_S: Final = 30.0
LOOK_EVERY_S: Final = 5.0

# No epoch in the database is ever this: partitions assigned to us and not taken over yet.
NOT_CLAIMED: Final = -1


class MembershipUnknownError(ConnectionError):
    """The coordinator did not say whether we are still in the group."""


# faststream says at each start that it makes no topics; only what fails is worth a line.
_kafka_logger: Final = logging.getLogger("faststream.projections")
_kafka_logger.setLevel(logging.ERROR)


@dataclass(frozen=True, slots=True)
class Fetched:
    """The records of one fetch, and the consumer that they came from."""

    records: tuple[Any, ...]
    consumer: Any


async def decode(message: KafkaMessage) -> Fetched:
    """The records as they are: faststream would parse each as JSON for itself."""
    return Fetched(message.raw_message, message.consumer)


class Ownership(ConsumerRebalanceListener):  # type: ignore[misc]
    """Which partitions are ours, each with the epoch that we raised for it."""

    def __init__(self, projector: Projector) -> None:
        self._projector = projector
        self.epochs: dict[int, int] = {}
        self.has_joined = False

    def forget(self) -> None:
        """Nothing is ours any more: whatever is under way will not be stored."""
        self.has_joined = False
        self.epochs.clear()

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        """All partitions are given back before each rebalance."""
        self.forget()

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        """Take the partitions over. Where that fails, the first batch does it."""
        self.epochs = dict.fromkeys((each.partition for each in assigned), NOT_CLAIMED)
        self.has_joined = True
        try:
            async with asyncio.timeout(CLAIM_TIMEOUT_S):
                await self.claim(self.epochs)
        except Exception as error:
            logger.warning("partitions not taken over yet", extra={"error": described(error)})

    async def claim(self, partitions: Iterable[int]) -> None:
        """Raise the epoch of partitions that are ours."""
        raised = await self._projector.raise_epochs(list(partitions))
        for partition, epoch in raised.items():
            if partition in self.epochs:
                self.epochs[partition] = max(self.epochs[partition], epoch)


class Subscriber:
    """Feeds the projector from Kafka."""

    def __init__(self, bootstrap: str, projector: Projector) -> None:
        self._bootstrap = bootstrap
        self._projector = projector
        self._ownership = Ownership(projector)
        self._stopping = asyncio.Event()
        self._consumer: Any = None
        self._is_busy = False
        self._fetched_at = time.monotonic()

    async def run(self) -> None:
        """Consume until the consumer is found stuck; a new one is made by calling again."""
        await ensure_topics(self._bootstrap)
        self._stopping.clear()
        self._is_busy = False
        broker, subscription = self._subscribe()
        try:
            await broker.start()
            self._consumer = subscription.consumer
            await self._until_stuck()
        finally:
            self._stopping.set()
            self._consumer = None
            await broker.stop()
            self._ownership.forget()

    async def is_connected(self) -> bool:
        """Whether we are in the group and the broker answers."""
        if self._consumer is None or not self._ownership.has_joined:
            return False
        try:
            async with asyncio.timeout(PING_TIMEOUT_S):
                await self._consumer.topics()
        except (KafkaError, OSError, TimeoutError):
            return False
        return True

    def _subscribe(self) -> tuple[KafkaBroker, Any]:
        broker = KafkaBroker(
            self._bootstrap,
            client_id=GROUP,
            request_timeout_ms=REQUEST_TIMEOUT_MS,
            consumer_only=True,
            apply_types=False,
            graceful_timeout=STOP_TIMEOUT_S,
            logger=_kafka_logger,
            log_level=logging.DEBUG,
        )
        subscription = broker.subscriber(
            POPULATION_EVENTS,
            batch=True,
            max_records=BATCH_RECORDS,
            batch_timeout_ms=EMPTY_POLL_MS,
            group_id=GROUP,
            ack_policy=AckPolicy.MANUAL,
            auto_offset_reset="earliest",
            session_timeout_ms=SESSION_TIMEOUT_MS,
            heartbeat_interval_ms=HEARTBEAT_MS,
            listener=self._ownership,
            decoder=decode,
        )
        subscription(self._consume)
        return broker, subscription

    async def _until_stuck(self) -> None:
        now_s = self._fetched_at = time.monotonic()
        log_read_s = 0.0
        stands, stands_since_s = await self._projector.progress(), now_s
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            progress, now_s = await self._progress_after(stands), time.monotonic()
            if progress.cut > stands.cut or not progress.is_behind:
                stands, stands_since_s = progress, now_s
            elif now_s - stands_since_s > READ_LOG_AFTER_S:
                if not self._ownership.epochs:
                    # A group that met while the topic was away has dealt out nothing, and nothing
                    # makes it meet again when the topic is back.
                    logger.warning("nobody counts although the log is ahead, joining anew")
                    return
                await self._read_log()
                log_read_s = now_s
            quiet_s = now_s - self._fetched_at
            if not self._is_busy and quiet_s > STUCK_AFTER_S and log_read_s > self._fetched_at:
                logger.warning("nothing comes although the log was ahead, connecting anew")
                return

    async def _progress_after(self, known: Progress) -> Progress:
        """How far the log is counted; what is known while the database is away."""
        try:
            return await self._projector.progress()
        except FORESEEN:
            return known

    async def _read_log(self) -> None:
        logger.warning("the counting stands still although the log is ahead, reading the log")
        metrics.LOG_READ.inc()
        try:
            await self._projector.read_log(dict(self._ownership.epochs))
        except FORESEEN as error:
            logger.warning("the log could not be read", extra={"error": described(error)})

    async def _consume(self, fetched: Fetched) -> None:
        """Project what was fetched; returns when it is stored or no longer ours to store."""
        self._is_busy = True
        pending = _arrivals(fetched.records)
        pause_s = FIRST_PAUSE_S
        while pending and not self._stopping.is_set():
            pending = {p: a for p, a in pending.items() if p in self._ownership.epochs}
            try:
                pending = await self._advance(pending, fetched.consumer)
            except Exception as error:
                metrics.FAILURES.inc()
                logger.warning(
                    "a batch failed and is tried again",
                    exc_info=not isinstance(error, FORESEEN),
                    extra={"error": described(error)},
                )
                await self._pause(pause_s)
                pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
        self._is_busy = False
        self._fetched_at = time.monotonic()

    async def _advance(
        self, pending: dict[int, list[Arrival]], consumer: Any
    ) -> dict[int, list[Arrival]]:
        """Project what is pending and acknowledge it; what must be done again."""
        fenced = await self._projector.project(pending, self._ownership.epochs)
        stored = {p: _offset(a[-1]) + 1 for p, a in pending.items() if p not in fenced}
        await _commit(consumer, stored)
        if not fenced:
            return {}
        return await self._contest({p: pending[p] for p in fenced}, consumer)

    async def _contest(
        self, fenced: dict[int, list[Arrival]], consumer: Any
    ) -> dict[int, list[Arrival]]:
        """What of fenced partitions is ours after all, taken over again.

        Somebody raised an epoch after us. It may be the partition's new owner, or one that lost
        it and was late. The group's coordinator knows: it refuses an offset from one that is not
        a member of the present generation.
        """
        ours = {p: a for p, a in fenced.items() if p in self._ownership.epochs}
        is_member = await _commit(consumer, {p: _offset(a[0]) for p, a in ours.items()})
        if is_member is None:
            raise MembershipUnknownError
        if not is_member:
            ours = {}
        metrics.FENCED.inc(len(fenced) - len(ours))
        if ours:
            await self._ownership.claim(ours)
        return ours

    async def _pause(self, pause_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause_s):
                await self._stopping.wait()


def _arrivals(records: Iterable[Any]) -> dict[int, list[Arrival]]:
    arrivals: dict[int, list[Arrival]] = {}
    for record in records:
        value = record.value or b""
        trace = read_event_trace(record.headers, record.timestamp)
        arrival = Arrival(record.offset, value, read_record(value), trace)
        arrivals.setdefault(record.partition, []).append(arrival)
    return arrivals


def _offset(arrival: Arrival) -> int:
    assert arrival.offset is not None
    return arrival.offset


async def _commit(consumer: Any, offsets: dict[int, int]) -> bool | None:
    """Commit offsets by partition: whether the coordinator took them, none if it did not say."""
    if not offsets:
        return True
    by_topic_partition = {
        TopicPartition(POPULATION_EVENTS, partition): offset
        for partition, offset in offsets.items()
    }
    try:
        async with asyncio.timeout(COMMIT_TIMEOUT_S):
            await consumer.commit(by_topic_partition)
    except (CommitFailedError, IllegalStateError):
        return False
    except (KafkaError, TimeoutError):
        return None
    return True
