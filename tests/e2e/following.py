"""`python -m tests.e2e.following`: issue 7's Show 4, the notifier killed 50 times under load.

Meanwhile two clients listen, a receiver takes webhooks, and `cacah follow`, itself killed now and
then, takes the feed over into PostgreSQL and into a file.
"""

import argparse
import asyncio
import os
import random
import sys
import time

from cli.stack import Stack
from cli.stack.supervisor import silent
from tests.e2e.shows import own_stack, say
from tests.support.following import Followed, Killer, follow_through
from tests.support.steady import Steady, size_for
from tests.support.system import observed

ALLOW_LOOPBACK = {"CACAH_WEBHOOK_ALLOWED_NETWORKS": "127.0.0.0/8"}
NOTIFIER_LIVES_S = (0.1, 2.0)
# More than any kill takes: the events must not run out before the kills.
SECONDS_PER_KILL = 20


async def run(stack: Stack, given: argparse.Namespace) -> Followed:
    killer = Killer(stack, random.Random(given.seed), given.kills, NOTIFIER_LIVES_S, say)
    number = given.rate * given.kills * SECONDS_PER_KILL
    steady = Steady(size_for(number, given.seed), given.seed, given.rate)

    async def flow(over: asyncio.Event) -> None:
        sending = asyncio.ensure_future(steady.run(stack.urls["registry"], stack.operator_token))
        waiting = asyncio.ensure_future(over.wait())
        await asyncio.wait({sending, waiting}, return_when=asyncio.FIRST_COMPLETED)
        ended = sending.done()
        for task in (sending, waiting):
            task.cancel()
        await asyncio.gather(sending, waiting, return_exceptions=True)
        if ended:
            sending.result()

    async with observed(stack) as system:
        return await follow_through(system, killer, flow)


def told(followed: Followed) -> list[str]:
    """A run in words."""
    return [
        f"{followed.kills} kills in {followed.flowed_s:.0f} s, {followed.under_load} under load",
        f"{followed.numbering} of them while changes were being numbered",
        f"cacah follow killed {followed.followers_killed} times",
        f"log of {followed.position}; streams resumed {followed.resumed} times",
        f"last sequence {followed.sequence} of villages, {followed.voters_sequence} of voters",
        f"{followed.requests} webhooks received for {followed.sequence} changes",
        f"everybody had everything {followed.settled_s:.0f} s later",
        "every sequence once, and sums that are the tallies of projections",
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--rate", type=int, default=200, help="events a second")
    parser.add_argument("--seed", type=int, default=1)
    given, began = parser.parse_args(), time.monotonic()
    os.environ.update(ALLOW_LOOPBACK)
    say(f"seed {given.seed}: {given.kills} kills at {given.rate} events a second")
    with own_stack(silent) as stack:
        followed = asyncio.run(run(stack, given))
    for line in told(followed):
        say(line)
    if followed.under_load < followed.kills:
        say("Show not held: the events ran out before the kills.")
        return 1
    say(f"Show held, in {time.monotonic() - began:.0f} s.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
