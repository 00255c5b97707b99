"""`python -m tests.e2e.shows`: the shows that need a whole system, each on one of its own.

`histories` plays hostile histories undisturbed; `killing` kills every part, and `places` kills the
registry where commits and acknowledgements part; `rulebook` plays histories of every type while
services are killed and elections put; `broker` throws Kafka's data away in the middle of the flow;
`chaos` has everything fail at a steady rate of events.
"""

import argparse
import asyncio
import contextlib
import statistics
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path

from cli.stack import Stack
from cli.stack.supervisor import silent
from tests.e2e.broker_lost import broker
from tests.e2e.chaos import faults_in, run_chaos
from tests.e2e.chaos import told as told_of_chaos
from tests.support.differences import DifferenceFound
from tests.support.histories import ALL, FOUR
from tests.support.killing import Survived, die_everywhere, survive
from tests.support.rounds import Played, play_apart, play_mingled
from tests.support.rulebook import History, rule
from tests.support.system import System, observed


def say(line: str) -> None:
    print(line, flush=True)


async def histories(system: System, options: argparse.Namespace) -> None:
    """Every other history is mingled; those of all types are always apart."""
    types = ALL if options.types == "all" else FOUR
    outcomes: Counter[str] = Counter()
    for number in range(options.first, options.first + options.seeds):
        began = time.monotonic()
        way, played = await one_history(system, number, options.size, types)
        outcomes += played.outcomes
        say(
            f"history {number}: {options.size} events {way}, log of {len(system.ledger.log)},"
            f" all equal, {time.monotonic() - began:.1f} s"
        )
    say(f"answers: {', '.join(f'{count} {name}' for name, count in outcomes.most_common())}")


async def one_history(
    system: System, number: int, size: int, types: Sequence[str]
) -> tuple[str, Played]:
    if types is FOUR and number % 2 == 0:
        return "mingled", await play_mingled(system, number, size)
    return "apart", await play_apart(system, number, size, types)


async def killing(system: System, options: argparse.Namespace) -> None:
    """One run under kills, and what it came to."""
    survived = await survive(system, options.first, options.size, rounds=options.rounds, say=say)
    for line in told(survived):
        say(line)


async def places(system: System, options: argparse.Namespace) -> None:
    """The registry dies at every place where a commit and an acknowledgement part."""
    sent = await die_everywhere(system, options.first, options.size, rounds=options.rounds, say=say)
    say(f"{len(sent)} events, {sum(one.tries > 1 for one in sent)} of them sent more than once")


def told(survived: Survived) -> list[str]:
    away: dict[str, list[float]] = {}
    for death in survived.deaths:
        away.setdefault(death.part, []).append(death.away_s)
    return [
        f"{len(survived.sent)} events in {survived.flowed_s:.1f} s",
        f"{survived.retried} of them sent more than once; stream resumed {survived.resumed} times",
        *(
            f"{part}: killed {len(times)} times, back after {statistics.mean(times):.1f} s"
            f" (at most {max(times):.1f} s)"
            for part, times in sorted(away.items())
        ),
        f"all three services ready {survived.ready_after_s:.1f} s after the last answer",
        f"everything counted, told and checked {survived.settled_after_s:.1f} s later",
        "nothing lost, nothing doubled, no gap, and every tally equals the model's",
    ]


async def rulebook(stack: Stack, options: argparse.Namespace) -> None:
    """One history on a system of its own, so that its seed alone repeats it."""
    history = History(options.seed, options.events, options.clients, options.rounds)
    async with observed(stack) as system:
        began = time.monotonic()
        ruled = await rule(system, history, say)
    killed = Counter(death.part for death in ruled.deaths)
    say(f"  answers: {listed(ruled.answers)}")
    say(f"  changes: {listed(ruled.changes)}; streams resumed {ruled.resumed} times")
    say(
        f"history {options.seed}: {options.events} events, log of {len(system.ledger.log)},"
        f" killed {listed(killed)}, no difference, {time.monotonic() - began:.0f} s"
    )


def listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))


SHOWS: dict[str, Callable[[System, argparse.Namespace], Awaitable[None]]] = {
    "histories": histories,
    "killing": killing,
    "places": places,
    "broker": lambda system, given: broker(system, given, say),
}


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("show", choices=[*SHOWS, "rulebook", "chaos"])
    parser.add_argument("--first", type=int, default=1, help="the first seed")
    parser.add_argument("--seeds", type=int, default=20, help="how many histories")
    parser.add_argument("--size", type=int, help="events of a history")
    parser.add_argument("--types", choices=["four", "all"], default="four")
    parser.add_argument("--rounds", type=int, default=3, help="how often each part is killed")
    parser.add_argument("--seconds", type=int, default=60, help="how long events flow (broker)")
    parser.add_argument("--rate", type=int, help="events a second (chaos 1,000, broker 500)")
    chaos = parser.add_argument_group("chaos")
    chaos.add_argument("--minutes", type=float, default=10)
    book = parser.add_argument_group("rulebook")
    book.add_argument("--seed", type=int, default=1, help="of the first history, or of the faults")
    book.add_argument("--histories", type=int, default=10)
    book.add_argument("--events", type=int, default=5_000, help="of each history")
    book.add_argument("--clients", type=int, default=8, help="that send at once")
    given = parser.parse_args()
    sizes = {"histories": 2_000, "killing": 20_000, "places": 5_000}
    given.size = given.size or sizes.get(given.show)
    given.rate = given.rate or {"chaos": 1_000}.get(given.show, 500)
    return given


async def run(stack: Stack, given: argparse.Namespace) -> None:
    async with observed(stack) as system:
        await SHOWS[given.show](system, given)


@contextlib.contextmanager
def own_stack(announce: Callable[[str], None]) -> Iterator[Stack]:
    with (
        tempfile.TemporaryDirectory(prefix="cacah-show-", ignore_cleanup_errors=True) as home,
        Stack(Path(home), ports="free", announce=announce) as stack,
    ):
        yield stack


def run_rulebook(given: argparse.Namespace) -> list[str]:
    """Every history; the differences that were found, in words."""
    found = []
    for seed in range(given.seed, given.seed + given.histories):
        one = argparse.Namespace(**(vars(given) | {"seed": seed}))
        with own_stack(silent) as stack:
            try:
                asyncio.run(rulebook(stack, one))
            except* (DifferenceFound, AssertionError) as group:
                first = first_of(group)
                found.append(f"history {seed}: {str(first) or repr(first)}")
                say(f"DIFFERENCE in {found[-1]}")
                traceback.print_exception(first)
    return found


def first_of(group: BaseExceptionGroup[AssertionError]) -> BaseException:
    """The innermost of what was raised first."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


async def play_chaos(given: argparse.Namespace) -> None:
    duration_s, count = given.minutes * 60, faults_in(given.minutes)
    weathered = await run_chaos(duration_s, given.rate, given.seed, count, say)
    for line in told_of_chaos(weathered):
        say(line)


def main() -> int:
    given, began = options(), time.monotonic()
    if given.show == "rulebook":
        if found := run_rulebook(given):
            say(f"{len(found)} of {given.histories} histories differ.")
            return 1
    elif given.show == "chaos":
        asyncio.run(play_chaos(given))
    else:
        with own_stack(say) as stack:
            asyncio.run(run(stack, given))
    say(f"Show held, in {time.monotonic() - began:.0f} s.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
