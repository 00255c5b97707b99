"""The fold counts what the independent slow model counts, over hostile histories of every type."""

from typing import Any
from uuid import UUID

import orjson
import pytest

from services.projections.domain.tally import coverage, project, sums, tps_min
from shared.counts import NOTHING, Counts, VillageKey
from shared.elections import Election
from shared.events.facts import LoggedFact
from shared.events.records import LogEntry, logged_fact
from tests.support import slow_model
from tests.support.histories import generate

SUBMISSIONS = 300
ELECTIONS = [
    Election(each.id, each.polling_day, each.area, each.minimum_age, each.first_time_since)
    for each in slow_model.ELECTIONS
]


def model_of(seed: int) -> slow_model.Model:
    model = slow_model.Model()
    for submission in generate(seed, SUBMISSIONS):
        model.submit(submission.event, submission.received_at)
    return model


def fact_of(entry: slow_model.Entry) -> LoggedFact:
    event: dict[str, Any] = entry.event
    data = {name: value for name, value in event["data"].items() if name not in ("nik", "name")}
    return logged_fact(
        LogEntry(
            entry.position,
            entry.recorded_at,
            event["type"],
            1,
            event["time"],
            event["source"],
            event["id"],
            UUID(int=entry.resident),
            orjson.dumps(data).decode(),
        )
    )


def row_of(counts: Counts) -> dict[str, Any]:
    return counts._asdict() | {"coverage": coverage(counts), "tps_min": tps_min([counts])}


@pytest.mark.parametrize("seed", range(25))
def test_every_village_of_every_election_is_as_the_slow_model_says(seed: int) -> None:
    model = model_of(seed)
    projected = project({}, [fact_of(entry) for entry in model.log], ELECTIONS)
    assert not projected.unapplied
    totals = sums(projected.deltas)
    for election, said in zip(ELECTIONS, slow_model.ELECTIONS, strict=True):
        for village, expected in model.tallies(said).items():
            delta = totals.get(VillageKey(election.id, village))
            counted = row_of(delta.counts if delta else NOTHING)
            assert counted == {name: expected[name] for name in counted}, village


@pytest.mark.parametrize("seed", range(25, 35))
def test_steps_add_up_to_the_voters_of_the_slow_model(seed: int) -> None:
    model = model_of(seed)
    projected = project({}, [fact_of(entry) for entry in model.log], ELECTIONS)
    for election, said in zip(ELECTIONS, slow_model.ELECTIONS, strict=True):
        voters: dict[str, set[int]] = {}
        for step in projected.steps:
            if step.election != election.id:
                continue
            person = step.logged.resident_id.int
            if step.before is not None and step.before.is_eligible:
                voters[step.before.village].remove(person)
            if step.after is not None and step.after.is_eligible:
                voters.setdefault(step.after.village, set()).add(person)
        expected = {village: people for village, people in model.voters(said).items() if people}
        assert {village: people for village, people in voters.items() if people} == expected
