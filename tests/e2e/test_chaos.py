"""A minute of everything failing: `python -m tests.e2e.shows chaos` does ten (issue 6, Show 1)."""

from tests.e2e.chaos import run_chaos

SEED = 125
FAULTS = 12


async def test_nothing_is_lost_or_doubled_whatever_fails() -> None:
    weathered = await run_chaos(40, rate=150, seed=SEED, count=FAULTS, say=print)
    assert weathered.done.total() == FAULTS
    assert weathered.resumed > 0
    assert weathered.retried > 0
