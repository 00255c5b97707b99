"""The registry's decisions against the slow model, which was written from the contract alone."""

import pytest

from services.registry.domain.deciding import Answer
from services.registry.domain.submissions import Arrival, arrive
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
