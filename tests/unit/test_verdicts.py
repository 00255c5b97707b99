"""The checks of the rulebook's show notice what they are there to notice."""

from datetime import UTC, datetime
from typing import Any

import pytest

from tests.support.builders import recorded, registered
from tests.support.differences import DifferenceFound
from tests.support.driving import Answer, Sent
from tests.support.feeds import Moment, fits
from tests.support.histories import Event
from tests.support.listening import Listener
from tests.support.slow_model import Model, Result
from tests.support.verdicts import Claim, check_answers, check_order, decide_again

NOW = datetime(2025, 1, 1, tzinfo=UTC)
ACCEPTED = Answer("accepted", 1)
HERE, THERE = "15.01.01.1004", "15.01.16.2001"


def sent(event: Event, answer: Answer = ACCEPTED, began: float = 1, ended: float = 2) -> Sent:
    return Sent(event, answer, began, ended, NOW, 1)


def claim(event: Event, arrival: int, result: Result, first: str = "accepted") -> Claim:
    return Claim(arrival, NOW, (event["source"], event["id"]), first, result)


def test_the_models_own_answers_agree() -> None:
    born, photo = registered(), recorded()
    claims = [
        claim(photo, 1, Result("accepted", 2), first="parked"),
        claim(born, 2, Result("accepted", 1)),
    ]
    answers = [sent(photo, Answer("parked")), sent(born)]
    decided = decide_again(claims, answers, Model())
    check_answers(answers, decided)
    check_answers([sent(photo, Answer("duplicate", 2, first="parked"))], decided)


@pytest.mark.parametrize(
    "wrong",
    [
        Answer("accepted", 2),
        Answer("parked"),
        Answer("accepted", 1, ("nik-mismatch",)),
        Answer("duplicate", 1, first="parked"),
        Answer("rejected", problem="already-registered"),
    ],
)
def test_a_wrong_answer_is_a_difference(wrong: Answer) -> None:
    born = registered()
    decided = decide_again([claim(born, 1, Result("accepted", 1))], [sent(born)], Model())
    with pytest.raises(DifferenceFound):
        check_answers([sent(born, wrong)], decided)


def test_what_is_decided_twice_or_lost_or_decided_otherwise_is_a_difference() -> None:
    born = registered()
    kept = claim(born, 1, Result("accepted", 1))
    decided = decide_again([kept], [sent(born)], Model())
    with pytest.raises(DifferenceFound, match="decided twice"):
        check_answers([sent(born), sent(born)], decided)
    with pytest.raises(DifferenceFound, match="lost without a trace"):
        decide_again([], [sent(born)], Model())
    with pytest.raises(DifferenceFound, match="what came of"):
        decide_again([claim(born, 1, Result("accepted", 2))], [sent(born)], Model())


def test_an_order_that_cannot_have_been_is_a_difference() -> None:
    first, second = registered(), recorded()
    one, other = claim(first, 1, Result("accepted", 1)), claim(second, 2, Result("accepted", 2))
    late = [sent(first, began=1, ended=2), sent(second, began=3, ended=4)]
    check_order(late, [one, other])
    with pytest.raises(DifferenceFound, match="before what was decided"):
        check_order(late, [other, one])
    together = [sent(first), sent(second)]
    check_order(together, [one, other])
    swapped = [claim(second, 1, one.result), claim(first, 2, other.result)]
    with pytest.raises(DifferenceFound, match="out of order"):
        check_order(together, swapped)


def change(kind: str, start: str | None, end: str | None, reason: str, at: int) -> dict[str, Any]:
    return {
        "kind": kind,
        "from_village": start,
        "to_village": end,
        "reason": reason,
        "position": at,
    }


LIFE: list[Moment] = [
    (0, "", (None, None)),
    (4, "resident.registered", (HERE, None)),
    (7, "resident.relocated", (THERE, THERE)),
]
REGISTERED = change("added", None, HERE, "resident.registered", 4)
MOVED = change("moved", HERE, THERE, "resident.relocated", 7)


@pytest.mark.parametrize(
    "told",
    [
        [REGISTERED, MOVED],
        [change("added", None, THERE, "resident.relocated", 7)],
        [
            REGISTERED,
            change("removed", HERE, None, "election.changed", 5),
            change("added", None, THERE, "resident.relocated", 7),
        ],
    ],
)
def test_a_definition_may_give_way_at_any_moment_of_a_life(told: list[dict[str, Any]]) -> None:
    assert fits(told, LIFE)


@pytest.mark.parametrize(
    "told",
    [
        [],
        [REGISTERED],
        [REGISTERED, MOVED | {"position": 6}],
        [REGISTERED, MOVED | {"reason": "election.changed"}],
        [REGISTERED, MOVED, MOVED],
        [MOVED],
    ],
)
def test_what_no_life_tells_does_not_fit(told: list[dict[str, Any]]) -> None:
    assert not fits(told, LIFE)


@pytest.mark.parametrize("next_one", [1, 3, 0])
def test_a_listener_notices_a_repeat_a_gap_and_a_step_back(next_one: int) -> None:
    listener = Listener("pilkada-2024")
    listener.see(1, {"sequence": 1})
    with pytest.raises(DifferenceFound):
        listener.see(next_one, {"sequence": next_one})
