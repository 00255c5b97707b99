"""Show 4 of replay and as-of: the past read at random positions and times, right and fast.

`python -m tests.bench.as_of [--events N]`: a log of N events is counted; then 1,000 random
moments, half of them positions and half times, are read over HTTP and compared with a plain fold
of the log up to there. Ends with 1 where one differs, or the slowest of 100 takes over 20 ms.
"""

import argparse
import asyncio
import bisect
import gc
import os
import random
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from statistics import quantiles
from typing import Any, Final
from uuid import UUID

import httpx
from sqlalchemy.ext.asyncio import AsyncEngine

from services.projections.as_of import tallies_as_of
from services.projections.checkpoints import CHECKPOINT_EVERY
from services.projections.domain.electorate import standing_for
from services.projections.domain.resident import Resident
from services.projections.domain.tally import added, counts_of, subtracted
from shared.counts import NOTHING, Counts
from shared.database import create_engine
from shared.elections import PILKADA_2024
from shared.event_log import position_at
from shared.events.facts import LoggedFact
from shared.events.records import LogEntry, logged_fact
from tests.bench.elections import Log, client, counted, services
from tests.support.parts import Parts, cloned_database, fresh_topics, running_parts

EVENTS: Final = 100_000
MOMENTS: Final = 1_000
MOST_MS: Final = 20.0
SEED: Final = 4

Tallies = dict[str, Counts]


@dataclass(slots=True)
class Fold:
    """Everybody counted by a plain fold, an event at a time: no deltas, no history."""

    facts: dict[UUID, tuple[LoggedFact, ...]] = field(default_factory=dict)
    tallies: Tallies = field(default_factory=dict)

    def take(self, entry: LogEntry) -> None:
        before = self.facts.get(entry.resident_id, ())
        after = self.facts[entry.resident_id] = (*before, logged_fact(entry))
        self._change(before, subtracted)
        self._change(after, added)

    def _change(
        self, facts: tuple[LoggedFact, ...], change: Callable[[Counts, Counts], Counts]
    ) -> None:
        standing = standing_for(Resident(facts), PILKADA_2024) if facts else None
        if standing is not None:
            tally = self.tallies.get(standing.village, NOTHING)
            self.tallies[standing.village] = change(tally, counts_of(standing))


def prefixes(entries: Sequence[LogEntry], positions: set[int]) -> dict[int, Tallies]:
    """The tallies at some positions."""
    fold = Fold()
    found: dict[int, Tallies] = {0: {}}
    for entry in entries:
        fold.take(entry)
        if entry.position in positions:
            found[entry.position] = {v: c for v, c in fold.tallies.items() if c != NOTHING}
    return found


@dataclass(frozen=True, slots=True)
class Asked:
    """A moment as it is written in `as_of`, and the position that it means."""

    written: str
    moment: int | datetime
    position: int


def moments(entries: Sequence[LogEntry], chance: random.Random) -> list[Asked]:
    """Random ones, half of them positions and half times."""
    recorded = [entry.recorded_at for entry in entries]
    span = (recorded[-1] - recorded[0]).total_seconds()
    asked = []
    for n in range(MOMENTS):
        position = chance.randint(0, len(entries))
        if n % 2:
            asked.append(Asked(str(position), position, position))
            continue
        moment = recorded[0] + timedelta(seconds=chance.uniform(-0.001, 1) * span)
        asked.append(Asked(moment.isoformat(), moment, bisect.bisect_right(recorded, moment)))
    return asked


async def timed(
    name: str, asked: Sequence[Asked], ask: Callable[[Asked], Coroutine[Any, Any, Any]]
) -> tuple[float, list[Any]]:
    """Ask one after another and print how long it took: the 99th percentile in ms, the answers."""
    took_ms, answers = [], []
    for each in asked:
        began = time.perf_counter()
        answers.append(await ask(each))
        took_ms.append((time.perf_counter() - began) * 1e3)
    cuts = quantiles(took_ms, n=100)
    print(f"{name}: p50 {cuts[49]:.1f} ms, p99 {cuts[98]:.1f} ms, most {max(took_ms):.1f} ms")
    return cuts[98], answers


@asynccontextmanager
async def database(url: str) -> AsyncIterator[AsyncEngine]:
    engine = create_engine(url, pool_size=1)
    try:
        yield engine
    finally:
        await engine.dispose()


async def all_made(engine: AsyncEngine, events: int) -> int:
    """Wait until there is a checkpoint for every so many events: how many there are."""
    while True:
        async with engine.connect() as connection:
            found = await connection.exec_driver_sql(
                "SELECT count(DISTINCT position) FROM projections.checkpoints"
            )
            number = int(found.scalar_one())
        if number >= events // CHECKPOINT_EVERY:
            return number
        await asyncio.sleep(0.5)


def read(answer: httpx.Response) -> tuple[int, Tallies]:
    assert answer.status_code == 200, answer.text
    body = answer.json()
    rows = {r["village"]: Counts(*(r[n] for n in Counts._fields)) for r in body["villages"]}
    return body["position"], {v: c for v, c in rows.items() if c != NOTHING}


async def show(parts: Parts, name: str, events: int) -> bool:
    log = Log(parts.dsn(name), parts.kafka_bootstrap)
    async with client("projections") as http, database(parts.url(name)) as engine:
        began = time.monotonic()
        await log.fill(events // 3)
        print(f"{len(log.entries):,} events are logged", flush=True)
        await counted(http, "pilkada-2024", len(log.entries))
        print(f"counted after {time.monotonic() - began:.0f} s", flush=True)
        number = await all_made(engine, len(log.entries))
        print(f"{number} checkpoints after {time.monotonic() - began:.0f} s", flush=True)
        asked = moments(log.entries, random.Random(SEED))
        expected = prefixes(log.entries, {each.position for each in asked})
        # What was made up to here lives to the end: no collection need look at it again.
        gc.freeze()
        print(f"the log is folded; load {os.getloadavg()}", flush=True)

        async def get(path: str, each: Asked) -> httpx.Response:
            address = f"/v1/elections/pilkada-2024/{path}"
            return await http.get(address, params={"as_of": each.written})

        async def total(each: Asked) -> httpx.Response:
            return await get("total", each)

        async def village(each: Asked) -> httpx.Response:
            return await get("villages/15.01.01.1004", each)

        async def villages(each: Asked) -> httpx.Response:
            return await get("villages", each)

        async def in_sql(each: Asked) -> Any:
            async with engine.connect() as connection:
                return await tallies_as_of(connection, "pilkada-2024", each.position)

        async def position(each: Asked) -> int:
            async with engine.connect() as connection:
                return await position_at(connection, each.moment)

        async def now(_: Asked) -> httpx.Response:
            return await http.get("/v1/elections/pilkada-2024/villages")

        await timed("all villages as they stand now, over HTTP", asked, now)
        await timed("the position of a moment, in SQL", asked, position)
        await timed("all villages, in SQL", asked, in_sql)
        slowest = [
            (await timed("one village, over HTTP", asked, village))[0],
            (await timed("the total, over HTTP", asked, total))[0],
        ]
        p99_ms, answers = await timed("all villages, over HTTP", asked, villages)
        slowest.append(p99_ms)
    wrong = [
        each.written
        for each, answer in zip(asked, answers, strict=True)
        if read(answer) != (each.position, expected[each.position])
    ]
    if wrong:
        print(f"{len(wrong)} of {len(asked)} differ from the fold, such as as_of={wrong[0]}")
    else:
        print(f"all {len(asked)} moments equal the fold of the log up to them")
    if max(slowest) > MOST_MS:
        print(f"the slowest p99 is {max(slowest):.1f} ms, over {MOST_MS:.0f} ms")
    return not wrong and max(slowest) <= MOST_MS


@contextmanager
def _parts() -> Iterator[tuple[Parts, str]]:
    with running_parts() as parts, cloned_database(parts) as name:
        fresh_topics(parts)
        with services(parts, name):
            yield parts, name


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=EVENTS, metavar="N", help="in the log")
    events = parser.parse_args().events
    with _parts() as (parts, name):
        return 0 if asyncio.run(show(parts, name, events)) else 1


if __name__ == "__main__":
    sys.exit(main())
