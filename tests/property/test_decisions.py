"""The registry's decisions against the slow model, which was written from the contract alone."""

from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.registry.domain.deciding import Answer
from services.registry.domain.submissions import Arrival, arrive
from tests.support.builders import activated, died, recorded, registered
from tests.support.histories import ALL, FOUR, batches, generate
from tests.support.pure_registry import PureRegistry
from tests.support.slow_model import Model, Result

SEEDS = range(40)


def told(answer: Answer) -> tuple[object, ...]:
    return (
        answer.outcome.value,
        answer.position,
        tuple(sorted(answer.warnings)),
        answer.problem.type.value if answer.problem else None,
    )


def expected(result: Result) -> tuple[object, ...]:
    return (result.outcome, result.position, tuple(result.warnings), result.problem)


@pytest.mark.parametrize("types", [FOUR, ALL], ids=["four", "all"])
@pytest.mark.parametrize("seed", SEEDS)
def test_every_answer_is_the_slow_models(seed: int, types: tuple[str, ...]) -> None:
    model, registry = Model(), PureRegistry()
    for batch in batches(generate(seed, 300, types=types), seed):
        events = [
            submission.event
            for submission in batch
            if isinstance(arrive(submission.event, True, str.encode), Arrival)
        ]
        now = batch[-1].received_at
        answers = registry.submit(events, now)
        results = model.submit_batch(events, now)
        for event, answer, result in zip(events, answers, results, strict=True):
            assert told(answer) == expected(result), event
    assert [entry.submitted.type for entry in registry.log] == [
        "id.dukcapil." + entry.kind for entry in model.log
    ]


EVENING = datetime.fromisoformat("2024-06-01T23:30:00+07:00")
OTHERS = [f"150101271107{number:04}" for number in range(2, 12)]


@settings(deadline=None, max_examples=300)
@given(
    ahead_min=st.integers(25, 45) | st.integers(-1, 2_000),
    waits_min=st.lists(st.integers(0, 9), min_size=8, max_size=10),
    kinds=st.lists(st.sampled_from(["accepted", "refused", "parked"]), min_size=10, max_size=10),
)
def test_around_midnight_what_waits_moves_when_the_slow_model_says(
    ahead_min: int, waits_min: list[int], kinds: list[str]
) -> None:
    """Of somebody who died today an activation waits, by a clock that may run ahead; others'
    events come meanwhile."""
    model, registry, now = Model(), PureRegistry(), EVENING
    waiting = activated(time=(EVENING + timedelta(minutes=ahead_min)).isoformat())

    def agree(*events: dict[str, object]) -> None:
        answers, results = registry.submit(events, now), model.submit_batch(events, now)
        assert list(map(told, answers)) == list(map(expected, results))

    agree(registered(), waiting, died(on="2024-06-01"))
    for wait_min, kind, nik in zip(waits_min, kinds, OTHERS, strict=False):
        now += timedelta(minutes=wait_min)
        match kind:
            case "accepted":
                agree(registered(nik))
            case "refused":
                agree(registered(nik, village="99.99.99.9999"))
            case _:
                agree(recorded(nik))
        agree(waiting)
