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
from services.notifier.feed import Feed, ServedChange, Taken
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


# What comes of persons within so long is one batch, which costs hardly more than one change.
VOTERS_REST_S: Final = 0.1

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

# What has been committed, by election, as it is served from now on.
OnNumbered = Callable[[Mapping[str, list[ServedChange]]], None]


class Taking(ABC, Generic[B, N]):
    """Takes fetched batches into a feed and passes the changes on after each commit.

    Two failures are told apart by nobody here: a database that is away and a fault of our own
    both keep the batch, because passing it would leave KPU with a wrong number.
    """

    def __init__(self, on_numbered: OnNumbered) -> None:
        self._on_numbered = on_numbered
        self.failing = False

    @abstractmethod
    async def take(self, fetched: list[TopicValue]) -> Held:
        """Return when all that is not held is committed."""

    async def _commit(self, batch: B) -> None:
        waits_s = delays_s()
        while (taken := await self._attempt(batch)) is None:
            await asyncio.sleep(next(waits_s))
        self._report(taken.numbered, batch)
        if taken.served:
            self._on_numbered(taken.served)

    async def _attempt(self, batch: B) -> Taken[N] | None:
        try:
            async with asyncio.timeout(ATTEMPT_S):
                taken = await self._store(batch, datetime.now(UTC))
        except Exception:
            self.failing = True
            metrics.FAILED_ATTEMPTS.inc()
            logger.warning("the batch could not be committed and is tried again", exc_info=True)
            return None
        self.failing = False
        return taken

    @abstractmethod
    async def _store(self, batch: B, numbered_at: datetime) -> Taken[N]: ...

    @abstractmethod
    def _report(self, numbered: N, batch: B) -> None:
        """Tell what was done."""


class Numbering(Taking[Batch, Numbered]):
    """Takes the villages' changes, and gathers those of a village that come in a burst."""

    def __init__(self, feed: Feed, on_numbered: OnNumbered) -> None:
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

    async def _store(self, batch: Batch, numbered_at: datetime) -> Taken[Numbered]:
        taken = await self._feed.take(batch, numbered_at)
        observe_numbered(taken.numbered.changes, numbered_at)
        return taken

    def _report(self, numbered: Numbered, batch: Batch) -> None:
        _report_villages(numbered)
        _report_unreadable(batch.unreadable)


class VoterNumbering(Taking[VoterBatch, NumberedVoters]):
    """Takes the persons' changes."""

    def __init__(self, feed: VoterFeed, on_numbered: OnNumbered) -> None:
        super().__init__(on_numbered)
        self._feed = feed

    async def take(self, fetched: list[TopicValue]) -> Held:
        """Return when the batch is committed and a rest is over; after a full one it is as long
        as the batch took, since hundreds may follow, and the villages' changes must not wait for
        them."""
        began_s = asyncio.get_running_loop().time()
        await self._commit(read_voter_batch(fetched))
        took_s = asyncio.get_running_loop().time() - began_s
        many = len(fetched) >= MANY_VOTERS
        await asyncio.sleep(min(took_s, LONGEST_REST_S) if many else VOTERS_REST_S)
        return NOTHING_HELD

    async def _store(self, batch: VoterBatch, numbered_at: datetime) -> Taken[NumberedVoters]:
        return await self._feed.take(batch, numbered_at)

    def _report(self, numbered: NumberedVoters, batch: VoterBatch) -> None:
        for change in numbered.changes:
            metrics.VOTER_CHANGES.labels(change.key.election).inc()
        metrics.REPEATS.inc(numbered.repeats)
        _report_unreadable(batch.unreadable)


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
