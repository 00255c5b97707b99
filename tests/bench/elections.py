"""Show 4 of the rulebook: elections added and moved at full size, under load.

`python -m tests.bench.elections [RESIDENTS]`: a log of about three events a resident is counted;
then 1,000 events a second arrive while a second election is put, moved by a year, and the first
one's feed is followed.
"""

import asyncio
import contextlib
import os
import random
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from statistics import quantiles
from typing import Any
from uuid import UUID

import httpx
import orjson

from services.projections.domain.electorate import standing_for
from services.projections.domain.resident import Resident
from services.projections.domain.tally import added, counts_of
from shared.counts import NOTHING, Counts
from shared.elections import Election
from shared.events.facts import TYPE_PREFIX, LoggedFact
from shared.events.records import LogEntry, logged_fact
from shared.regions import villages_in
from tests.support.parts import CHECKOUT, Parts, cloned_database, fresh_topics, running_parts
from tests.support.published_log import Chain, append, publish

RESIDENTS = 268_951
EVENTS_A_SECOND = 1_000
TICK_S = 0.1
TOKEN = "operator-of-the-show"
AUTHORIZED = {"Authorization": f"Bearer {TOKEN}"}
PORTS = {"projections": 18_002, "notifier": 18_003}
VILLAGES = [village.code for village in villages_in("15.01")]
JAKARTA = "31.71.01.1001"

SECOND = {
    "polling_day": "2029-02-14",
    "area": "15",
    "minimum_age": 17,
    "first_time_since": "2024-11-28",
    "stages": [],
}


@dataclass(slots=True)
class Log:
    """A log that grows, and everything that it holds."""

    dsn: str
    bootstrap: str
    chance: random.Random = field(default_factory=lambda: random.Random(4))
    chain: Chain = field(default_factory=Chain)
    entries: list[LogEntry] = field(default_factory=list)
    people: list[UUID] = field(default_factory=list)

    def entry(self, kind: str, resident_id: UUID, **data: Any) -> LogEntry:
        position = len(self.entries) + 1
        now = datetime.now(UTC)
        made = LogEntry(
            position,
            now,
            TYPE_PREFIX + kind,
            1,
            now.isoformat(),
            "urn:dukcapil:station:KRC-01",
            f"e-{position}",
            resident_id,
            orjson.dumps(data).decode(),
        )
        self.entries.append(made)
        return made

    def register(self) -> LogEntry:
        chance = self.chance
        born = date(1940, 1, 1) + timedelta(days=chance.randrange(30_000))
        self.people.append(UUID(int=chance.getrandbits(128)))
        return self.entry(
            "resident.registered",
            self.people[-1],
            sex=chance.choice("LP"),
            birth_date=str(born),
            marital_status=chance.choice("BBSP"),
            village=chance.choice(VILLAGES),
        )

    def something(self) -> LogEntry:
        chance = self.chance
        kind = chance.choice(["ktp.recorded"] * 5 + ["ikd.activated"] * 4 + ["resident.relocated"])
        data: dict[str, Any] = {}
        if kind == "resident.relocated":
            data = {
                "to_village": chance.choice([*VILLAGES, JAKARTA]),
                "effective_date": f"20{chance.randint(20, 28)}-05-01",
                "letter_no": f"SKPWNI/{len(self.entries)}",
            }
        return self.entry(kind, chance.choice(self.people), **data)

    async def send(self, entries: list[LogEntry]) -> None:
        await append(self.dsn, entries)
        await publish(
            self.bootstrap, self.chain.events(entries) + self.chain.published(entries[-1].position)
        )

    async def fill(self, residents: int) -> None:
        """Log a regency, and let it be read from the log by one promise."""
        begun = [self.register() for _ in range(residents)]
        begun += [self.something() for _ in range(residents * 2)]
        for n in range(0, len(begun), 50_000):
            await append(self.dsn, begun[n : n + 50_000])
        self.chain.events(begun)
        await publish(self.bootstrap, self.chain.published(len(self.entries)))

    async def flow(self, stop: asyncio.Event) -> None:
        """Let events arrive until told to stop."""
        due_s = time.monotonic()
        while not stop.is_set():
            await self.send([self.something() for _ in range(int(EVENTS_A_SECOND * TICK_S))])
            due_s += TICK_S
            await asyncio.sleep(max(0.0, due_s - time.monotonic()))


@contextlib.contextmanager
def services(parts: Parts, database: str) -> Iterator[None]:
    """Projections and the notifier as processes."""
    settings = os.environ | {
        "CACAH_DATABASE_URL": parts.url(database),
        "CACAH_KAFKA_BOOTSTRAP": parts.kafka_bootstrap,
        "CACAH_OPERATOR_TOKEN": TOKEN,
    }
    running = []
    try:
        for name, port in PORTS.items():
            environment = settings | {f"CACAH_{name.upper()}_PORT": str(port)}
            command = [sys.executable, "-m", f"services.{name}"]
            with open(f"/tmp/show4-{name}-{port}.log", "w") as log:
                running.append(subprocess.Popen(command, env=environment, cwd=CHECKOUT, stdout=log))
        yield
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.wait()


@contextlib.asynccontextmanager
async def client(name: str) -> AsyncIterator[httpx.AsyncClient]:
    url = f"http://127.0.0.1:{PORTS[name]}"
    async with httpx.AsyncClient(base_url=url, headers=AUTHORIZED, timeout=90) as http:
        async with asyncio.timeout(60):
            while True:
                try:
                    if (await http.get("/readyz")).status_code == 200:
                        break
                except httpx.TransportError:
                    pass
                await asyncio.sleep(0.1)
        yield http


async def follow(http: httpx.AsyncClient, after: int, waits: list[tuple[float, float]]) -> None:
    """Follow the first election's feed: when each change came, and how old it was."""
    url = f"/v1/elections/pilkada-2024/stream?after={after}"
    async with http.stream("GET", url) as answer:
        async for line in answer.aiter_lines():
            if line.startswith("data: "):
                change = orjson.loads(line[6:])
                age = datetime.now(UTC) - datetime.fromisoformat(change["time"])
                waits.append((time.monotonic(), age.total_seconds()))


def expected(entries: list[LogEntry], election: Election) -> dict[str, Counts]:
    people: dict[UUID, list[LoggedFact]] = {}
    for entry in entries:
        people.setdefault(entry.resident_id, []).append(logged_fact(entry))
    tallies: dict[str, Counts] = {}
    for facts in people.values():
        standing = standing_for(Resident(tuple(facts)), election)
        if standing is not None:
            village = standing.village
            tallies[village] = added(tallies.get(village, NOTHING), counts_of(standing))
    return tallies


async def counted(http: httpx.AsyncClient, election: str, position: int) -> dict[str, Counts]:
    while True:
        answer = await http.get(f"/v1/elections/{election}/villages?min_position={position}")
        if answer.status_code == 200:
            break
        await asyncio.sleep(0.2)
    return {
        row["village"]: Counts._make(row[name] for name in Counts._fields)
        for row in answer.json()["villages"]
        if row["residents"]
    }


async def told(http: httpx.AsyncClient, election: str) -> dict[str, dict[str, int]]:
    """What the changes add up to; they must chain."""
    stands: dict[str, Any] = {}
    after = 0
    while True:
        page = (
            await http.get(f"/v1/elections/{election}/changes?after={after}&limit=10000")
        ).json()
        for change in page["changes"]:
            assert change["sequence"] == after + 1
            after += 1
            assert change["before"] == stands.get(change["village"], NOTHING._asdict())
            stands[change["village"]] = change["after"]
        if after >= page["last"]:
            return {village: counts for village, counts in stands.items() if counts["residents"]}


async def voters_told(http: httpx.AsyncClient, election: str) -> dict[str, int]:
    """How many voters of each village the voters' changes add up to."""
    votes: dict[str, str | None] = {}
    after = 0
    while True:
        page = (
            await http.get(f"/v1/elections/{election}/voters/changes?after={after}&limit=10000")
        ).json()
        for change in page["changes"]:
            assert change["sequence"] == after + 1
            after += 1
            assert change["from_village"] == votes.get(change["voter"])
            votes[change["voter"]] = change["to_village"]
        if after >= page["last"]:
            break
    sizes: dict[str, int] = {}
    for village in votes.values():
        if village is not None:
            sizes[village] = sizes.get(village, 0) + 1
    return sizes


def told_of(waits: list[tuple[float, float]], begin: float, end: float) -> str:
    ages = [age for at, age in waits if begin <= at <= end]
    if len(ages) < 2:
        return f"{len(ages)} changes"
    cuts = quantiles(ages, n=100)
    return (
        f"{len(ages)} changes, p50 {cuts[49] * 1e3:.0f} ms, p99 {cuts[98] * 1e3:.0f} ms,"
        f" longest {max(ages) * 1e3:.0f} ms"
    )


async def put(http: httpx.AsyncClient, definition: dict[str, Any]) -> tuple[float, float]:
    """Put it: when it was asked and answered."""
    begin = time.monotonic()
    answer = await http.put("/v1/elections/second", json=definition)
    while answer.status_code == 202 or answer.json()["state"] == "folding":
        await asyncio.sleep(0.05)
        answer = await http.get("/v1/elections/second")
    assert answer.status_code in {200, 201}, answer.text
    return begin, time.monotonic()


async def prove(
    http: httpx.AsyncClient, notifier: httpx.AsyncClient, log: Log, election: Election
) -> None:
    """Compare the tallies with a count of the whole log, and the feeds with the tallies."""
    counts = await counted(http, election.id, len(log.entries))
    assert counts == expected(log.entries, election), "the tallies differ from a plain count"
    async with asyncio.timeout(120):
        while await told(notifier, election.id) != {v: c._asdict() for v, c in counts.items()}:
            await asyncio.sleep(0.5)
        eligible = {village: c.eligible for village, c in counts.items() if c.eligible}
        while "--no-voters" not in sys.argv:
            if await voters_told(notifier, election.id) == eligible:
                return
            await asyncio.sleep(0.5)


def election_of(definition: dict[str, Any]) -> Election:
    return Election(
        "second",
        date.fromisoformat(definition["polling_day"]),
        definition["area"],
        definition["minimum_age"],
        date.fromisoformat(definition["first_time_since"]),
    )


async def show(parts: Parts, database: str, residents: int) -> None:
    log = Log(parts.dsn(database), parts.kafka_bootstrap)
    async with client("projections") as projections, client("notifier") as notifier:
        began = time.monotonic()
        await log.fill(residents)
        print(f"{len(log.entries):,} events of {residents:,} residents logged", flush=True)
        await counted(projections, "pilkada-2024", len(log.entries))
        print(f"counted after {time.monotonic() - began:.0f} s", flush=True)
        sequence = (await notifier.get("/v1/elections/pilkada-2024/changes?limit=1")).json()["last"]
        waits: list[tuple[float, float]] = []
        stop = asyncio.Event()
        following = asyncio.create_task(follow(notifier, sequence, waits))
        flowing = asyncio.create_task(log.flow(stop))
        await asyncio.sleep(10)
        quiet = time.monotonic()
        print(f"load: {os.getloadavg()}; before: {told_of(waits, 0, quiet)}", flush=True)
        moved = SECOND | {"polling_day": "2030-02-14"}
        for what, definition in (("added", SECOND), ("moved by a year", moved)):
            begin, end = await put(projections, definition)
            print(f"{what}: served after {end - begin:.1f} s; load {os.getloadavg()}", flush=True)
            await asyncio.sleep(10)
            print(f"  meanwhile: {told_of(waits, begin, end + 1)}", flush=True)
            print(f"  10 s after: {told_of(waits, end + 1, end + 10)}", flush=True)
        stop.set()
        await flowing
        await prove(projections, notifier, log, election_of(moved))
        following.cancel()
        print("the second election's tallies, changes and voters are right", flush=True)
        lines = (await projections.get("/metrics")).text.splitlines()
        print(
            "\n".join(
                line
                for line in lines
                if line.startswith(
                    (
                        "projections_switch_seconds_s",
                        "projections_folding_seconds_s",
                        "projections_failures_total",
                    )
                )
            )
        )


def main() -> None:
    residents = int(sys.argv[1]) if len(sys.argv) > 1 else RESIDENTS
    with running_parts() as parts, cloned_database(parts) as database:
        fresh_topics(parts)
        with services(parts, database):
            asyncio.run(show(parts, database, residents))


if __name__ == "__main__":
    main()
