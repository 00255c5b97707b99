"""Show 5 of replay: a replay, its undoing, and replays killed at random, under load.

`python -m tests.e2e.replaying [RESIDENTS] [KILLS]`: a log of about three events a resident is
counted; then 1,000 events a second arrive and 20 readers read while `cacah replay` and
`cacah replay --undo` run as an operator runs them, and then replays that are killed.
"""

import asyncio
import contextlib
import gc
import os
import random
import sys
import time
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import quantiles
from typing import Final

import httpx

from shared.elections import PILKADA_2024
from tests.bench import elections as bench
from tests.bench.elections import Log, client, counted, prove, services
from tests.integration.test_projections import fetch, free_port
from tests.support.parts import CHECKOUT, Parts, cloned_database, fresh_topics, running_parts

RESIDENTS: Final = 100_000
KILLS: Final = 20
READERS: Final = 20
READ_EVERY_S: Final = 1.0
USUAL_S: Final = 20.0
LONGEST_LIFE_S: Final = 8.0
MOST_TIMES_THE_USUAL: Final = 2.0


@dataclass(slots=True)
class Reads:
    """How long each read took, by when it was answered; a failed one ends the show."""

    took: list[tuple[float, float]] = field(default_factory=list)

    async def read(self, http: httpx.AsyncClient, stop: asyncio.Event) -> None:
        """One reader: its answers never go back, and each is of one generation."""
        position = 0
        await asyncio.sleep(random.random() * READ_EVERY_S)
        while not stop.is_set():
            began = time.monotonic()
            answer = await http.get("/v1/elections/pilkada-2024/districts")
            ended = time.monotonic()
            assert answer.status_code == 200, answer.text
            body = answer.json()
            assert body["position"] >= position, "an answer went back"
            position = body["position"]
            for row in body["districts"]:
                classes = ("under_age", "tni", "polri", "rights_revoked", "eligible")
                assert row["residents"] == sum(row[name] for name in classes)
            self.took.append((ended, ended - began))
            # At random: readers who once waited together would for ever read together.
            await asyncio.sleep(random.uniform(0.5, 1.5) * READ_EVERY_S)

    def p99_s(self, began: float, ended: float) -> float:
        return quantiles([s for at, s in self.took if began <= at <= ended], n=100)[98]


def say(line: str) -> None:
    print(line, flush=True)


async def command(url: str, *words: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cli.main", "replay", *words),
        env={**os.environ, "CACAH_DATABASE_URL": url},
        cwd=CHECKOUT,
        stdout=asyncio.subprocess.PIPE,
    )


@dataclass(frozen=True, slots=True)
class Ran:
    """When a replay began and ended, and when it said what: its stages, and at last its outcome."""

    began: float
    ended: float
    said: list[tuple[float, str]]

    def stages(self) -> list[tuple[str, float, float]]:
        moments = [("starting", self.began), *((said, at) for at, said in self.said)]
        moments[-1:] = [("ending", moments[-1][1]), ("", self.ended)]
        return [(what, at, after) for (what, at), (_, after) in pairwise(moments)]


async def run(url: str, *words: str) -> Ran:
    """Let a replay run to its end."""
    began, said = time.monotonic(), []
    process = await command(url, *words)
    assert process.stdout is not None
    async for line in process.stdout:
        said.append((time.monotonic(), line.decode().rstrip()))
    assert await process.wait() == 0, said
    say(said[-1][1])
    return Ran(began, time.monotonic(), said)


async def kill_some(url: str, kills: int, chance: random.Random) -> None:
    for number in range(1, kills + 1):
        process = await command(url)
        life_s = chance.random() * LONGEST_LIFE_S
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(life_s):
                await process.wait()
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        how = "ended before" if process.returncode == 0 else "killed"
        say(f"  {number}: {how}, after {life_s:.1f} s")


def compare(reads: Reads, what: str, usual_s: float, ran: Ran) -> bool:
    for stage, began, ended in ran.stages():
        took = sorted(s for at, s in reads.took if began <= at <= ended)
        if took:
            say(
                f"    {stage:<40} {ended - began:5.1f} s, {len(took):4d} reads:"
                f" half within {took[len(took) // 2] * 1e3:3.0f} ms, all {took[-1] * 1e3:3.0f} ms"
            )
    p99_s = reads.p99_s(ran.began, ran.ended)
    say(
        f"  p99 of reads during {what}: {p99_s * 1e3:.0f} ms, {p99_s / usual_s:.1f} times the usual"
    )
    return p99_s <= MOST_TIMES_THE_USUAL * usual_s


async def show(parts: Parts, database: str, residents: int, kills: int) -> bool:
    log = Log(parts.dsn(database), parts.kafka_bootstrap)
    url = parts.url(database)
    async with client("projections") as projections, client("notifier") as notifier:
        await log.fill(residents)
        await counted(projections, PILKADA_2024.id, len(log.entries))
        say(f"{len(log.entries):,} events of {residents:,} residents logged and counted")
        # The log lives to the end; looking through it for garbage would hold our own reads up.
        gc.collect()
        gc.freeze()
        reads, stop = Reads(), asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(log.flow(stop))
            for _ in range(READERS):
                group.create_task(reads.read(projections, stop))
            await asyncio.sleep(3)
            usual_s = await usually(reads)
            held = compare(reads, "the replay", usual_s, await run(url))
            held &= compare(reads, "the undoing", usual_s, await run(url, "--undo"))
            began = time.monotonic()
            await kill_some(url, kills, random.Random(5))
            killed = Ran(began, time.monotonic(), [])
            held &= compare(reads, "the killed replays", usual_s, killed)
            await run(url)
            stop.set()
        say(f"{len(reads.took):,} reads, none failed, none went back")
        await prove(projections, notifier, log, PILKADA_2024)
        say("the tallies, KPU's changes and voters are those of a plain count of the log")
        await no_litter(parts, database)
        return held


async def usually(reads: Reads) -> float:
    """The p99 of reads while nothing but events arrives."""
    began = time.monotonic()
    await asyncio.sleep(USUAL_S)
    usual_s = reads.p99_s(began, time.monotonic())
    say(f"usual p99 of reads: {usual_s * 1e3:.0f} ms; load {os.getloadavg()[0]:.1f}")
    return usual_s


async def no_litter(parts: Parts, database: str) -> None:

    query = "SELECT FROM pg_namespace WHERE nspname = 'projections_next'"
    assert await fetch(parts, database, query) == []
    query = "SELECT FROM projections.folds WHERE switched_at IS NULL"
    assert await fetch(parts, database, query) == []


def main() -> int:
    residents = int(sys.argv[1]) if len(sys.argv) > 1 else RESIDENTS
    kills = int(sys.argv[2]) if len(sys.argv) > 2 else KILLS
    bench.PORTS.update({name: free_port() for name in bench.PORTS})
    with running_parts() as parts:
        fresh_topics(parts)
        with cloned_database(parts) as database, services(parts, database):
            held = asyncio.run(show(parts, database, residents, kills))
    say("Show held." if held else "Show did NOT hold: reads were slower than twice the usual.")
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
