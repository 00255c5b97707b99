"""`python -m tests.e2e.shows`: Shows 2 and 3 at their full size, each on a system of its own.

`histories` is Show 2; `killing` is Show 3, and `places` its part of commits and acknowledgements;
`broker` throws Kafka's data away in the middle of the flow.
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from cli.stack import Stack
from tests.e2e.broker_lost import broker
from tests.support.histories import ALL, FOUR
from tests.support.killing import Survived, die_everywhere, survive
from tests.support.rounds import Played, play_apart, play_mingled
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


SHOWS: dict[str, Callable[[System, argparse.Namespace], Awaitable[None]]] = {
    "histories": histories,
    "killing": killing,
    "places": places,
    "broker": lambda system, given: broker(system, given, say),
}


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("show", choices=SHOWS)
    parser.add_argument("--first", type=int, default=1, help="the first seed")
    parser.add_argument("--seeds", type=int, default=20, help="how many histories")
    parser.add_argument("--size", type=int, help="events of a history")
    parser.add_argument("--types", choices=["four", "all"], default="four")
    parser.add_argument("--rounds", type=int, default=3, help="how often each part is killed")
    parser.add_argument("--seconds", type=int, default=60, help="how long events flow")
    parser.add_argument("--rate", type=int, default=500, help="events a second")
    given = parser.parse_args()
    sizes = {"histories": 2_000, "killing": 20_000, "places": 5_000}
    given.size = given.size or sizes.get(given.show)
    return given


async def run(stack: Stack, given: argparse.Namespace) -> None:
    async with observed(stack) as system:
        await SHOWS[given.show](system, given)


def main() -> int:
    given, began = options(), time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="cacah-show-", ignore_cleanup_errors=True) as home,
        Stack(Path(home), ports="free", announce=say) as stack,
    ):
        asyncio.run(run(stack, given))
    say(f"Show held, in {time.monotonic() - began:.0f} s.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
