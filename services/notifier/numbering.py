"""Committing what was fetched, however long it takes: a batch is repeated and never skipped."""

import asyncio
import logging
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Final

from services.notifier import metrics
from services.notifier.domain.changes import Numbered
from services.notifier.feed import Feed
from services.notifier.records import Batch, TopicValue, Unreadable, read_batch

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


class Numbering:
    """Takes fetched batches into the feed and rings after each commit.

    Two failures are told apart by nobody here: a database that is away and a fault of our own
    both keep the batch, because passing it would leave KPU with a wrong number.
    """

    def __init__(self, feed: Feed, on_numbered: Callable[[], None]) -> None:
        self._feed = feed
        self._on_numbered = on_numbered
        self.failing = False

    async def take(self, fetched: list[TopicValue]) -> None:
        """Return when the batch is committed."""
        batch = read_batch(fetched)
        waits_s = delays_s()
        while (numbered := await self._attempt(batch)) is None:
            await asyncio.sleep(next(waits_s))
        _report(numbered, batch.unreadable)
        if numbered.changes:
            self._on_numbered()

    async def _attempt(self, batch: Batch) -> Numbered | None:
        try:
            async with asyncio.timeout(ATTEMPT_S):
                numbered = await self._feed.take(batch, datetime.now(UTC))
        except Exception:
            self.failing = True
            metrics.FAILED_ATTEMPTS.inc()
            logger.warning("the batch could not be committed and is tried again", exc_info=True)
            return None
        self.failing = False
        return numbered


def _report(numbered: Numbered, unreadable: list[Unreadable]) -> None:
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
    for kept in unreadable:
        metrics.UNREADABLE.inc()
        logger.error(
            "a record could not be read; it is kept in notifier.unreadable",
            extra={
                "partition": kept.fetched.partition,
                "offset": kept.fetched.offset,
                "why": kept.why,
            },
        )
