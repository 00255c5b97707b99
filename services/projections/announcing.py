"""Announcing changes of tallies on the topic `voter.changes`, and of persons on `voter.persons`.

A change waits in the outbox, where the transaction of its tally put it, until the broker has
acknowledged it. A broker that lost its topics is told everybody's present state again: the last
revision of each village, and of each person the last event that moved their vote.

A crash between acknowledgement and removal sends a change again; its revision tells whoever reads
the topic. One process at a time announces, under a lock that ends with its transaction; should it
lose the lock while its records are on their way, another sends the same records in the same
order, and each village's revisions still arrive for the first time in turn.
"""

import asyncio
import logging
import time
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar, Final, NamedTuple
from uuid import UUID

import orjson
from aiokafka import AIOKafkaProducer
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from services.projections import announced, metrics, queries, tables
from services.projections.change_record import ChangeRecord, record_trace
from services.projections.domain.electorate import votes_in
from services.projections.domain.tally import Step, TallyChange
from services.projections.queries import Serving
from services.projections.tables import Announcement, AreaNews, Difference, VoterNews
from shared.calendar import office_date
from shared.database import wait_for
from shared.elections import Election
from shared.events.records import partition_of
from shared.regions import district_of
from shared.topics import (
    PARTITIONS,
    VOTER_CHANGES,
    VOTER_PERSONS,
    Ends,
    TopicLostError,
    ensure_topics,
    read_ends,
)
from shared.traces import CountedTrace

logger = logging.getLogger(__name__)

# About 900 bytes each; what goes to one partition must fit into one record batch.
ANNOUNCEMENTS_AT_ONCE: Final = 1_000
RECORD_BATCH_BYTES: Final = 900_000

# About 250 bytes each.
VOTERS_AT_ONCE: Final = 1_000

# After a round of persons: what comes within so long is one round, which costs hardly more than
# one change; and of what a folding changed there may be hundreds of rounds.
REST_S: Final = 0.1

# Behind the waking after each commit, for what another process left.
POLL_S: Final = 1.0

# Whether the topic is still the one that was written to is asked so often; an acknowledgement
# tells it too.
LOOK_EVERY_S: Final = 2.0

# Less than tables.SILENCE_MS, so that our own transaction outlives the wait.
REQUEST_TIMEOUT_MS: Final = 8_000


def announcement(
    change: TallyChange, election: Election, trace: CountedTrace | None = None
) -> Announcement:
    """A change of a tally as the topic carries it; its stage is that of the day it was recorded,
    its trace, where there is one, that of its last event."""
    value: ChangeRecord = {
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
    if trace is not None:
        value["trace"] = record_trace(trace)
    return Announcement(change.key, change.revision, orjson.dumps(value, option=orjson.OPT_UTC_Z))


def partition_of_village(village: str) -> int:
    """The partition of `voter.changes` that all changes of a village go to."""
    return zlib.crc32(village.encode()) % PARTITIONS


def voter_news(
    steps: Iterable[Step], serving: Iterable[Serving], reasons: Mapping[int, str]
) -> Iterator[VoterNews]:
    """What steps say of persons: who became, stopped being or moved as a voter, and why.

    `reasons` has the event type of each position.
    """
    by_id = {each.election.id: each for each in serving}
    for step in steps:
        votes = votes_in(step.after)
        if votes == votes_in(step.before):
            continue
        served, logged = by_id[step.election], step.logged
        members = {
            "to_village": votes,
            "reason": reasons[logged.position],
            "position": logged.position,
            "time": logged.recorded_at,
            "stage": served.election.stage_on(office_date(logged.recorded_at)),
        }
        yield _voter_news(step.election, served.fold, logged.position, logged.resident_id, members)


def news_of_difference(difference: Difference) -> VoterNews:
    """What a folding says of a person: no event made this change, but what caused the folding."""
    members = {
        "to_village": difference.to_village,
        "reason": difference.cause,
        "position": difference.position,
        "time": difference.switched_at,
        "stage": difference.stage,
    }
    return _voter_news(difference.election, difference.fold, 0, difference.resident_id, members)


def _voter_news(
    election: str, fold: int, place: int, resident_id: UUID, members: dict[str, Any]
) -> VoterNews:
    value = {"election": election, "voter": str(resident_id), "fold": fold, "place": place}
    written = orjson.dumps(value | members, option=orjson.OPT_UTC_Z)
    return VoterNews(election, fold, place, resident_id, written)


class Announcer:
    """Sends what waits in the outbox, whenever it is woken, and all again to a topic that was
    lost."""

    topic: ClassVar[str] = VOTER_CHANGES

    def __init__(self, engine: AsyncEngine, bootstrap: str) -> None:
        self._engine = engine
        self._bootstrap = bootstrap
        self.woken = asyncio.Event()

    async def run(self) -> None:
        """Announce until something fails: then this producer may no longer be trusted, and a new
        one must be made by calling again."""
        await ensure_topics(self._bootstrap)
        try:
            await self._look()
            await self._announce_on()
        except TopicLostError:
            metrics.TOPICS_LOST.labels(self.topic).inc()
            logger.error(
                "the topic was lost and is told everything again", extra={"topic": self.topic}
            )
            async with self._engine.begin() as connection:
                await self._begin_anew(connection)

    async def _announce_on(self) -> None:
        producer = AIOKafkaProducer(
            bootstrap_servers=self._bootstrap,
            enable_idempotence=True,
            acks="all",
            max_batch_size=RECORD_BATCH_BYTES,
            request_timeout_ms=REQUEST_TIMEOUT_MS,
        )
        try:
            await producer.start()
            looked_s = time.monotonic()
            while True:
                if not await self._announce(producer):
                    await wait_for(self.woken, POLL_S)
                if time.monotonic() - looked_s > LOOK_EVERY_S:
                    await self._look()
                    looked_s = time.monotonic()
        finally:
            await producer.stop()

    async def _look(self) -> None:
        """Raises TopicLostError when the topic has lost what was announced."""
        async with self._engine.connect() as connection:
            known = await announced.ends(connection, self.topic)
        found = await read_ends(self._bootstrap, self.topic)
        if known.are_beyond(found):
            raise TopicLostError

    async def _send(
        self, connection: AsyncConnection, producer: Any, records: Iterable["_Record"]
    ) -> list[int]:
        """Send, and note where the topic then ends; the indices of what was sent."""
        ends = await announced.ends(connection, self.topic)
        sent = await _send(producer, self.topic, records, ends)
        await announced.note_ends(connection, self.topic, ends)
        return sent

    async def _announce(self, producer: Any) -> int:
        """How many changes were sent, of those that waited."""
        async with self._engine.begin() as connection:
            waiting = await tables.outbox(connection, ANNOUNCEMENTS_AT_ONCE)
            if not waiting:
                return 0
            records = [_village_record(item) for item in waiting]
            sent = [waiting[n] for n in await self._send(connection, producer, records)]
            await tables.remove_from_outbox(connection, sent)
        metrics.ANNOUNCED.inc(len(sent))
        return len(sent)

    async def _begin_anew(self, connection: AsyncConnection) -> None:
        """Have the last revision of every village told again, from nothing, so that a topic that
        begins with it still adds up to the tallies."""
        await tables.lock_announcing(connection, tables.ANNOUNCER_LOCK)
        elections = {each.election.id: each.election for each in await queries.serving(connection)}
        present = await announced.present_tallies(connection)
        again = [announcement(change, elections[change.key.election]) for change in present]
        await announced.put_back(connection, again)
        await announced.forget_ends(connection, self.topic)


class VoterAnnouncer(Announcer):
    """Sends what waits of persons, and the elections that the notifier does not know of yet.

    A producer of its own: a folding that makes voters of everybody must not keep the villages'
    changes waiting.
    """

    topic = VOTER_PERSONS

    async def _announce(self, producer: Any) -> int:
        async with self._engine.begin() as connection:
            waiting = await tables.voter_outbox(connection, VOTERS_AT_ONCE)
            if waiting is None:
                return 0
            if areas := await tables.untold_areas(connection):
                await self._send(connection, producer, [_area_record(area) for area in areas])
                await tables.tell_areas(connection, areas)
            news = [*waiting.news, *map(news_of_difference, waiting.differences)]
            # Of one fold a difference is told before the events, and an earlier fold before both.
            news.sort(key=lambda item: (item.fold, item.place))
            if not news:
                return 0
            records = [_voter_record(item) for item in news]
            sent = [news[n] for n in await self._send(connection, producer, records)]
            await tables.remove_from_voter_outbox(connection, sent)
        metrics.VOTERS_ANNOUNCED.inc(len(sent))
        if waiting.differences or len(news) < VOTERS_AT_ONCE:
            await asyncio.sleep(REST_S)
        return len(sent)

    async def _begin_anew(self, connection: AsyncConnection) -> None:
        """Have everybody's present vote told again; the Reteller gathers it."""
        await tables.lock_announcing(connection, tables.VOTER_ANNOUNCER_LOCK)
        await announced.ask(connection)
        await announced.forget_ends(connection, self.topic)


class _Record(NamedTuple):
    partition: int
    key: bytes
    value: bytes


def _village_record(item: Announcement) -> _Record:
    village = item.key.village
    return _Record(partition_of_village(village), village.encode(), item.value)


def _voter_record(item: VoterNews) -> _Record:
    partition = partition_of(item.resident_id, PARTITIONS)
    return _Record(partition, str(item.resident_id).encode(), item.value)


def _area_record(item: AreaNews) -> _Record:
    value = {"election": item.election, "fold": item.fold, "area": item.area}
    return _Record(partition_of_village(item.election), item.election.encode(), orjson.dumps(value))


async def _send(producer: Any, topic: str, records: Iterable[_Record], ends: Ends) -> list[int]:
    """Send as one record batch a partition, which the broker takes whole or not at all: no
    change can overtake the one before it. What does not fit stays for the next round; the
    indices of what was sent. Raises TopicLostError."""
    batches: defaultdict[int, Any] = defaultdict(producer.create_batch)
    full: set[int] = set()
    sent = []
    for index, (partition, key, value) in enumerate(records):
        if partition in full:
            continue
        if batches[partition].append(key=key, value=value, timestamp=None) is None:
            full.add(partition)
        else:
            sent.append(index)
    counts = {partition: batch.record_count() for partition, batch in batches.items()}
    acknowledgements = [
        await producer.send_batch(batch, topic, partition=partition)
        for partition, batch in batches.items()
    ]
    stored = await asyncio.gather(*acknowledgements, return_exceptions=True)
    # All are heard before one that failed is told: any may show that the topic was lost.
    for (partition, count), result in zip(counts.items(), stored, strict=True):
        if not isinstance(result, BaseException):
            ends.acknowledge(partition, result.offset, count)
    for result in stored:
        if isinstance(result, BaseException):
            raise result
    return sent
