"""`python -m tests.e2e.shows chaos`: events at a steady rate while everything fails (issue 6)."""

import asyncio
import contextlib
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Final

from tests.support.chaos import Weathered, verified, weather
from tests.support.faults import MORE_PROJECTIONS, schedule
from tests.support.proxied_stack import ProxiedStack
from tests.support.steady import Steady, size_for

SECONDS_PER_FAULT: Final = 2.7


@contextlib.asynccontextmanager
async def proxied_stack(say: Callable[[str], None]) -> AsyncIterator[ProxiedStack]:
    """Everything behind doors; the doors are open before anything is started."""
    with tempfile.TemporaryDirectory(prefix="cacah-chaos-", ignore_cleanup_errors=True) as home:
        stack = ProxiedStack(Path(home), say)
        for door in stack.doors.values():
            await door.open()
        try:
            await asyncio.to_thread(stack.start)
            for name in MORE_PROJECTIONS:
                await asyncio.to_thread(stack.stop_part, name)
            yield stack
        finally:
            await asyncio.to_thread(stack.stop)
            for door in stack.doors.values():
                await door.shut()


async def run_chaos(
    duration_s: float, rate: int, seed: int, count: int, say: Callable[[str], None]
) -> Weathered:
    """A whole run on a system of its own."""
    faults = schedule(seed, duration_s, count)
    steady = Steady(size_for(round(duration_s * rate), seed), seed, rate)
    say(f"seed {seed}: {len(faults)} faults in {duration_s:.0f} s, {steady.size} residents")
    async with proxied_stack(say) as stack:
        weathered = await weather(stack, steady, faults, say)
        proofs = await asyncio.to_thread(verified, stack)
        say(proofs or "there is no `cacah verify` yet: not called")
    return weathered


def faults_in(minutes: float) -> int:
    """How many faults a run has: over 200 in ten minutes."""
    return round(minutes * 60 / SECONDS_PER_FAULT)


def told(weathered: Weathered) -> list[str]:
    """A run in words."""
    return [
        f"{weathered.done.total()} faults: {listed(weathered.done)}",
        f"answers: {listed(weathered.answers)}; events sent again {weathered.retried}",
        f"log of {weathered.position}; streams resumed {weathered.resumed} times",
        f"last sequence {weathered.sequence} of villages, {weathered.voters_sequence} of voters",
        f"all sent in {weathered.flowed_s:.0f} s",
        f"counted, told and checked {weathered.settled_s:.0f} s later",
        "nothing lost or doubled, every tally right, no gap, repeat or step back for KPU",
    ]


def listed(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
