"""The voters' feed under repeats, losses and changes of the election adds up to the voters that the
independent slow model has."""

from collections.abc import Sequence
from random import Random
from uuid import UUID

import pytest

from services.notifier.domain.voters import (
    Kind,
    Place,
    ToldVoter,
    VoterChange,
    VoterKey,
    VoterRecord,
    number_voters,
)
from services.projections.domain.electorate import votes_in
from services.projections.domain.refold import Folded, Redefinition, fold_anew
from services.projections.domain.tally import project
from shared.elections import Election
from shared.events.facts import LoggedFact
from tests.property.test_fold_against_slow_model import ELECTIONS, fact_of, model_of
from tests.property.test_refold import (
    MOMENT,
    another,
    as_the_model_has_it,
    residents_of,
    voters,
)
from tests.support import slow_model


def records_of(
    facts: Sequence[LoggedFact], types: dict[int, str], election: Election, fold: int, after: int
) -> list[VoterRecord]:
    """What projections announce of the facts after a position."""
    records = []
    for step in project({}, facts, [election]).steps:
        logged = step.logged
        if logged.position <= after or votes_in(step.before) == votes_in(step.after):
            continue
        records.append(
            VoterRecord(
                VoterKey(election.id, logged.resident_id),
                Place(fold, logged.position),
                votes_in(step.after),
                types[logged.position],
                logged.position,
                logged.recorded_at,
                None,
            )
        )
    return records


def differences(
    facts: Sequence[LoggedFact], redefinition: Redefinition, fold: int
) -> list[VoterRecord]:
    """What projections announce of a change of the election."""
    folded = Folded()
    for resident_id, resident in residents_of(list(facts)).items():
        fold_anew(folded, resident_id, resident, redefinition)
    return [
        VoterRecord(
            VoterKey(redefinition.new.id, who),
            Place(fold, 0),
            village,
            "election.changed",
            len(facts),
            MOMENT,
            None,
        )
        for who, village in folded.differences.items()
    ]


def garbled(records: list[VoterRecord], chance: Random, loses: bool) -> list[VoterRecord]:
    """As a topic delivers after crashes: now and then it repeats from further back, or loses."""
    delivered: list[VoterRecord] = []
    for index, record in enumerate(records):
        if not (loses and chance.random() < 0.1):
            delivered.append(record)
        if chance.random() < 0.2:
            delivered += records[max(0, index - chance.randint(1, 5)) : index + (not loses)]
    return delivered


def feed_of(records: list[VoterRecord], chance: Random) -> list[VoterChange]:
    ends = {election.id: 0 for election in ELECTIONS}
    told: dict[VoterKey, ToldVoter] = {}
    feed: list[VoterChange] = []
    while records:
        size = chance.randint(1, 9)
        result = number_voters(ends, told, records[:size])
        ends |= result.ends
        told |= result.told
        feed += result.changes
        del records[:size]
    return feed


def added_up(feed: list[VoterChange]) -> dict[int, str]:
    """The voters that a feed makes; it must be gapless and every change begin where the last
    one of its person ended."""
    assert [change.sequence for change in feed] == list(range(1, len(feed) + 1))
    votes: dict[UUID, str] = {}
    for change in feed:
        who = change.key.voter
        assert change.from_village == votes.pop(who, None)
        if change.to_village is not None:
            votes[who] = change.to_village
        kinds = {(True, False): Kind.ADDED, (False, True): Kind.REMOVED, (False, False): Kind.MOVED}
        assert change.kind is kinds[change.from_village is None, change.to_village is None]
    return {who.int: village for who, village in votes.items()}


def types_in(model: slow_model.Model) -> dict[int, str]:
    return {entry.position: entry.event["type"] for entry in model.log}


@pytest.mark.parametrize("seed", range(80, 86))
def test_each_change_is_the_models(seed: int) -> None:
    model, chance = model_of(seed), Random(seed)
    facts = [fact_of(entry) for entry in model.log]
    for election in ELECTIONS:
        records = records_of(facts, types_in(model), election, fold=0, after=0)
        feed = feed_of(garbled(records, chance, loses=False), chance)
        assert [
            (c.position, c.key.voter.int, c.kind, c.from_village, c.to_village, c.reason)
            for c in feed
        ] == [
            (c.position, c.resident, c.kind, c.from_village, c.to_village, c.reason)
            for c in model.voter_changes(as_the_model_has_it(election))
        ]


@pytest.mark.parametrize("seed", range(86, 92))
def test_with_the_election_changed_in_the_middle_it_adds_up_to_the_models_voters(seed: int) -> None:
    model, chance = model_of(seed), Random(seed)
    facts, types = [fact_of(entry) for entry in model.log], types_in(model)
    election, records, before = ELECTIONS[0], [], 0
    for fold in range(4):
        after = chance.randint(before, len(facts)) if fold < 3 else len(facts)
        records += records_of(facts[:after], types, election, fold, before)
        changed = another(chance, election) if fold < 3 else election
        records += differences(facts[:after], Redefinition(changed, election), fold + 1)
        election, before = changed, after
    feed = feed_of(garbled(list(records), chance, loses=False), chance)
    assert added_up(feed) == voters(model, election)
    added_up(feed_of(garbled(records, chance, loses=True), chance))
