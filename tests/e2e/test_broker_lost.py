"""Kafka's data are thrown away while events flow: within a minute all is whole again, by itself.

`python -m tests.e2e.shows broker --seconds 60 --rate 500` does it at full size.
"""

from tests.support.broker_lost import lose_broker
from tests.support.system import System

SIZE = 3_000
RATE = 500


async def test_the_broker_may_lose_everything_while_events_flow(system: System) -> None:
    found = await lose_broker(system, seed=21, size=SIZE, rate=RATE)
    assert all(one.tries == 1 for one in found.sent), "the registry refused events meanwhile"
    print(f"away {found.away_s:.1f} s, healed {found.healed_s:.1f} s after")
