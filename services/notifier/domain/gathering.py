"""When a village's changes are numbered: at once while it is quiet, gathered while it is not.

After a change of a village has gone out, the next within its window waits until the window is over,
and what comes meanwhile is folded into it. The window runs from the change that went out, never
from what comes after it, so nothing can put it off; it doubles as long as something waits at its
end, up to the longest, which is thus the most by which a change is ever delayed here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf
from typing import Final

from services.notifier.domain.changes import VillageRecord
from shared.counts import VillageKey

FIRST_WINDOW_S: Final = 0.05
LONGEST_WINDOW_S: Final = 0.4

# Records held at a time (about 2 kB each). Beyond that, as in catching up, all are let go.
MOST_HELD: Final = 5_000


@dataclass(frozen=True, slots=True)
class Placed:
    """A record, and where it lay in the topic."""

    partition: int
    offset: int
    record: VillageRecord


@dataclass(slots=True)
class _Waiting:
    """What has come of a village and is due then; `hurried` where it came within the window of
    the change before."""

    due_s: float
    hurried: bool
    placed: list[Placed] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Window:
    """The time after a village's last change in which its next one waits."""

    ends_s: float
    length_s: float


_QUIET: Final = _Window(-inf, FIRST_WINDOW_S)


class Gathering:
    """The records that have come and are not numbered yet. Times are seconds of a clock that
    never goes back."""

    def __init__(self) -> None:
        self._waiting: dict[VillageKey, _Waiting] = {}
        # In the order in which they were opened.
        self._windows: dict[VillageKey, _Window] = {}
        self._held = 0

    def add(self, placed: Placed, now_s: float) -> None:
        """Take a record in, behind those of its village that wait already."""
        key = placed.record.key
        waiting = self._waiting.get(key)
        if waiting is None:
            window = self._windows.get(key, _QUIET)
            hurried = now_s < window.ends_s
            due_s = window.ends_s if hurried else now_s
            waiting = self._waiting[key] = _Waiting(due_s, hurried)
        waiting.placed.append(placed)
        self._held += 1

    def take_due(self, now_s: float) -> list[VillageRecord]:
        """What is to be numbered now, each village's records in their order."""
        everything = self._held > MOST_HELD
        due = [
            key for key, waiting in self._waiting.items() if everything or waiting.due_s <= now_s
        ]
        records = []
        for key in due:
            waiting = self._waiting.pop(key)
            records += [placed.record for placed in waiting.placed]
            self._open_window(key, waiting.hurried, now_s)
        self._held -= len(records)
        self._forget_windows(now_s)
        return records

    def next_due_s(self) -> float | None:
        """When the next of what is held is due; none where nothing is."""
        return min((waiting.due_s for waiting in self._waiting.values()), default=None)

    def first_held(self) -> Mapping[int, int]:
        """By partition, the lowest offset of what is held."""
        first: dict[int, int] = {}
        for waiting in self._waiting.values():
            for placed in waiting.placed:
                known = first.get(placed.partition, placed.offset)
                first[placed.partition] = min(known, placed.offset)
        return first

    def _open_window(self, key: VillageKey, hurried: bool, now_s: float) -> None:
        before = self._windows.pop(key, _QUIET)
        length_s = min(before.length_s * 2, LONGEST_WINDOW_S) if hurried else FIRST_WINDOW_S
        self._windows[key] = _Window(now_s + length_s, length_s)

    def _forget_windows(self, now_s: float) -> None:
        """Drop what is over, up to the first that is not: none outlives the longest by much."""
        while self._windows:
            key = next(iter(self._windows))
            if self._windows[key].ends_s > now_s:
                return
            del self._windows[key]
