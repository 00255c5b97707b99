"""The Kafka topics, and making them."""

import asyncio
from typing import Final

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
