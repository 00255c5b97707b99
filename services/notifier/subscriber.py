"""The topics of changes, fetched in batches and acknowledged after the commit.

What can go wrong here: the process dies between commit and acknowledgement (the batch comes
again and is dropped by its revisions or places); the partition goes to another process while a
batch is under way (both commit, the head's lock puts one after the other, the second is a
repeat); Kafka is away at the start or later (tried again for ever); the topic is lost and made
anew (it is read from its beginning, whatever offset was reached in the old one). A handler that
raises would be passed over by the next acknowledgement, so ours does not: it repeats.
"""

import asyncio
import contextlib
import logging
import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import chain
from typing import Any, Final, cast

from aiokafka import ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError
from faststream import AckPolicy
from faststream.kafka import KafkaBroker
from faststream.kafka.message import KafkaMessage

from services.notifier.numbering import Taking, delays_s
from services.notifier.records import TopicValue
from shared.topics import ensure_topics

logger = logging.getLogger(__name__)

_Records = tuple["ConsumerRecord[Any, Any]", ...]

MOST_RECORDS: Final = 5_000

# faststream sleeps this long again after an empty fetch, so it is the delay of a quiet topic.
FETCH_WAIT_MS: Final = 10

# A process that died keeps its partitions for this long.
SESSION_MS: Final = 6_000
HEARTBEAT_MS: Final = 2_000

LOOK_S: Final = 1.0
PING_S: Final = 2.0
GRACE_S: Final = 3.0

# A broker that lost its disk may never answer what it was asked before; Kafka's own 40 s are most
# of the minute within which all must be whole again.
REQUEST_TIMEOUT_MS: Final = 10_000

# A consumer that stands still for this long while Kafka answers is made anew. A group that met
# while its topic was away has dealt out nothing, and nothing makes it meet again; to give the
# partitions of a dead process to others takes less.
STANDSTILL_S: Final = 15.0


class _Membership(ConsumerRebalanceListener):  # type: ignore[misc]
    """Whether this process has its place in the consumer group, the offsets that it has reached
    in its partitions and acknowledged, whether it is taking something just now, and whether it
    is about to leave.

    The methods are coroutines because faststream calls plain ones in another thread.
    """

    def __init__(self) -> None:
        self.joined = False
        self.reached: dict[int, int] = {}
        self.acknowledged: dict[TopicPartition, int] = {}
        self.taking = False
        self.leaving = False

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        self._become(False)

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        self._become(True)

    @contextlib.contextmanager
    def busy(self) -> Iterator[None]:
        """While what was fetched is taken, however long the database is away."""
        self.taking = True
        try:
            yield
        finally:
            self.taking = False

    def _become(self, joined: bool) -> None:
        self.joined = joined
        self.reached.clear()
        self.acknowledged = {}


class Subscriber:
    """Feeds a feed from its topic, and keeps trying while Kafka is away."""

    def __init__(
        self,
        bootstrap: str,
        group: str,
        topic: str,
        taking: Taking[Any, Any],
        most_records: int = MOST_RECORDS,
    ) -> None:
        self._bootstrap = bootstrap
        self._group = group
        self._topic = topic
        self._taking = taking
        self._most_records = most_records
        self._membership: _Membership | None = None
        self._answers = False
        self._ends: dict[TopicPartition, int] = {}
        self._at: dict[TopicPartition, int] = {}

    @property
    def connected(self) -> bool:
        """Whether Kafka answers and this process has its place in the group."""
        return self._answers and self._membership is not None and self._membership.joined

    async def run(self) -> None:
        """Consume until cancelled."""
        waits = delays_s()
        while True:
            try:
                await self._consume()
                waits = delays_s()
            except (KafkaError, OSError) as error:
                logger.warning("Kafka is away and is tried again", extra={"error": repr(error)})
            except Exception:
                logger.exception("the consumer failed and is made anew")
            await asyncio.sleep(next(waits))

    async def _consume(self) -> None:
        """Return when the consumer must be made anew."""
        await ensure_topics(self._bootstrap)
        self._membership = membership = _Membership()
        broker, subscription = self._broker(membership)
        try:
            await broker.start()
            await self._watch(broker, subscription.consumer, membership)
        finally:
            self._membership = None
            membership.leaving = True
            await broker.stop()

    async def _watch(self, broker: KafkaBroker, consumer: Any, membership: _Membership) -> None:
        """Return when the consumer has stood still for too long."""
        now_s = asyncio.get_running_loop().time
        self._answers, went_s = True, now_s()
        while True:
            answers = await broker.ping(PING_S)
            if answers and not self._answers:
                await ensure_topics(self._bootstrap)
            self._answers = answers
            if not answers or await self._goes_on(consumer, membership):
                went_s = now_s()
            elif now_s() - went_s > STANDSTILL_S:
                logger.warning("the consumer stands still and is made anew")
                return
            await asyncio.sleep(LOOK_S)

    async def _goes_on(self, consumer: Any, membership: _Membership) -> bool:
        """Whether the consumer has read its partitions to their ends, or more of them than at the
        last look, or is held up by what it takes."""
        assigned = consumer.assignment()
        if not assigned or not membership.joined:
            return False
        try:
            async with asyncio.timeout(PING_S):
                ends = await consumer.end_offsets(list(assigned))
                await self._begin_anew_where_lost(consumer, ends)
                at = {each: await consumer.position(each) for each in assigned}
        except (KafkaError, TimeoutError):
            # Away, or giving the partitions to others: the next look tells.
            return membership.taking
        moved, self._at = at != self._at, at
        return moved or membership.taking or all(at[each] >= end for each, end in ends.items())

    async def _begin_anew_where_lost(
        self, consumer: Any, ends: Mapping[TopicPartition, int]
    ) -> None:
        """Read from its beginning what ends before where it ended: it is another topic.

        Kafka itself would go on at the old offset, if the new topic has grown beyond it.
        """
        if any(end < self._ends.get(each, 0) for each, end in ends.items()):
            logger.error("the topic was lost; the new one is read from its beginning")
            await consumer.seek_to_beginning(*ends)
        self._ends |= ends

    def _broker(self, membership: _Membership) -> tuple[KafkaBroker, Any]:
        broker = KafkaBroker(
            self._bootstrap,
            apply_types=False,
            graceful_timeout=GRACE_S,
            request_timeout_ms=REQUEST_TIMEOUT_MS,
            logger=logger,
            log_level=logging.DEBUG,
        )
        subscribe = broker.subscriber(
            self._topic,
            batch=True,
            group_id=self._group,
            ack_policy=AckPolicy.MANUAL,
            auto_offset_reset="earliest",
            max_records=self._most_records,
            batch_timeout_ms=FETCH_WAIT_MS,
            session_timeout_ms=SESSION_MS,
            heartbeat_interval_ms=HEARTBEAT_MS,
            listener=membership,
            parser=_without_headers,
            decoder=_as_fetched,
        )

        @subscribe
        async def take(message: KafkaMessage) -> None:
            await self._take(message, membership)

        return broker, subscribe

    async def _take(self, message: KafkaMessage, membership: _Membership) -> None:
        """Take what was fetched, and fetch on as long as some of it is held back."""
        consumer = message.consumer
        records = cast("_Records", message.raw_message)
        while True:
            with membership.busy():
                held = await self._taking.take([self._value(record) for record in records])
            membership.reached.update((each.partition, each.offset + 1) for each in records)
            await self._acknowledge(consumer, {**membership.reached, **held.first}, membership)
            if held.due_s is None or membership.leaving:
                return
            wait_s = max(0.0, held.due_s - asyncio.get_running_loop().time())
            records = await self._fetch(consumer, wait_s)

    def _value(self, record: "ConsumerRecord[Any, Any]") -> TopicValue:
        value, stamp = record.value or b"", record.timestamp
        return TopicValue(record.partition, record.offset, value, self._topic, stamp)

    async def _fetch(self, consumer: Any, wait_s: float) -> "_Records":
        """What comes in so many seconds, as soon as it comes."""
        try:
            fetched = await consumer.getmany(
                timeout_ms=math.ceil(wait_s * 1000), max_records=self._most_records
            )
        except KafkaError:
            # What is held is due all the same; faststream's own fetching meets the fault again.
            await asyncio.sleep(wait_s)
            return ()
        return tuple(chain.from_iterable(fetched.values()))

    async def _acknowledge(
        self, consumer: Any, offsets: Mapping[int, int], membership: _Membership
    ) -> None:
        """Say that what lies before these offsets is committed, of the partitions that are ours."""
        ours = {
            each: offsets[each.partition]
            for each in consumer.assignment()
            if each.partition in offsets
        }
        if not ours or ours == membership.acknowledged:
            return
        try:
            await consumer.commit(ours)
            membership.acknowledged = ours
        except Exception as error:
            logger.warning(
                "the batch is committed but not acknowledged; it may come again",
                extra={"error": repr(error)},
            )


async def _without_headers(fetched: tuple[Any, ...], original: Any) -> KafkaMessage:
    """faststream decodes headers as UTF-8 and drops the whole batch where one is not."""
    return cast(
        "KafkaMessage", await original(tuple(replace(record, headers=()) for record in fetched))
    )


async def _as_fetched(message: KafkaMessage) -> KafkaMessage:
    """The message itself: what its values say is read where nothing can be dropped unseen."""
    return message
