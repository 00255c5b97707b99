"""Committing what was fetched, however long it takes: a batch is repeated and never skipped."""

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Generic, TypeVar

from services.notifier import metrics
from services.notifier.domain.changes import Numbered
from services.notifier.domain.gathering import Gathering
from services.notifier.domain.voters import NumberedVoters
from services.notifier.feed import Feed
from services.notifier.records import (
    Batch,
    TopicValue,
    Unreadable,
    VoterBatch,
    read_fetched,
    read_voter_batch,
)
from services.notifier.traced import observe_numbered
from services.notifier.voter_feed import VoterFeed

logger = logging.getLogger(__name__)

FIRST_DELAY_S: Final = 0.1
LONGEST_DELAY_S: Final = 2.0

# A transaction that takes longer waits for something that will not come by itself.
ATTEMPT_S: Final = 30.0


def delays_s() -> Iterator[float]:
    """How long to wait before each next attempt: doubling, up to the longest, for ever."""
    delay_s = FIRST_DELAY_S
    while True:
        yield delay_s
        delay_s = min(delay_s * 2, LONGEST_DELAY_S)


# A batch of persons that is part of a flood, and the longest rest after it.
MANY_VOTERS: Final = 500
LONGEST_REST_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class Held:
    """What is not committed yet: by partition the lowest offset of it, and when the next of it is
    due, by the loop's clock."""

    first: Mapping[int, int]
    due_s: float | None


NOTHING_HELD: Final = Held({}, None)

B = TypeVar("B")
N = TypeVar("N")


class Taking(ABC, Generic[B, N]):
    """Takes fetched batches into a feed and rings after each commit.

    Two failures are told apart by nobody here: a database that is away and a fault of our own
    both keep the batch, because passing it would leave KPU with a wrong number.
    """

    def __init__(self, on_numbered: Callable[[], None]) -> None:
        self._on_numbered = on_numbered
        self.failing = False

    @abstractmethod
    async def take(self, fetched: list[TopicValue]) -> Held:
        """Return when all that is not held is committed."""

    async def _commit(self, batch: B) -> None:
        waits_s = delays_s()
        while (numbered := await self._attempt(batch)) is None:
            await asyncio.sleep(next(waits_s))
        if self._report(numbered, batch):
            self._on_numbered()

    async def _attempt(self, batch: B) -> N | None:
        try:
            async with asyncio.timeout(ATTEMPT_S):
                numbered = await self._store(batch, datetime.now(UTC))
        except Exception:
            self.failing = True
            metrics.FAILED_ATTEMPTS.inc()
            logger.warning("the batch could not be committed and is tried again", exc_info=True)
            return None
        self.failing = False
        return numbered

    @abstractmethod
    async def _store(self, batch: B, numbered_at: datetime) -> N: ...

    @abstractmethod
    def _report(self, numbered: N, batch: B) -> bool:
        """Tell what was done; whether there are changes."""


class Numbering(Taking[Batch, Numbered]):
    """Takes the villages' changes, and gathers those of a village that come in a burst."""

    def __init__(self, feed: Feed, on_numbered: Callable[[], None]) -> None:
        super().__init__(on_numbered)
        self._feed = feed
        self._gathering = Gathering()

    async def take(self, fetched: list[TopicValue]) -> Held:
        now_s = asyncio.get_running_loop().time()
        placed, unreadable = read_fetched(fetched)
        for each in placed:
            self._gathering.add(each, now_s)
        due = self._gathering.take_due(now_s)
        if due or unreadable:
            await self._commit(Batch(due, unreadable))
        return Held(self._gathering.first_held(), self._gathering.next_due_s())

    async def _store(self, batch: Batch, numbered_at: datetime) -> Numbered:
        numbered = await self._feed.take(batch, numbered_at)
        observe_numbered(numbered.changes, numbered_at)
        return numbered

    def _report(self, numbered: Numbered, batch: Batch) -> bool:
        _report_villages(numbered)
        _report_unreadable(batch.unreadable)
        return bool(numbered.changes)


class VoterNumbering(Taking[VoterBatch, NumberedVoters]):
    """Takes the persons' changes."""

    def __init__(self, feed: VoterFeed, on_numbered: Callable[[], None]) -> None:
        super().__init__(on_numbered)
        self._feed = feed

    async def take(self, fetched: list[TopicValue]) -> Held:
        """Return when the batch is committed; after a full one as much later as it took, since
        hundreds may follow, and the villages' changes must not wait for them."""
        began_s = asyncio.get_running_loop().time()
        await self._commit(read_voter_batch(fetched))
        if len(fetched) >= MANY_VOTERS:
            took_s = asyncio.get_running_loop().time() - began_s
            await asyncio.sleep(min(took_s, LONGEST_REST_S))
        return NOTHING_HELD

    async def _store(self, batch: VoterBatch, numbered_at: datetime) -> NumberedVoters:
        return await self._feed.take(batch, numbered_at)

    def _report(self, numbered: NumberedVoters, batch: VoterBatch) -> bool:
        for change in numbered.changes:
            metrics.VOTER_CHANGES.labels(change.key.election).inc()
        metrics.REPEATS.inc(numbered.repeats)
        _report_unreadable(batch.unreadable)
        return bool(numbered.changes)


def _report_villages(numbered: Numbered) -> None:
    now = datetime.now(UTC)
    for change in numbered.changes:
        metrics.NUMBERED_S.observe(max(0.0, (now - change.time).total_seconds()))
        metrics.CHANGES.labels(change.key.election).inc()
    metrics.REPEATS.inc(numbered.repeats)
    for mended in numbered.mended:
        metrics.MENDED.labels(mended.flaw).inc()
        logger.warning(
            "a record did not follow the one before it; the feed stands on what it had told",
            extra={
                "flaw": mended.flaw.value,
                "election": mended.key.election,
                "village": mended.key.village,
                "held_revision": mended.held_revision,
                "revision": mended.revision,
            },
        )


def _report_unreadable(unreadable: list[Unreadable]) -> None:
    for kept in unreadable:
        metrics.UNREADABLE.inc()
        logger.error(
            "a record could not be read; it is kept in notifier.unreadable",
            extra={
                "topic": kept.fetched.topic,
                "partition": kept.fetched.partition,
                "offset": kept.fetched.offset,
                "why": kept.why,
            },
        )
