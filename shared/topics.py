"""The Kafka topics, and making them."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

POPULATION_EVENTS: Final = "population.events"
VOTER_CHANGES: Final = "voter.changes"

# Internal, from projections to the notifier: persons' changes by resident, and the elections.
VOTER_PERSONS: Final = "voter.persons"

TOPICS: Final = (POPULATION_EVENTS, VOTER_CHANGES, VOTER_PERSONS)

# Fixed for the life of a topic: the partition of a resident or village depends on it.
PARTITIONS: Final = 12

# The log in PostgreSQL is the record; whatever Kafka still has can be published from it again.
RETENTION_MS: Final = -1

BROKER_TIMEOUT_MS: Final = 2_000
ENDS_WITHIN_S: Final = 10.0


class TopicLostError(Exception):
    """A topic holds fewer records than the broker has acknowledged: it was lost and made anew."""


@dataclass(slots=True)
class Ends:
    """The offset behind the last acknowledged record of each partition of a topic.

    A broker's topics have identities, but aiokafka does not know them. Offsets tell as much: in
    a topic that was made anew they count from 0 again, and nobody but its one writer makes them
    grow.
    """

    offsets: dict[int, int]

    def acknowledge(self, partition: int, offset: int, records: int) -> None:
        """Take note of a batch that the broker stored at an offset. Raises TopicLostError when
        it lies before records that were acknowledged earlier."""
        if offset < 0:
            # The broker had it already and does not say where.
            return
        if offset < self.offsets.get(partition, 0):
            raise TopicLostError
        self.offsets[partition] = offset + records

    def are_beyond(self, found: Mapping[int, int]) -> bool:
        """Whether the topic, whose ends were found to be these, has lost records."""
        return any(found.get(partition, 0) < offset for partition, offset in self.offsets.items())


async def read_ends(bootstrap: str, topic: str) -> dict[int, int]:
    """Where each partition of a topic ends. Raises KafkaError or TimeoutError."""
    consumer: Any = AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False)
    partitions = [TopicPartition(topic, n) for n in range(PARTITIONS)]
    try:
        async with asyncio.timeout(ENDS_WITHIN_S):
            await consumer.start()
            found = await consumer.end_offsets(partitions)
    finally:
        await consumer.stop()
    return {partition.partition: offset for partition, offset in found.items()}


async def ensure_topics(bootstrap: str) -> None:
    """Make the topics that do not exist yet. Raises KafkaError when the broker refuses."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    try:
        await admin.start()
        wanted = [
            NewTopic(name, PARTITIONS, 1, topic_configs={"retention.ms": str(RETENTION_MS)})
            for name in TOPICS
        ]
        response = await admin.create_topics(wanted)
        for _, code, *_rest in response.topic_errors:
            error = for_code(code)
            if code and error is not TopicAlreadyExistsError:
                raise error
    finally:
        await admin.close()


async def broker_answers(bootstrap: str) -> bool:
    """Whether a broker answers a metadata request within two seconds."""
    client = AIOKafkaClient(bootstrap_servers=bootstrap, request_timeout_ms=BROKER_TIMEOUT_MS)
    try:
        async with asyncio.timeout(BROKER_TIMEOUT_MS / 1000):
            await client.bootstrap()
    except (KafkaError, OSError, TimeoutError):
        return False
    else:
        return True
    finally:
        await client.close()
