"""What a follower has to show: how far it is, what changed last, and what it adds up to."""

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from cli.following.changes import Change, Feed
from cli.following.standing import Standing
from shared.counts import Counts

LATEST_KEPT: Final = 40
RATE_WINDOW_S: Final = 5.0


@dataclass(slots=True)
class Scene:
    """The state of one run; `notice` is what hinders it now, if anything does."""

    standing: Standing
    target: str
    notice: str = ""
    taken: int = 0
    latest: deque[Change] = field(default_factory=lambda: deque(maxlen=LATEST_KEPT))
    _taken_at: deque[tuple[float, int]] = field(default_factory=deque)

    @property
    def feed(self) -> Feed:
        return self.standing.feed

    def take(self, changes: Sequence[Change]) -> None:
        """Note what was taken over; the last change comes first."""
        self.latest.extendleft(changes)
        self.taken += len(changes)
        self._taken_at.append((time.monotonic(), len(changes)))
        self.notice = ""

    def rate(self) -> float:
        """Changes a second, of late."""
        since = time.monotonic() - RATE_WINDOW_S
        while self._taken_at and self._taken_at[0][0] < since:
            self._taken_at.popleft()
        return sum(taken for _, taken in self._taken_at) / RATE_WINDOW_S

    def total(self) -> Counts:
        """The sum of all villages."""
        tallies = [stand for stand in self.standing.stands.values() if isinstance(stand, Counts)]
        return Counts(*map(sum, zip(*tallies, strict=True))) if tallies else Counts()

    def voters(self) -> int:
        """How many voters the changes add up to."""
        return sum(stand is not None for stand in self.standing.stands.values())
