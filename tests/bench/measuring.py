"""The rounds: each measures everything once, so that a disturbed minute disturbs all alike."""

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from cli.stack import Stack
from shared.elections import PILKADA_2024
from tests.bench import loads, telling
from tests.bench.figures import Figures, quantile
from tests.bench.floors import Floor, connection_to
from tests.bench.loads import Load
from tests.bench.machine import cpu_s
from tests.bench.peers import Peer
from tests.bench.people import Clerk, Person, people
from tests.bench.wire import Door, UnexpectedAnswerError, ask_once, door

BATCH_SIZE: Final = 500
BATCH_CLIENTS: Final = 4
SINGLE_CLIENTS: Final = 64
PACED_CLIENTS: Final = 32
PACED_PER_S: Final = 500

# People who are registered and not yet recorded, at each client: of a batch half is either.
BATCH_BEHIND: Final = 250
SINGLE_BEHIND: Final = 5

SETTLE_TIMEOUT_S: Final = 120.0
POLL_S: Final = 0.01
DATABASE: Final = "cacah_bench"

# All that the registry keeps of an event, in its four tables.
_ROW_BYTES: Final = """
    SELECT (
        (SELECT sum(pg_column_size(t.*)) FROM registry.log t)
        + (SELECT sum(pg_column_size(t.*)) FROM registry.submissions t)
        + (SELECT sum(pg_column_size(t.*)) FROM registry.residents t)
        + (SELECT sum(pg_column_size(t.*)) FROM registry.vault_keys t)
    ) / (SELECT count(*) FROM registry.log)
"""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is sent in each run; by client, thread or connection."""

    runs: int = 5
    batches: int = 10
    singles: int = 100
    paced_s: int = 20
    floor_batches: int = 20
    floor_singles: int = 100
    peer_batches: int = 10
    peer_singles: int = 20

    @property
    def events(self) -> int:
        """What one run sends to the registry."""
        return (
            BATCH_CLIENTS * self.batches * BATCH_SIZE
            + SINGLE_CLIENTS * self.singles
            + PACED_PER_S * self.paced_s
        )

    @property
    def people(self) -> int:
        """How many all runs need: two events for each, save those not recorded at the end."""
        waiting = BATCH_CLIENTS * BATCH_BEHIND + (SINGLE_CLIENTS + PACED_CLIENTS) * SINGLE_BEHIND
        return (WARMING.events + self.runs * self.events) // 2 + waiting + SINGLE_CLIENTS


WARMING: Final = Plan(runs=1, batches=2, singles=5, paced_s=0)
FULL: Final = Plan()
QUICK: Final = Plan(1, batches=4, singles=40, paced_s=5, floor_batches=4, floor_singles=30)


@dataclass(slots=True)
class Measured:
    """What the rounds gave; `row_bytes` is what the registry keeps of one event."""

    figures: Figures = field(default_factory=Figures)
    row_bytes: int = 0
    events: int = 0


class Rounds:
    """Measures one stack. The clerks' stations go on from run to run."""

    def __init__(self, stack: Stack, plan: Plan, arriving: Iterator[Person]) -> None:
        self._plan = plan
        self._stack = stack
        self._dsn = stack.database_url.replace("+asyncpg", "")
        self._registry = door(stack.urls["registry"], stack.operator_token)
        self._projections = door(stack.urls["projections"], stack.operator_token)
        self._notifier = door(stack.urls["notifier"], stack.operator_token)
        self._batching = _clerks("BATCH", BATCH_CLIENTS, arriving, BATCH_BEHIND)
        self._single = _clerks("SINGLE", SINGLE_CLIENTS, arriving, SINGLE_BEHIND)
        self._paced = _clerks("PACED", PACED_CLIENTS, arriving, SINGLE_BEHIND)
        self._measured = Measured()

    async def run(self, say: Say) -> Measured:
        """All runs, after one that warms up and is not counted."""
        say("warming up")
        await self._send_batches(WARMING.batches)
        await self._send_singles(WARMING.singles)
        floor, peer = await self._beside()
        self._measured.figures = Figures()
        for number in range(1, self._plan.runs + 1):
            say(f"run {number} of {self._plan.runs}: batches, single requests")
            await self._send_batches(self._plan.batches)
            await self._send_singles(self._plan.singles)
            say(f"run {number} of {self._plan.runs}: the floor and the peer")
            await self._measure_floor(floor)
            await asyncio.to_thread(self._measure_peer, peer)
            say(f"run {number} of {self._plan.runs}: {PACED_PER_S} events/s to KPU's stream")
            await self._send_at_pace()
        return self._measured

    async def _send_batches(self, count: int) -> None:
        queues = [loads.batches(self._registry, c, count, BATCH_SIZE) for c in self._batching]
        used = cpu_s(self._stack)
        load = await loads.at_once(self._registry, queues)
        counted_at, told_at = await self._settle(load)
        events = count * BATCH_CLIENTS * BATCH_SIZE
        self._measure_cpu("batches", used, events)
        self._measured.figures.add(
            batches_per_s=events / load.seconds,
            batches_sender_percent=load.sender_share * 100,
            counted_per_s=events / (counted_at - load.began_at),
            counted_after_s=max(0.0, counted_at - load.ended_at),
            told_per_s=events / (told_at - load.began_at),
            told_after_s=max(0.0, told_at - load.ended_at),
        )

    async def _send_singles(self, count: int) -> None:
        queues = [loads.singles(self._registry, clerk, count) for clerk in self._single]
        used = cpu_s(self._stack)
        load = await loads.at_once(self._registry, queues)
        await self._settle(load)
        self._measure_cpu("singles", used, len(load.exchanges))
        answered_s = [exchange.answered_at - exchange.sent_at for exchange in load.exchanges]
        self._measured.figures.add(
            singles_per_s=len(answered_s) / load.seconds,
            singles_sender_percent=load.sender_share * 100,
            singles_p50_ms=quantile(answered_s, 0.50) * 1_000,
            singles_p99_ms=quantile(answered_s, 0.99) * 1_000,
        )

    async def _send_at_pace(self) -> None:
        count = PACED_PER_S * self._plan.paced_s // PACED_CLIENTS
        queues = [loads.singles(self._registry, clerk, count) for clerk in self._paced]
        before = await telling.told_events(self._notifier)
        async with telling.listening(self._notifier) as stream:
            load = await loads.at_pace(self._registry, queues, PACED_PER_S)
            await self._settle(load)
            await stream.reaches((await telling.read_feed(self._notifier))["sequence"])
        arrived = telling.changes_in(stream.heard)
        delays_s = telling.delays_s(load.accepted(), arrived, before)
        self._measured.figures.add(
            paced_per_s=len(delays_s) / load.seconds,
            told_p50_ms=quantile(delays_s, 0.50) * 1_000,
            told_p99_ms=quantile(delays_s, 0.99) * 1_000,
            told_max_ms=max(delays_s) * 1_000,
        )

    async def _settle(self, load: Load) -> tuple[float, float]:
        """Wait until all of a load is counted and told, so that it disturbs nothing after it;
        when each was."""
        accepted = load.accepted()
        self._measured.events += len(accepted)
        last = max(event.position for event in accepted)
        both = asyncio.gather(
            counted(self._projections, last), told(self._notifier, last, self._measured.events)
        )
        try:
            return await asyncio.wait_for(both, SETTLE_TIMEOUT_S)
        except TimeoutError:
            raise UnexpectedAnswerError(
                f"the events up to {last} were not counted and told in {SETTLE_TIMEOUT_S:.0f} s"
            ) from None

    def _measure_cpu(self, load: str, before: dict[str, float], events: int) -> None:
        """What an event of a load has cost each part, until all were counted and told."""
        now = cpu_s(self._stack)
        for name in self._stack.names:
            used_s = now[name] - before[name]
            self._measured.figures.add(**{f"{load}_{name}_us": used_s / events * 1e6})

    async def _beside(self) -> tuple[Floor, Peer]:
        """The floor and the peer, in a database of their own on the same server."""
        async with connection_to(self._dsn) as connection:
            row_bytes = round(await connection.fetchval(_ROW_BYTES))
            await connection.execute(f"CREATE DATABASE {DATABASE}")
        self._measured.row_bytes = row_bytes
        dsn = f"{self._dsn.rpartition('/')[0]}/{DATABASE}"
        floor = Floor(dsn, row_bytes)
        await floor.create()
        return floor, Peer(dsn, row_bytes)

    async def _measure_floor(self, floor: Floor) -> None:
        batches = self._plan.floor_batches
        self._measured.figures.add(
            copy_per_s=await floor.copy(BATCH_CLIENTS, batches, BATCH_SIZE),
            executemany_per_s=await floor.executemany(BATCH_CLIENTS, batches, BATCH_SIZE),
            commits_per_s=await floor.single(SINGLE_CLIENTS, self._plan.floor_singles),
        )

    def _measure_peer(self, peer: Peer) -> None:
        self._measured.figures.add(
            peer_batches_per_s=peer.rate(BATCH_CLIENTS, self._plan.peer_batches, BATCH_SIZE),
            peer_singles_per_s=peer.rate(SINGLE_CLIENTS, self._plan.peer_singles, 1),
        )


def rounds(stack: Stack, plan: Plan) -> Rounds:
    return Rounds(stack, plan, people(plan.people))


def _clerks(name: str, count: int, arriving: Iterator[Person], behind: int) -> list[Clerk]:
    return [Clerk(f"{name}-{n:02}", arriving, behind) for n in range(1, count + 1)]


async def counted(projections: Door, position: int) -> float:
    """When projections said that everything up to a position is counted."""
    path = f"/v1/elections/{PILKADA_2024.id}/total?min_position={position}"
    while (reply := await ask_once(projections, path)).status == 503:
        continue
    if reply.status != 200:
        raise UnexpectedAnswerError(f"{reply.status} {reply.body.decode()}")
    return time.perf_counter()


async def told(notifier: Door, position: int, events: int) -> float:
    """When KPU had been told of so many events, all up to a position."""
    while (await telling.read_feed(notifier))["position"] < position:
        await asyncio.sleep(POLL_S)
    # Partitions are told apart: the last position may be there before one that is lower.
    while sum((await telling.told_events(notifier)).values()) < events:
        await asyncio.sleep(POLL_S)
    return time.perf_counter()
