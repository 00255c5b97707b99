"""Projecting batches of records: facts, tallies, history, changes and marks in one transaction.

A batch may be given twice, by two processes, or by one that has lost its partitions: the marks,
under their row locks, say what is news, and the epochs who may write.
"""

import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

import orjson
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from services.projections import metrics, queries, tables
from services.projections.announcing import announcement, voter_news
from services.projections.domain.arrivals import Arrival, News, Place, Sifted, sift
from services.projections.domain.tally import (
    AN_EARLIER_ONE_WAITS,
    Projected,
    project,
    runs_of_one_stage,
    sums,
)
from services.projections.tables import Mark, Parked
from shared import latency
from shared.event_log import last_position, read_log
from shared.events.codec import UnreadableFactError
from shared.events.records import EventRecord, LogEntry, logged_fact, partition_of, write_event
from shared.latency import Leg
from shared.topics import PARTITIONS
from shared.traces import CountedTrace

logger = logging.getLogger(__name__)

# Entries of the log read in one transaction to fill a hole.
FILLING_ENTRIES: Final = 5_000

# By partition: the records that came, in their order, and the epochs that we hold.
Batch = Mapping[int, Sequence[Arrival]]
Epochs = Mapping[int, int]


class MissingFromLogError(Exception):
    """The log lacks a position that it has given out."""


@dataclass(slots=True)
class Work:
    """What one transaction is to store: events to project, records to set aside, new marks; and
    when it counted."""

    marks: dict[int, int] = field(default_factory=dict)
    news: list[News] = field(default_factory=list)
    parked: list[Parked] = field(default_factory=list)
    repeats: int = 0
    counted_at: datetime | None = None

    def traces(self) -> dict[int, CountedTrace]:
        """The traces of events by their position, once it is known when they were counted."""
        if self.counted_at is None:
            return {}
        return {
            news.event.logged.position: CountedTrace(news.trace, self.counted_at)
            for news in self.news
            if news.trace is not None
        }


@dataclass(slots=True)
class _Pass:
    """What became of a batch: partitions that are not ours, holes to fill, what follows them."""

    fenced: set[int]
    holes: dict[int, int] = field(default_factory=dict)
    rest: dict[int, Sequence[Arrival]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Progress:
    """The position up to which everything is counted, and the log's last."""

    cut: int
    last: int

    @property
    def is_behind(self) -> bool:
        """Whether the log holds events that are not counted."""
        return self.cut < self.last


class Projector:
    """Keeps the tables of projections at the log; `on_commit` is called after each commit."""

    def __init__(self, engine: AsyncEngine, on_commit: Callable[[], None]) -> None:
        self._engine = engine
        self._on_commit = on_commit

    async def raise_epochs(self, partitions: Collection[int]) -> dict[int, int]:
        """Take partitions over from whoever held them."""
        async with self._engine.begin() as connection:
            return await tables.raise_epochs(connection, partitions)

    async def progress(self) -> Progress:
        """How far the log is counted."""
        async with self._engine.connect() as connection:
            # Other processes park, try again and drop too.
            metrics.PARKED.set(await tables.parked_count(connection))
            return Progress(await queries.cut(connection), await last_position(connection))

    async def read_log(self, epochs: Epochs) -> None:
        """Count from the log what the topic does not give of the partitions that we hold."""
        async with self._engine.connect() as connection:
            last = await last_position(connection)
        await self._fill(dict.fromkeys(epochs, last), epochs)

    async def project(self, batch: Batch, epochs: Epochs) -> set[int]:
        """Project a batch; the partitions of it that somebody else has taken over, of which
        nothing more was stored."""
        fenced: set[int] = set()
        while batch:
            done = await self._project_up_to_holes(batch, epochs)
            if done.holes:
                await self._fill(done.holes, epochs)
            fenced |= done.fenced
            batch = done.rest
        return fenced

    async def _project_up_to_holes(self, batch: Batch, epochs: Epochs) -> _Pass:
        started = time.monotonic()
        work = Work()
        async with self._engine.begin() as connection:
            marks = await tables.lock_marks(connection, batch.keys())
            done = _Pass(_held_by_others(marks, epochs))
            last = await last_position(connection)
            for partition in batch.keys() - done.fenced:
                place = Place(partition, PARTITIONS, marks[partition].position, last)
                sifted = sift(batch[partition], place)
                _gather(work, partition, sifted)
                if sifted.hole is not None:
                    done.holes[partition] = sifted.hole
                    done.rest[partition] = sifted.rest
            await _store(connection, work)
        self._after_commit(work, started)
        return done

    async def _fill(self, holes: Mapping[int, int], epochs: Epochs) -> None:
        """Read from the log what the topic did not give."""
        metrics.HOLES.inc(len(holes))
        logger.warning("the topic has holes, reading the log", extra={"holes": dict(holes)})
        up_to = max(holes.values())
        partitions = set(holes)
        while partitions:
            partitions = await self._fill_some(partitions, up_to, epochs)

    async def _fill_some(self, partitions: set[int], up_to: int, epochs: Epochs) -> set[int]:
        """Fill holes by one bounded read of the log; the partitions that are not full yet."""
        started = time.monotonic()
        async with self._engine.begin() as connection:
            marks = await tables.lock_marks(connection, partitions)
            ours = marks.keys() - _held_by_others(marks, epochs)
            after = min((marks[partition].position for partition in ours), default=up_to)
            if after >= up_to:
                return set()
            entries = await read_log(connection, after, FILLING_ENTRIES, up_to)
            if not entries:
                raise MissingFromLogError(f"the log has no position {after + 1}")
            positions = {partition: marks[partition].position for partition in ours}
            work = work_of(entries, positions)
            await _store(connection, work)
        self._after_commit(work, started)
        return ours

    def _after_commit(self, work: Work, started: float) -> None:
        self._on_commit()
        metrics.BATCH_SECONDS.observe(time.monotonic() - started)
        metrics.REPEATS.inc(work.repeats)
        metrics.EVENTS.inc(len(work.news))
        if work.news:
            recorded_at = work.news[0].event.logged.recorded_at
            metrics.LAG_SECONDS.observe((datetime.now(UTC) - recorded_at).total_seconds())
            _measure(work)
        for parked in work.parked:
            logger.error(
                "a record is set aside",
                extra={
                    "partition": parked.partition,
                    "offset": parked.offset,
                    "position": parked.position,
                    "why": parked.why,
                },
            )


def _measure(work: Work) -> None:
    for trace in work.traces().values():
        latency.observe(Leg.COUNTED, trace.event.published_at, trace.counted_at)


def _held_by_others(marks: Mapping[int, Mark], epochs: Epochs) -> set[int]:
    return {partition for partition, mark in marks.items() if mark.epoch != epochs.get(partition)}


def _gather(work: Work, partition: int, sifted: Sifted) -> None:
    work.marks[partition] = sifted.mark
    work.news += sifted.news
    work.repeats += sifted.repeats
    work.parked += [
        Parked(partition, stray.why, stray.arrival.value, offset=stray.arrival.offset)
        for stray in sifted.strays
    ]


def work_of(entries: Sequence[LogEntry], marks: Mapping[int, int]) -> Work:
    """The work that entries of the log are for some partitions: after it, these stand at the last
    of the entries, or further where they did before."""
    work = Work({partition: max(mark, entries[-1].position) for partition, mark in marks.items()})
    for entry in entries:
        partition = partition_of(entry.resident_id, PARTITIONS)
        if entry.position <= marks.get(partition, entry.position):
            continue
        value = write_event(entry, previous=0)
        try:
            logged = logged_fact(entry)
        except UnreadableFactError as error:
            work.parked.append(_parked_entry(partition, entry, value, str(error)))
            continue
        data = orjson.loads(entry.data)
        work.news.append(News(value, EventRecord(0, logged, entry.type, entry.version, data)))
    return work


def _parked_entry(partition: int, entry: LogEntry, value: bytes, why: str) -> Parked:
    return Parked(
        partition,
        why,
        value,
        position=entry.position,
        resident_id=entry.resident_id,
        type=entry.type,
    )


def _parked_news(news: News, why: str) -> Parked:
    logged = news.event.logged
    return Parked(
        partition_of(logged.resident_id, PARTITIONS),
        why,
        news.value,
        position=logged.position,
        resident_id=logged.resident_id,
        type=news.event.type,
    )


async def _store(connection: AsyncConnection, work: Work) -> None:
    if work.news:
        ids = {news.event.logged.resident_id for news in work.news}
        await store_news(connection, work, await tables.waiting_residents(connection, ids))
    if work.parked:
        await tables.park(connection, work.parked)
        metrics.PARKED.set(await tables.parked_count(connection))
    await tables.move_marks(connection, work.marks)


async def store_news(connection: AsyncConnection, work: Work, waiting: Collection[UUID]) -> None:
    """Project the events that can be applied; the others join what is parked, as do all of
    residents who are `waiting`, of whom an earlier event is parked. All marks that the events
    are of must be locked."""
    work.news.sort(key=lambda news: news.event.logged.position)
    ids = {news.event.logged.resident_id for news in work.news}
    found = await tables.residents(connection, ids)
    hold_back(work, dict.fromkeys(waiting, AN_EARLIER_ONE_WAITS) | found.unreadable)
    # Read under the marks' locks, which a folding holds too when it comes to serve.
    serving = await queries.serving(connection)
    elections = [each.election for each in serving]
    projected = project(found.residents, [n.event.logged for n in work.news], elections)
    set_unapplied_aside(work, projected)
    await tables.add_facts(connection, work.news)
    folds = {each.election.id: each.fold for each in serving}
    await tables.add_history(connection, projected.deltas, folds)
    reasons = {news.event.logged.position: news.event.type for news in work.news}
    await tables.add_to_voter_outbox(connection, voter_news(projected.steps, serving, reasons))
    # The tallies last: their rows are what batches of several processes meet in.
    by_id = {election.id: election for election in elections}
    work.counted_at = datetime.now(UTC)
    traces = work.traces()
    for run in runs_of_one_stage(projected.deltas, elections):
        changes = await tables.add_to_tallies(connection, sums(run))
        announcements = [
            announcement(change, by_id[change.key.election], traces.get(change.position))
            for change in changes
        ]
        await tables.add_to_outbox(connection, announcements)


def hold_back(work: Work, waiting: Mapping[UUID, str]) -> None:
    """Park the events of residents who have one parked before them, here or earlier."""
    since = dict.fromkeys(waiting, 0)
    for parked in work.parked:
        if parked.resident_id is not None and parked.position is not None:
            since.setdefault(parked.resident_id, parked.position)
    if not since:
        return
    kept = []
    for news in work.news:
        logged = news.event.logged
        if logged.position > since.get(logged.resident_id, logged.position):
            why = waiting.get(logged.resident_id, AN_EARLIER_ONE_WAITS)
            work.parked.append(_parked_news(news, why))
        else:
            kept.append(news)
    work.news = kept


def set_unapplied_aside(work: Work, projected: Projected) -> None:
    if not projected.unapplied:
        return
    reasons = {unapplied.logged.position: unapplied.why for unapplied in projected.unapplied}
    work.parked += [
        _parked_news(news, reasons[news.event.logged.position])
        for news in work.news
        if news.event.logged.position in reasons
    ]
    work.news = [news for news in work.news if news.event.logged.position not in reasons]
