"""The notifier and `cacah follow` killed while events flow: everybody ends with the whole feed.

`python -m tests.e2e.following` does it at full size (issue 7, Show 4).
"""

import asyncio
import random
from collections.abc import Sequence

from tests.support.driving import CLIENTS, Sent
from tests.support.following import Killer, follow_through
from tests.support.killing import play_patiently
from tests.support.rounds import history, lanes_apart
from tests.support.system import System

SEED = 41
SIZE = 700
EVENTS_PER_S = 100
KILLS = 2
NOTIFIER_LIVES_S = (0.1, 1.0)
FOLLOWER_LIVES_S = (0.5, 2.0)


async def test_everybody_ends_with_the_whole_feed_whoever_is_killed(system: System) -> None:
    events = history(SEED, SIZE)
    system.ledger.note(events)
    killer = Killer(
        system.stack, random.Random(SEED), KILLS, NOTIFIER_LIVES_S, print, while_numbering=0.0
    )

    async def heard(sent: Sequence[Sent]) -> None:
        await asyncio.sleep(len(sent) * CLIENTS / EVENTS_PER_S)

    async def flow(_: asyncio.Event) -> None:
        await play_patiently(system, lanes_apart(events, SEED), heard)

    followed = await follow_through(system, killer, flow, FOLLOWER_LIVES_S)
    assert followed.kills == KILLS
    assert followed.under_load > 0
    assert followed.numbering > 0
    assert followed.followers_killed > 0
    assert followed.resumed > 0
