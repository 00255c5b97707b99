"""How far one subscriber has an election's feed: what is under way, and what is held back.

Every change up to the cursor is delivered, but for those of villages that are held: of such a
village all from `Held.sequence` up to `Held.until` are still to come. So a failed delivery holds
back its village alone, nothing is passed over, and what has to be remembered is one number and
a row for each failing village, however far behind the subscriber is.
"""

import heapq
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, Protocol, TypeVar


class Sequenced(Protocol):
    """A change of a village."""

    @property
    def sequence(self) -> int: ...

    @property
    def village(self) -> str: ...


C = TypeVar("C", bound=Sequenced)


@dataclass(slots=True)
class Held:
    """A village whose delivery failed. `since` is the first failure of the change at
    `sequence`, `hastened` whether it was already tried early because another village recovered."""

    sequence: int
    until: int
    attempts: int
    since: datetime
    next_at: datetime
    hastened: bool = False


class Track(Generic[C]):
    """One subscriber's way through one election's feed."""

    def __init__(self, cursor: int, held: Mapping[str, Held]) -> None:
        self.read_to = cursor
        self.held: dict[str, Held] = dict(held)
        self.touched: set[str] = set()
        self._queues: dict[str, deque[C]] = {}
        self._ready: deque[str] = deque()
        self._open: dict[int, None] = {}
        self._retrying: set[str] = set()
        self._unhastened = {village for village, state in held.items() if not state.hastened}
        self._due: list[tuple[datetime, str]] = []
        for village, state in self.held.items():
            heapq.heappush(self._due, (state.next_at, village))

    @property
    def cursor(self) -> int:
        """The last sequence up to which all is delivered or held."""
        return next(iter(self._open), self.read_to + 1) - 1

    @property
    def under_way(self) -> int:
        """The changes read that are neither delivered nor held."""
        return len(self._open)

    def take(self, changes: Iterable[C]) -> None:
        """Read on: the feed's next changes, in order."""
        for change in changes:
            self.read_to = change.sequence
            held = self.held.get(change.village)
            if held is None:
                self._enqueue(change)
            elif change.sequence >= held.sequence:
                held.until = max(held.until, change.sequence)

    def _enqueue(self, change: C) -> None:
        self._open[change.sequence] = None
        queue = self._queues.get(change.village)
        if queue is None:
            self._queues[change.village] = deque([change])
            self._ready.append(change.village)
        else:
            queue.append(change)

    def start(self) -> str | None:
        """A village that has changes to deliver and that nobody delivers yet."""
        return self._ready.popleft() if self._ready else None

    def first(self, village: str) -> C | None:
        """The next change of a started village; with None the village is done for now."""
        queue = self._queues[village]
        if queue:
            return queue[0]
        del self._queues[village]
        return None

    def delivered(self, village: str) -> None:
        """The first change of a started village was delivered."""
        del self._open[self._queues[village].popleft().sequence]

    def hold(self, village: str, since: datetime, next_at: datetime) -> None:
        """The first change of a started village failed for the first time."""
        queue = self._queues.pop(village)
        for change in queue:
            del self._open[change.sequence]
        held = Held(queue[0].sequence, queue[-1].sequence, 1, since, next_at)
        self.held[village] = held
        self._unhastened.add(village)
        self._schedule(village, next_at)

    def start_retry(self, now: datetime) -> str | None:
        """A held village that is due and that nobody retries yet."""
        while self._due and self._due[0][0] <= now:
            at, village = heapq.heappop(self._due)
            if self._stands(at, village):
                self._retrying.add(village)
                return village
        return None

    def next_due(self) -> datetime | None:
        """When the next held village is due."""
        while self._due and not self._stands(*self._due[0]):
            heapq.heappop(self._due)
        return self._due[0][0] if self._due else None

    def _stands(self, at: datetime, village: str) -> bool:
        held = self.held.get(village)
        return held is not None and held.next_at == at and village not in self._retrying

    def retried(self, village: str, sequence: int) -> None:
        """A retried village's change was delivered; the village goes on with the next."""
        held = self.held[village]
        held.sequence, held.attempts, held.hastened = sequence + 1, 0, False
        self._unhastened.add(village)
        self.touched.add(village)

    def failed_again(self, village: str, sequence: int, since: datetime, next_at: datetime) -> None:
        """A retried village's change failed; the village waits."""
        held = self.held[village]
        held.sequence, held.since, held.next_at = sequence, since, next_at
        held.attempts += 1
        self._retrying.discard(village)
        self._schedule(village, next_at)

    def release(self, village: str) -> None:
        """A retried village has everything that was read: it is held no longer."""
        del self.held[village]
        self._unhastened.discard(village)
        self._retrying.discard(village)
        self.touched.add(village)

    def hasten(self, now: datetime) -> None:
        """The receiver recovered: try each held village now, once, whatever its delay."""
        for village in self._unhastened - self._retrying:
            held = self.held[village]
            held.hastened = True
            held.next_at = min(held.next_at, now)
            self._schedule(village, held.next_at)
        self._unhastened &= self._retrying

    def _schedule(self, village: str, next_at: datetime) -> None:
        heapq.heappush(self._due, (next_at, village))
        self.touched.add(village)
