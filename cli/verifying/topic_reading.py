"""Reading a whole topic, from the first record that it has to the last at the beginning."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition

from shared.topics import PARTITIONS

RECORDS_AT_ONCE: Final = 5_000
FETCH_WAIT_MS: Final = 100
FETCH_BYTES: Final = 4 * 1024 * 1024

# A broker that gives nothing for so long is taken to be away.
SILENCE_S: Final = 30.0


async def records(bootstrap: str, topic: str) -> AsyncIterator[tuple[int, Sequence[Any]]]:
    """The records of each partition in order, some at a time, with the partition's number.

    Raises KafkaError, and TimeoutError when the broker falls silent.
    """
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap,
        enable_auto_commit=False,
        fetch_max_wait_ms=FETCH_WAIT_MS,
        max_partition_fetch_bytes=FETCH_BYTES,
    )
    partitions = [TopicPartition(topic, number) for number in range(PARTITIONS)]
    try:
        async with asyncio.timeout(SILENCE_S):
            await consumer.start()
            consumer.assign(partitions)
            begins = await consumer.beginning_offsets(partitions)
            ends = await consumer.end_offsets(partitions)
            for partition in partitions:
                consumer.seek(partition, begins[partition])
        remaining = {each for each in partitions if begins[each] < ends[each]}
        while remaining:
            async with asyncio.timeout(SILENCE_S):
                fetched = await _some(consumer)
            for partition, messages in fetched.items():
                yield partition.partition, messages
            remaining = {p for p in remaining if await consumer.position(p) < ends[p]}
    finally:
        await consumer.stop()


async def _some(consumer: AIOKafkaConsumer) -> dict[TopicPartition, list[Any]]:
    fetched: dict[TopicPartition, list[Any]] = {}
    while not fetched:
        fetched = await consumer.getmany(timeout_ms=FETCH_WAIT_MS, max_records=RECORDS_AT_ONCE)
    return fetched
