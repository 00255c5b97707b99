"""Parked records as operators look at them, have them applied late, and give them up.

An event that is applied late lies below the marks. Four things rest on nothing coming there:

- a folding or a replay under way takes the facts up to its marks for complete, so none may be
  under way (ADR 12): each transaction of a retry holds the lock that they hold;
- a batch that is being counted must not miss it, so all marks are locked;
- checkpoints at its position and after it are wrong from then on, and are forgotten;
- the notifier drops news of a person at a lower place (fold, position) than it has told. The late
  event has such a place only if a later event of the same resident was applied before it. That
  cannot be: what follows a parked event is parked too, and goes when it goes. What was dropped
  comes back no more, so it does no harm that later ones pass it.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from services.projections import metrics, parked_rows, tables
from services.projections.checkpoints import forget_checkpoints
from services.projections.domain.arrivals import News
from services.projections.fold_tables import NOBODY
from services.projections.parked_rows import ParkedRow
from services.projections.projecting import Work, store_news
from services.projections.tables import Parked
from shared.events.records import EventRecord, UnreadableRecord, read_record
from shared.topics import PARTITIONS

logger = logging.getLogger(__name__)

# One transaction of a retry, between which the counting goes on.
RESIDENTS_AT_ONCE: Final = 100
MOVED_SHOWN: Final = 1_000

# So long a retry waits for a folding or a replay to end.
FOLDING_WAIT_S: Final = 10.0
FOLDING_POLL_S: Final = 0.2

NOT_THE_EVENT: Final = "its record is not the event of its position"


class FoldingUnderWayError(Exception):
    """An election is being folded, or the log replayed: nothing may be applied late meanwhile."""


@dataclass(slots=True)
class Retried:
    """What trying again led to; `moved` are the first of those that were applied."""

    tried: int = 0
    applied: int = 0
    moved: list[ParkedRow] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Parking:
    """`on_commit` is called after a commit that counted something."""

    engine: AsyncEngine
    on_commit: Callable[[], None]

    async def waiting(self, after: int, limit: int) -> list[ParkedRow]:
        """What is parked beyond a number, in the order in which it was parked."""
        async with self.engine.connect() as connection:
            return await parked_rows.read_waiting(connection, after, limit)

    async def find(self, parked_id: int) -> ParkedRow | None:
        """A record that is parked, or was dropped."""
        async with self.engine.connect() as connection:
            return await parked_rows.read_one(connection, parked_id)

    async def drop(self, parked_id: int, by: str, reason: str) -> ParkedRow | None:
        """Give a parked record up; none if it is not parked."""
        async with self.engine.begin() as connection:
            # A batch under way has looked already whose events wait.
            await tables.lock_marks(connection, range(PARTITIONS))
            dropped = await parked_rows.drop(connection, parked_id, by, reason)
            metrics.PARKED.set(await tables.parked_count(connection))
        if dropped is not None:
            logger.warning(
                "a parked record was dropped",
                extra={"parked_id": parked_id, "position": dropped.position, "by": by},
            )
        return dropped

    async def retry(self) -> Retried:
        """Try all parked events again, resident by resident; what has no place in the log stays.

        Raises FoldingUnderWayError; what was applied before then stays applied.
        """
        retried, after = Retried(), NOBODY
        while residents := await self._residents(after):
            after = residents[-1]
            await self._retry(residents, retried)
        return retried

    async def _residents(self, after: UUID) -> list[UUID]:
        async with self.engine.connect() as connection:
            return await parked_rows.read_residents(connection, after, RESIDENTS_AT_ONCE)

    async def _retry(self, residents: Collection[UUID], retried: Retried) -> None:
        async with self._late() as connection:
            rows = await parked_rows.read_events(connection, residents)
            work = _work_of(rows)
            await store_news(connection, work, waiting=())
            applied = {news.event.logged.position for news in work.news}
            waiting = {item.position: item.why for item in work.parked if item.position}
            await parked_rows.settle(connection, applied, waiting)
            if applied:
                await forget_checkpoints(connection, min(applied))
            metrics.PARKED.set(await tables.parked_count(connection))
        retried.tried += len(rows)
        retried.applied += len(applied)
        moved = [row for row in rows if row.position in applied]
        retried.moved += moved[: MOVED_SHOWN - len(retried.moved)]
        if applied:
            metrics.EVENTS.inc(len(applied))
            logger.warning("parked events were applied late", extra={"events": len(applied)})
            self.on_commit()

    @asynccontextmanager
    async def _late(self) -> AsyncIterator[AsyncConnection]:
        """A transaction in which nobody else folds or counts."""
        async with self.engine.begin() as connection:
            try:
                async with asyncio.timeout(FOLDING_WAIT_S):
                    while not await parked_rows.hold_generation(connection):
                        await asyncio.sleep(FOLDING_POLL_S)
            except TimeoutError:
                raise FoldingUnderWayError from None
            await tables.lock_marks(connection, range(PARTITIONS))
            yield connection


def _work_of(rows: Sequence[ParkedRow]) -> Work:
    """The work that parked events are: those that can be read now, and those that still cannot."""
    work = Work()
    for row in rows:
        record = read_record(row.record)
        if isinstance(record, EventRecord) and _is_of(row, record):
            work.news.append(News(row.record, record))
        else:
            why = record.why if isinstance(record, UnreadableRecord) else NOT_THE_EVENT
            work.parked.append(_still_parked(row, why))
    return work


def _is_of(row: ParkedRow, record: EventRecord) -> bool:
    logged = record.logged
    return (logged.position, logged.resident_id) == (row.position, row.resident_id)


def _still_parked(row: ParkedRow, why: str) -> Parked:
    return Parked(
        row.partition,
        why,
        row.record,
        position=row.position,
        resident_id=row.resident_id,
        type=row.type,
    )
