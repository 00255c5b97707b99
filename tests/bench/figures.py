"""Numbers of several runs: what is kept of them, and how they are put together."""

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Spread:
    """The least, the middle and the greatest of the runs."""

    least: float
    median: float
    greatest: float


@dataclass(slots=True)
class Figures:
    """Every figure by its name, one number for each run."""

    runs: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def add(self, **measured: float) -> None:
        for name, value in measured.items():
            self.runs[name].append(value)

    def spread(self, name: str) -> Spread:
        values = self.runs[name]
        return Spread(min(values), statistics.median(values), max(values))

    def median(self, name: str) -> float:
        return self.spread(name).median


def quantile(values: Iterable[float], share: float) -> float:
    """The least value that this share of all does not exceed."""
    ordered: Sequence[float] = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]
