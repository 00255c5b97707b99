"""The fixtures themselves: real servers, a migrated database, empty topics."""

import asyncpg
from aiokafka import AIOKafkaProducer

from shared.topics import PARTITIONS, POPULATION_EVENTS
from tests.support.parts import Parts


async def test_a_cloned_database_holds_every_schema(parts: Parts, database: str) -> None:
    connection = await asyncpg.connect(parts.dsn(database))
    found = await connection.fetch("SELECT nspname FROM pg_namespace")
    await connection.close()
    assert {"access", "registry"} <= {row["nspname"] for row in found}


async def test_the_topics_have_twelve_partitions(parts: Parts, topics: None) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=parts.kafka_bootstrap)
    await producer.start()
    partitions = await producer.partitions_for(POPULATION_EVENTS)
    await producer.stop()
    assert partitions == set(range(PARTITIONS))
