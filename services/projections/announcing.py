"""Announcing changes of tallies on the topic `voter.changes`.

A change waits in the outbox, where the transaction of its tally put it, until the broker has
acknowledged it. A crash between acknowledgement and removal sends it again; its revision tells
whoever reads the topic. One process at a time announces, under a lock that ends with its
transaction; should it lose the lock while its records are on their way, another sends the same
records in the same order, and each village's revisions still arrive for the first time in turn.
"""

import asyncio
import zlib
from collections import defaultdict
from collections.abc import Iterable
from typing import Any, Final

import orjson
from aiokafka import AIOKafkaProducer
from sqlalchemy.ext.asyncio import AsyncEngine

from services.projections import metrics, tables
from services.projections.domain.tally import TallyChange
from services.projections.tables import Announcement
from shared.calendar import office_date
from shared.database import wait_for
from shared.elections import Election
from shared.regions import district_of
from shared.topics import PARTITIONS, VOTER_CHANGES

# About 900 bytes each; what goes to one partition must fit into one record batch.
ANNOUNCEMENTS_AT_ONCE: Final = 1_000
RECORD_BATCH_BYTES: Final = 900_000

# Behind the waking after each commit, for what another process left.
POLL_S: Final = 1.0

# Less than tables.SILENCE_MS, so that our own transaction outlives the wait.
REQUEST_TIMEOUT_MS: Final = 8_000


def announcement(change: TallyChange, election: Election) -> Announcement:
    """A change of a tally as the topic carries it; its stage is that of the day it was recorded."""
    value = {
        "election": election.id,
        "village": change.key.village,
        "district": district_of(change.key.village),
        "revision": change.revision,
        "position": change.position,
        "time": change.recorded_at,
        "stage": election.stage_on(office_date(change.recorded_at)),
        "before": change.before._asdict(),
        "after": change.after._asdict(),
    }
    return Announcement(change.key, change.revision, orjson.dumps(value, option=orjson.OPT_UTC_Z))


def partition_of_village(village: str) -> int:
    """The partition of `voter.changes` that all changes of a village go to."""
    return zlib.crc32(village.encode()) % PARTITIONS


class Announcer:
    """Sends what waits in the outbox, whenever it is woken."""

    def __init__(self, engine: AsyncEngine, bootstrap: str) -> None:
        self._engine = engine
        self._bootstrap = bootstrap
        self.woken = asyncio.Event()

    async def run(self) -> None:
        """Announce until something fails: then this producer may no longer be trusted, and a new
        one must be made by calling again."""
        producer = AIOKafkaProducer(
            bootstrap_servers=self._bootstrap,
            enable_idempotence=True,
            acks="all",
            max_batch_size=RECORD_BATCH_BYTES,
            request_timeout_ms=REQUEST_TIMEOUT_MS,
        )
        try:
            await producer.start()
            while True:
                if not await self._announce(producer):
                    await wait_for(self.woken, POLL_S)
        finally:
            await producer.stop()

    async def _announce(self, producer: Any) -> int:
        async with self._engine.begin() as connection:
            waiting = await tables.outbox(connection, ANNOUNCEMENTS_AT_ONCE)
            if not waiting:
                return 0
            sent = await _send(producer, waiting)
            await tables.remove_from_outbox(connection, sent)
        metrics.ANNOUNCED.inc(len(sent))
        return len(sent)


async def _send(producer: Any, announcements: Iterable[Announcement]) -> list[Announcement]:
    """Send as one record batch a partition, which the broker takes whole or not at all: no
    change can overtake the one before it. What does not fit stays for the next round."""
    batches: defaultdict[int, Any] = defaultdict(producer.create_batch)
    full: set[int] = set()
    sent = []
    for item in announcements:
        partition = partition_of_village(item.key.village)
        if partition in full:
            continue
        key = item.key.village.encode()
        if batches[partition].append(key=key, value=item.value, timestamp=None) is None:
            full.add(partition)
        else:
            sent.append(item)
    acknowledgements = [
        await producer.send_batch(batch, VOTER_CHANGES, partition=partition)
        for partition, batch in batches.items()
    ]
    await asyncio.gather(*acknowledgements)
    return sent
