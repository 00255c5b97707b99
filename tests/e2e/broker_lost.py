"""The show `broker`: Kafka's data are thrown away in the middle of the flow, and all is whole."""

import argparse
from collections.abc import Callable

from tests.support.broker_lost import HEALED_WITHIN_S, lose_broker
from tests.support.system import System


async def broker(system: System, options: argparse.Namespace, say: Callable[[str], None]) -> None:
    """So many seconds at so many events a second; and what it came to."""
    size = options.seconds * options.rate
    found = await lose_broker(system, options.first, size, options.rate, say)
    retried = sum(one.tries > 1 for one in found.sent)
    say(f"{len(found.sent)} events, asked for at {options.rate} a second, {retried} sent again")
    say(f"the slowest answer of the registry took {found.slowest_answer_s:.2f} s")
    say(f"the broker was away for {found.away_s:.1f} s, and healing took {found.healed_s:.1f} s")
    say(f"from its return, of the {HEALED_WITHIN_S:.0f} s that were allowed")
    say("nothing lost, nothing doubled: the tallies and both feeds equal the model's")
