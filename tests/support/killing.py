"""Kills parts of a running stack by SIGKILL while events flow, and sees everything come back."""

import asyncio
import os
import random
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from cli.stack import Stack
from cli.stack.settings import CHECKOUT
from tests.support.checking import check_everything, send_again
from tests.support.driving import CLIENTS, Parcel, Sent, apart, play
from tests.support.dying_registry import PLACES
from tests.support.histories import Event
from tests.support.reckoning import check_fates
from tests.support.rounds import history, lanes_apart, model_of
from tests.support.system import System
from tests.support.watching import watching

KILLABLE: Final = ("registry", "projections", "notifier", "kafka", "postgres")
EVENTS_PER_S: Final = 300
ANSWER_WITHIN_S: Final = 5.0
BACK_WITHIN_S: Final = 60.0
POLL_S: Final = 0.01

# A model tries all that is parked again whenever it accepts something: one of everybody would take
# many minutes, and what became of somebody does not depend on others.
MODELS: Final = 200


@dataclass
class Death:
    """A part that was killed: after how many answered events, and how long until another of it
    was ready."""

    part: str
    answered: int
    away_s: float = 0.0


@dataclass
class Survived:
    """What a run under kills came to."""

    sent: list[Sent]
    deaths: list[Death]
    resumed: int
    flowed_s: float
    ready_after_s: float
    settled_after_s: float

    @property
    def retried(self) -> int:
        """How many events were sent more than once before they were answered."""
        return sum(sent.tries > 1 for sent in self.sent)


@dataclass
class Killer:
    """Ends parts in turn, in a seeded order and at seeded moments of the flow."""

    stack: Stack
    size: int
    seed: int
    rounds: int
    say: Callable[[str], None]
    parts: Sequence[str] = KILLABLE
    answered: int = 0
    deaths: list[Death] = field(default_factory=list)

    async def heard(self, sent: Sequence[Sent]) -> None:
        """Count what was answered, and hold the client back, so that the flow outlasts us."""
        self.answered += len(sent)
        await asyncio.sleep(len(sent) * CLIENTS / EVENTS_PER_S)

    async def run(self) -> None:
        """Kill whoever is due, whether or not the last one is back; return when all are."""
        async with asyncio.TaskGroup() as group:
            for part, moment in self.plan():
                while self.answered < moment or not self.stack.is_ready(part):
                    await asyncio.sleep(POLL_S)
                death = Death(part, self.answered)
                self.deaths.append(death)
                self.say(f"{part} is killed after {self.answered} events")
                group.create_task(asyncio.to_thread(self._kill, death))

    def plan(self) -> Iterator[tuple[str, int]]:
        """Who, and after how many events."""
        chance = random.Random(self.seed)
        parts = [p for _ in range(self.rounds) for p in chance.sample(self.parts, len(self.parts))]
        moments = range(self.size // 50, self.size * 9 // 10)
        return zip(parts, sorted(chance.sample(moments, len(parts))), strict=True)

    def _kill(self, death: Death) -> None:
        killed, began = self.stack.pid(death.part), time.monotonic()
        assert killed is not None
        self.stack.kill_part(death.part, restart=True)
        while self.stack.pid(death.part) in (None, killed) or not self.stack.is_ready(death.part):
            assert time.monotonic() < began + BACK_WITHIN_S, f"{death.part} did not come back"
            time.sleep(POLL_S)
        death.away_s = time.monotonic() - began


async def survive(
    system: System,
    seed: int,
    size: int,
    *,
    rounds: int = 1,
    say: Callable[[str], None] = lambda _: None,
) -> Survived:
    """Play a history while parts are killed, and hold all of it against the slow model."""
    events = history(seed, size)
    killer = Killer(system.stack, size, seed, rounds, say)
    system.ledger.note(events)
    began = time.monotonic()
    async with watching(system) as watch:
        killing = asyncio.create_task(killer.run())
        sent = await play_patiently(system, lanes_apart(events, seed), killer.heard)
        flowed_s = time.monotonic() - began
        await killing
        ready_after_s = await system.until_ready()
        began = time.monotonic()
        await check_everything(system)
        await watch.agree(system)
        settled_after_s = time.monotonic() - began
    await check_all_fates(system, events, sent)
    return Survived(sent, killer.deaths, watch.resumed, flowed_s, ready_after_s, settled_after_s)


async def die_everywhere(
    system: System,
    seed: int,
    size: int,
    *,
    rounds: int = 1,
    say: Callable[[str], None] = lambda _: None,
) -> list[Sent]:
    """Play a history one by one to registries that each die where a commit and an acknowledgement
    part, and then to one that lives."""
    events, chance = history(seed, size), random.Random(seed)
    system.ledger.note(events)
    async with watching(system) as watch:
        await asyncio.to_thread(system.stack.stop_part, "registry")
        try:
            sending = asyncio.create_task(play_patiently(system, one_by_one(events)))
            for place in PLACES * rounds:
                await die(system, place, chance.randrange(1, 5))
                say(f"the registry died: {place}")
                assert not sending.done(), "the events ran out before the deaths"
        finally:
            await asyncio.to_thread(system.stack.start_part, "registry")
        sent = await sending
        await system.until_ready()
        await check_everything(system)
        await watch.agree(system)
    await check_all_fates(system, events, sent)
    return sent


def one_by_one(events: Sequence[Event]) -> list[Iterator[Parcel]]:
    """Lanes that share nothing, each event in a request of its own."""
    return [(Parcel([event], single=True) for event in lane) for lane in apart(events)]


async def die(system: System, place: str, passed: int) -> None:
    """Run a registry until it dies at a place that it has passed some times."""
    environment = {**os.environ, **system.stack.environment, "CACAH_TEST_DIES": f"{place}:{passed}"}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.support.dying_registry"),
        env=environment,
        cwd=CHECKOUT,
        stdout=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(BACK_WITHIN_S):
            assert await process.wait() == -signal.SIGKILL, place
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def play_patiently(
    system: System,
    lanes: Sequence[Iterator[Parcel]],
    after_each: Callable[[Sequence[Sent]], Awaitable[None]] | None = None,
) -> list[Sent]:
    """Send what gets no answer again, with the same ids, until it is answered."""
    answered = await play(
        system.stack.urls["registry"],
        system.stack.operator_token,
        lanes,
        patient=True,
        answer_within_s=ANSWER_WITHIN_S,
        after_each=after_each,
    )
    return [sent for lane in answered for sent in lane]


async def check_all_fates(system: System, events: Sequence[Event], sent: Sequence[Sent]) -> None:
    """Nothing that was answered is lost, and what became of each is what it had to be."""
    positions = system.ledger.position_of()
    for one in sent:
        if one.answer.position is not None:
            key = (one.event["source"], one.event["id"])
            assert positions[key] == one.answer.position, one
    models = [model_of(lane) for lane in apart(events, MODELS)]
    check_fates(await send_again(system, events), models, system.ledger)
