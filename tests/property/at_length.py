"""Holds the pure cores against the slow model over as many generated histories as one has time for.

`python -m tests.property.at_length --histories 20000` goes through seeds 1 to 20000, a history of
1 to 300 submissions each; `--seed N --events 1000000` goes on from seed N for a million
submissions. A difference is shrunk to the smallest history that still has it, and kept as JSON to
be replayed for ever, see `tests/golden/histories`.
"""

import argparse
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from tests.support.histories import Submission, smallest
from tests.support.kept_histories import KEPT, write
from tests.support.pure_system import difference, history_of

SEEDS_AT_ONCE = 20
PROGRESS_EVERY_S = 10.0


@dataclass(frozen=True)
class Checked:
    """A history that was gone through: its size, and what differed."""

    seed: int
    size: int
    difference: str | None


def check(seed: int) -> Checked:
    """Go through the history of a seed."""
    history = history_of(seed)
    return Checked(seed, len(history), difference(history))


def check_many(seeds: range) -> list[Checked]:
    """Go through the histories of some seeds."""
    return [check(seed) for seed in seeds]


def checked(first: int, jobs: int) -> Iterator[Checked]:
    """Go through all histories from a seed on, in the order of their seeds, without an end."""
    runs = (range(begin, begin + SEEDS_AT_ONCE) for begin in count(first, SEEDS_AT_ONCE))
    if jobs == 1:
        for run in runs:
            yield from map(check, run)
    with ProcessPoolExecutor(jobs) as pool:
        ahead = [pool.submit(check_many, next(runs)) for _ in range(2 * jobs)]
        try:
            while True:
                yield from ahead.pop(0).result()
                ahead.append(pool.submit(check_many, next(runs)))
        finally:
            for run_ahead in ahead:
                run_ahead.cancel()


def go(first: int, histories: int | None, events: int | None, jobs: int) -> int:
    """Go through histories until there are so many of them, or of their events. The exit code."""
    begun = told_at = time.monotonic()
    total = 0
    for number, each in enumerate(checked(first, jobs), 1):
        total += each.size
        if each.difference is not None:
            return report(each)
        done = (histories is not None and number >= histories) or (
            events is not None and total >= events
        )
        if done or time.monotonic() - told_at > PROGRESS_EVERY_S:
            told_at = time.monotonic()
            rate = total / (told_at - begun)
            print(
                f"{number:,} histories of {total:,} submissions, seeds {first} to {each.seed}:"
                f" no difference; {rate:,.0f} submissions/s, {told_at - begun:,.0f} s",
                flush=True,
            )
        if done:
            return 0
    raise AssertionError("histories have no end")


def report(failed: Checked) -> int:
    """Show a difference by the smallest history that has it, and keep that. The exit code."""
    print(f"\nSeed {failed.seed}: the services differ from the slow model.", flush=True)
    small = smallest(history_of(failed.seed), lambda history: difference(history) is not None)
    show(small)
    path = KEPT / f"seed-{failed.seed}.json"
    print(f"\n{difference(small)}\n")
    write(path, f"found by at_length with seed {failed.seed}", small)
    relative = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
    print(f"Kept as {relative}; pytest tests/property/test_kept_histories.py replays it.")
    print(f"The whole: python -m tests.property.at_length --seed {failed.seed} --histories 1")
    return 1


def show(history: list[Submission]) -> None:
    """Print a history for a person to read."""
    for submission in history:
        event = submission.event
        kind = str(event.get("type")).removeprefix("id.dukcapil.")
        print(f"  {submission.received_at:%Y-%m-%d %H:%M:%S.%f} {kind} ({submission.note})")
        print(f"    {event.get('source')} {event.get('id')} at {event.get('time')}")
        print(f"    {event.get('data')}")


def main() -> int:
    """Read the arguments and go. The exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.property.at_length", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="the first seed (1)")
    parser.add_argument("--histories", type=int, help="how many histories (20,000)")
    parser.add_argument("--events", type=int, help="or until there were so many submissions")
    parser.add_argument("--jobs", type=int, default=2, help="processes (2)")
    args = parser.parse_args()
    histories = 20_000 if args.histories is None and args.events is None else args.histories
    return go(args.seed, histories, args.events, args.jobs)


if __name__ == "__main__":
    sys.exit(main())
