"""`kill -9` of every part while events flow: nothing is lost, nothing doubled (Show 3).

The clients share nothing, so that what must become of every event is known; what gets no answer
they send again with the same ids. `python -m tests.e2e.shows killing` does it at full size.
"""

from tests.support.killing import KILLABLE, die_everywhere, survive
from tests.support.system import System

SIZE = 3_000
SINGLES = 1_600


async def test_every_part_may_be_killed_while_events_flow(system: System) -> None:
    survived = await survive(system, seed=11, size=SIZE)
    assert {death.part for death in survived.deaths} == set(KILLABLE)
    assert survived.retried > 0
    parts = ", ".join(f"{death.part} {death.away_s:.1f} s" for death in survived.deaths)
    print(f"{SIZE} events in {survived.flowed_s:.1f} s; away: {parts}")


async def test_the_registry_may_die_wherever_a_commit_and_an_acknowledgement_part(
    system: System,
) -> None:
    sent = await die_everywhere(system, seed=12, size=SINGLES)
    assert any(one.tries > 1 for one in sent)
