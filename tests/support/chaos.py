"""Does a schedule of faults to a running stack, and holds it against what must come out."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import httpx

from cli.counting import COUNTS, Expectation
from cli.stack.settings import CHECKOUT
from tests.support.differences import agree, require
from tests.support.faults import MORE_PROJECTIONS, SERVERS, SERVICES, Fault
from tests.support.kpu import VillagesAdder, VotersAdder, villages_adder, voters_adder
from tests.support.proxied_stack import ProxiedStack
from tests.support.reading import ELECTION, get
from tests.support.steady import Steady
from tests.support.system import System, observed

TEND_EVERY_S: Final = 1.0
RUNS_WITHIN_S: Final = 60.0
SETTLES_WITHIN_S: Final = 600.0
PAUSE_S: Final = 0.2
LOG_PAGE: Final = 10_000


@dataclass
class Trouble:
    """Does the faults at their offsets; what is killed is started again, as a supervisor does."""

    stack: ProxiedStack
    faults: Sequence[Fault]
    say: Callable[[str], None]
    done: Counter[str] = field(default_factory=Counter)
    _wanted: set[str] = field(default_factory=lambda: {*SERVICES, *SERVERS})

    async def run(self) -> None:
        """Do all of it, and leave everything running and every door open."""
        began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            tending = group.create_task(self._tend())
            async with asyncio.TaskGroup() as doing:
                for fault in self.faults:
                    await asyncio.sleep(max(0.0, began + fault.at_s - time.monotonic()))
                    self.say(f"{fault} (at {time.monotonic() - began:.1f} s)")
                    doing.create_task(self._do(fault))
            tending.cancel()
        for name in self._wanted:
            await asyncio.to_thread(self.stack.start_part, name, wait=False)

    async def _tend(self) -> None:
        """Start what should run and does not: it may have been hit again while it started."""
        while True:
            await asyncio.sleep(TEND_EVERY_S)
            for name in list(self._wanted):
                self.stack.start_part(name, wait=False)

    async def _do(self, fault: Fault) -> None:
        await {
            "kill": self._kill,
            "pause": self._pause,
            "cut": self._cut,
            "delay": self._delay,
            "restart": self._restart,
            "scale": self._scale,
        }[fault.kind](fault)
        self.done[f"{fault.kind} {fault.target}"] += 1

    async def _kill(self, fault: Fault) -> None:
        await self._running(fault.target)
        self._wanted.discard(fault.target)
        await asyncio.to_thread(self.stack.kill_part, fault.target)
        await asyncio.sleep(fault.lasts_s)
        self._start(fault.target)

    async def _pause(self, fault: Fault) -> None:
        pid = await self._running(fault.target)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
            try:
                await asyncio.sleep(fault.lasts_s)
            finally:
                os.kill(pid, signal.SIGCONT)

    async def _cut(self, fault: Fault) -> None:
        door = self.stack.doors[fault.target.partition(" ")[0]]
        await door.shut()
        await asyncio.sleep(fault.lasts_s)
        await door.open()

    async def _delay(self, fault: Fault) -> None:
        door = self.stack.doors[fault.target.partition(" ")[0]]
        door.delay_s = int(fault.how.partition(" ")[0]) / 1000
        await asyncio.sleep(fault.lasts_s)
        door.delay_s = 0.0

    async def _restart(self, fault: Fault) -> None:
        await self._running(fault.target)
        self._wanted.discard(fault.target)
        end = self.stack.kill_part if fault.how == "SIGKILL" else self.stack.stop_part
        await asyncio.to_thread(end, fault.target)
        self._start(fault.target)

    async def _scale(self, fault: Fault) -> None:
        for name in MORE_PROJECTIONS:
            self._start(name)
        await asyncio.sleep(fault.lasts_s)
        for name in MORE_PROJECTIONS:
            self._wanted.discard(name)
            await asyncio.to_thread(self.stack.stop_part, name)

    def _start(self, name: str) -> None:
        self._wanted.add(name)
        self.stack.start_part(name, wait=False)

    async def _running(self, name: str) -> int:
        """The process of a part, once it has one."""
        async with asyncio.timeout(RUNS_WITHIN_S):
            while (pid := self.stack.pid(name)) is None:
                await asyncio.sleep(PAUSE_S)
        return pid


@dataclass
class Clients:
    """KPU's: two that listen and one that asks."""

    villages: VillagesAdder = field(default_factory=villages_adder)
    puller: VillagesAdder = field(default_factory=villages_adder)
    voters: VotersAdder = field(default_factory=voters_adder)

    def follow(
        self, notifier: httpx.AsyncClient, group: asyncio.TaskGroup
    ) -> list[asyncio.Task[None]]:
        """Follow the feeds until cancelled."""
        return [
            group.create_task(self.villages.follow(notifier)),
            group.create_task(self.voters.follow(notifier)),
            group.create_task(self.puller.pull(notifier)),
        ]


@dataclass(frozen=True)
class Weathered:
    """What a run came to."""

    done: Counter[str]
    answers: Counter[str]
    retried: int
    position: int
    sequence: int
    voters_sequence: int
    resumed: int
    flowed_s: float
    settled_s: float


async def weather(
    stack: ProxiedStack, steady: Steady, faults: Sequence[Fault], say: Callable[[str], None]
) -> Weathered:
    """Send, do the faults meanwhile, and check everything when it is calm again.

    Raises DifferenceFound, in a group where a client found it on the way.
    """
    expected, clients = await asyncio.to_thread(steady.expected), Clients()
    trouble = Trouble(stack, faults, say)
    async with observed(stack) as system, asyncio.TaskGroup() as group:
        following = clients.follow(system.notifier, group)
        began = time.monotonic()
        async with asyncio.TaskGroup() as busy:
            busy.create_task(trouble.run())
            busy.create_task(steady.run(stack.urls["registry"], stack.operator_token))
        say("the faults are over and everything is sent")
        calm = time.monotonic()
        await system.until_ready()
        check_answers(steady, expected)
        await check_log(system, expected)
        await check_tallies(system, expected)
        await check_clients(system, clients, expected)
        for task in following:
            task.cancel()
    return Weathered(
        trouble.done,
        steady.counts,
        steady.retried,
        expected.accepted,
        clients.villages.last,
        clients.voters.last,
        clients.villages.resumed + clients.voters.resumed,
        calm - began,
        time.monotonic() - calm,
    )


def check_answers(steady: Steady, expected: Expectation) -> None:
    """Every event was answered what it had to be, once for each time a station sent it."""
    counts = steady.counts
    agree(counts["answered"], expected.sent, "events answered")
    agree(counts["accepted"] + counts["parked"], expected.accepted, "events accepted, or parked")
    agree(counts["rejected"], expected.rejected, "events rejected")
    agree(counts["duplicate"], expected.duplicates, "duplicates answered")


async def check_log(system: System, expected: Expectation) -> None:
    """Positions 1 to N without a gap, and nothing twice."""
    seen: set[tuple[str, str]] = set()
    after = 0
    while True:
        page = await get(system.registry, "/v1/log", after=after, limit=LOG_PAGE)
        if not page["events"]:
            break
        for entry in page["events"]:
            agree(entry["position"], after + 1, "the next position of the log")
            after += 1
            key = entry["source"], entry["id"]
            require(key not in seen, f"{key} is in the log twice, again at {after}")
            seen.add(key)
    agree(after, expected.accepted, "the last position of the log")


async def check_tallies(system: System, expected: Expectation) -> None:
    """Every village's tally, once everything is counted."""
    query = {"min_position": expected.accepted}
    async with asyncio.timeout(SETTLES_WITHIN_S):
        while True:
            answer = await system.projections.get(f"{ELECTION}/villages", params=query)
            if answer.status_code == httpx.codes.OK:
                break
            await asyncio.sleep(PAUSE_S)
    found = {row["village"]: {n: row[n] for n in COUNTS} for row in answer.json()["villages"]}
    agree(found.keys(), expected.tallies.keys(), "the villages")
    for village, tally in expected.tallies.items():
        agree(found[village], tally, f"the tally of {village}")


async def check_clients(system: System, clients: Clients, expected: Expectation) -> None:
    """What KPU was told adds up to the tallies, for each of its clients."""
    tallies = {code: row for code, row in expected.tallies.items() if any(row.values())}
    eligible = {c: row["eligible"] for c, row in tallies.items() if row["eligible"]}
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(SETTLES_WITHIN_S):
            while not _have_all(clients, tallies, eligible):
                await asyncio.sleep(PAUSE_S)
    for name, adder in (("listens", clients.villages), ("asks", clients.puller)):
        for village, tally in tallies.items():
            agree(adder.stands.get(village), tally, f"{village} by the client that {name}")
    agree(dict(clients.voters.voters()), eligible, "the voters of each village")
    snapshot = await get(system.notifier, f"{ELECTION}/snapshot")
    last = clients.villages.last, clients.puller.last
    agree(last, (snapshot["sequence"],) * 2, "the last sequence of the clients")


def _have_all(
    clients: Clients, tallies: dict[str, dict[str, int]], eligible: dict[str, int]
) -> bool:
    return (
        clients.villages.stands == clients.puller.stands == tallies
        and clients.voters.voters() == eligible
    )


def verified(stack: ProxiedStack) -> str | None:
    """What `cacah verify` says, whose status must be 0; none where there is no such command."""
    command = [sys.executable, "-m", "cli.main", "verify"]
    asked = subprocess.run([*command, "--help"], cwd=CHECKOUT, capture_output=True, check=False)
    if asked.returncode != 0:
        return None
    done = subprocess.run(
        command, cwd=CHECKOUT, env=stack.environment, capture_output=True, text=True, check=False
    )
    require(done.returncode == 0, f"cacah verify: {done.stdout}{done.stderr}")
    return done.stdout
