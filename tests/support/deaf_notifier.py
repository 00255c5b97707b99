"""The notifier, whose first consumer of each topic hears nothing more after its first records,
while its heartbeats go on; nobody waits as long for that to be noticed as in production."""

import sys
from typing import Any

from aiokafka import AIOKafkaConsumer

from services.notifier import subscriber
from services.notifier.__main__ import main

NOTICED_AFTER_S = 2.0


def grow_deaf() -> None:
    hears = AIOKafkaConsumer.getmany
    first: dict[frozenset[str], Any] = {}
    deaf: set[Any] = set()

    async def getmany(consumer: Any, *partitions: Any, **limits: Any) -> Any:
        if consumer in deaf:
            return {}
        heard = await hears(consumer, *partitions, **limits)
        if heard and first.setdefault(frozenset(consumer.subscription()), consumer) is consumer:
            deaf.add(consumer)
        return heard

    AIOKafkaConsumer.getmany = getmany


if __name__ == "__main__":
    vars(subscriber).update(STANDSTILL_S=NOTICED_AFTER_S)
    grow_deaf()
    sys.exit(main())
