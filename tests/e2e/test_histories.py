"""The contract over plain HTTP, by hostile histories, against the slow model (Show 2).

A history is sent by eight clients at once, some events one by one, some in batches. In which
order they are decided is then not known from the sending, so it is done in two ways:

- *apart*: residents, and sources and ids, are divided between the clients, each keeping the order
  of the history. What is decided about one client's events cannot depend on another's, so a slow
  model of each client's lane alone foretells every answer; only positions are looked up in the log.
- *mingled*: all clients draw from one queue and race for the same residents and identities. The
  log gives the order of what was accepted. What was refused or parked must have been right at
  some moment between the request and its answer.

In both, the log replayed into a model of the whole system gives every tally, the sum of every
feed, and so on (`tests.support.checking`); a reader of the log and a client of the stream watch
meanwhile; and at the end everything is sent once more, which must change nothing and tells what
has become of each event. `python -m tests.e2e.shows histories` does it at full size.
"""

import pytest

from tests.support.builders import recorded, registered
from tests.support.driving import Answer, Parcel, post
from tests.support.histories import ALL
from tests.support.rounds import play_apart, play_mingled
from tests.support.system import System

SIZE = 300


@pytest.mark.parametrize("seed", [1, 2])
async def test_clients_that_share_nothing_get_every_answer_that_the_model_foretells(
    system: System, seed: int
) -> None:
    played = await play_apart(system, seed, SIZE)
    assert {"accepted", "parked", "duplicate", "invalid", "id-reused"} <= played.outcomes.keys()


async def test_every_type_of_event_is_decided_and_counted(system: System) -> None:
    await play_apart(system, 3, SIZE, ALL)


@pytest.mark.parametrize("seed", [4])
async def test_clients_that_race_get_answers_that_were_right_at_some_moment(
    system: System, seed: int
) -> None:
    played = await play_mingled(system, seed, SIZE)
    assert {"accepted", "parked", "duplicate", "invalid", "id-reused"} <= played.outcomes.keys()


async def test_a_refusal_of_what_waited_is_repeated_without_the_warning_it_waited_with(
    system: System,
) -> None:
    nik = "1999982711240001"
    early, born = recorded(nik, time="2999-01-01T00:00:00Z"), registered(nik)
    born["data"]["birth_date"] = "2024-11-27"
    system.ledger.note([early, born])
    answers = [
        (await post(system.registry, Parcel([event], single=True)))[0].answer
        for event in (early, born, early)
    ]
    assert answers[0] == Answer("parked", warnings=("clock-ahead",))
    assert answers[1].outcome == "accepted"
    assert answers[2] == Answer("duplicate", problem="too-young", first="parked")
