"""What the demo knows of the running system: polled from the services, pushed by the senders."""

import asyncio
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Final

import httpx
import orjson

from cli.counting import COUNTS, Expectation, Tally
from cli.kpu_book import Book

LOOK_EVERY_S: Final = 0.4
RATE_WINDOW_S: Final = 3.0
# No log is this long: asking after it answers with its last position and no events.
BEYOND_THE_LOG: Final = 2**53

VillageRow = dict[str, Any]


@dataclass(slots=True)
class Scene:
    """Everything that the screen shows."""

    expected: Expectation
    book: Book = field(default_factory=Book)
    counts: dict[str, int] = field(default_factory=dict)
    log_last: int = 0
    counted_up_to: int = 0
    villages: dict[str, VillageRow] = field(default_factory=dict)
    away: set[str] = field(default_factory=set)
    begun_at: float = field(default_factory=time.monotonic)
    ended_at: float | None = None
    audited: int = 0
    _answered: deque[tuple[float, int]] = field(default_factory=deque)

    @property
    def answered(self) -> int:
        return self.counts.get("answered", 0)

    @property
    def elapsed_s(self) -> float:
        return (self.ended_at or time.monotonic()) - self.begun_at

    def begin(self) -> None:
        """Start the clock."""
        self.begun_at = time.monotonic()

    def progress(self, counts: dict[str, int]) -> None:
        """Take note of what the senders report."""
        self.counts = counts
        now = time.monotonic()
        self._answered.append((now, self.answered))
        while now - self._answered[0][0] > RATE_WINDOW_S:
            self._answered.popleft()

    def rate(self) -> float:
        """Events answered a second: of late while they flow, of the whole run at its end."""
        if self.ended_at is not None:
            return self.answered / max(self.elapsed_s, 0.001)
        if len(self._answered) < 2:
            return 0.0
        (first_at, first), (last_at, last) = self._answered[0], self._answered[-1]
        return (last - first) / max(last_at - first_at, 0.001)

    def left_s(self) -> float | None:
        """The time that the rest will take at this rate, unknown while nothing moves."""
        rate = self.rate()
        return (self.expected.sent - self.answered) / rate if rate > 0 else None

    def behind(self, position: int) -> int:
        """How many events of the log a consumer has not got to yet."""
        return max(0, self.log_last - position)

    def kpu_behind(self) -> int:
        """Events whose changes KPU has not received; some events change no tally, so whatever
        adds up to the projections' tallies is not behind them."""
        if self.book.equals(self.tallies()):
            return self.behind(self.counted_up_to)
        return self.behind(min(self.book.position, self.counted_up_to))

    def tallies(self) -> dict[str, Tally]:
        """The projections' tallies by village."""
        return tallies_of(self.villages)

    def total(self) -> Tally:
        """The regency's tally: the sum of its villages."""
        rows = self.villages.values()
        return {name: sum(row[name] for row in rows) for name in COUNTS}

    def untouched(self) -> list[str]:
        """Names of the villages where somebody may vote and nobody is recorded."""
        return [row["name"] for row in self.villages.values() if row["untouched"]]


def tallies_of(villages: dict[str, VillageRow]) -> dict[str, Tally]:
    """The 14 counts of each row."""
    return {code: {name: row[name] for name in COUNTS} for code, row in villages.items()}


@dataclass(frozen=True, slots=True)
class Doors:
    """Clients of the three services, each with the token that fits."""

    registry: httpx.AsyncClient
    projections: httpx.AsyncClient
    notifier: httpx.AsyncClient
    election: str

    async def log_last(self) -> int:
        answer = await self.registry.get("/v1/log", params={"after": BEYOND_THE_LOG, "limit": 1})
        return int(orjson.loads(answer.raise_for_status().content)["last"])

    async def log_page(self, after: int, limit: int) -> list[dict[str, Any]]:
        """The entries of the log after a position."""
        answer = await self.registry.get("/v1/log", params={"after": after, "limit": limit})
        page: list[dict[str, Any]] = orjson.loads(answer.raise_for_status().content)["events"]
        return page

    async def villages(self, min_position: int = 0) -> tuple[int, dict[str, VillageRow]]:
        """The log position that the tallies reflect, and the row of each village by code."""
        answer = await self.projections.get(
            f"/v1/elections/{self.election}/villages",
            params={"min_position": min_position} if min_position else None,
        )
        body = orjson.loads(answer.raise_for_status().content)
        return int(body["position"]), {row["village"]: row for row in body["villages"]}


async def watch(scene: Scene, doors: Doors) -> None:
    """Look at the services again and again; one that is away is marked so and asked again."""
    while True:
        await asyncio.gather(_watch_log(scene, doors), _watch_counts(scene, doors))
        await asyncio.sleep(LOOK_EVERY_S)


async def _watch_log(scene: Scene, doors: Doors) -> None:
    try:
        scene.log_last = await doors.log_last()
        scene.away.discard("registry")
    except httpx.HTTPError:
        scene.away.add("registry")


async def _watch_counts(scene: Scene, doors: Doors) -> None:
    try:
        scene.counted_up_to, scene.villages = await doors.villages()
        scene.away.discard("projections")
    except httpx.HTTPError:
        scene.away.add("projections")
