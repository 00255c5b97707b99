"""Folding an election anew comes to what the slow model counts, whenever it is put and however
the log goes on meanwhile."""

from dataclasses import replace
from datetime import UTC, date, datetime
from random import Random
from uuid import UUID

import pytest

from services.projections.domain.electorate import votes_in
from services.projections.domain.refold import (
    Folded,
    Marks,
    Redefinition,
    Row,
    catch_up,
    differences_of,
    fold_anew,
    history_after,
    tallies_of,
    up_to,
)
from services.projections.domain.resident import Resident
from services.projections.domain.tally import added, project, sums
from shared.counts import NOTHING, Counts
from shared.elections import Election
from shared.events.facts import LoggedFact
from shared.events.records import partition_of
from tests.property.test_fold_against_slow_model import ELECTIONS, fact_of, model_of
from tests.support import slow_model

PARTITIONS = 12
MOMENT = datetime(2026, 1, 1, tzinfo=UTC)
OTHER_DAYS = (date(2023, 6, 1), date(2024, 11, 28), date(2025, 11, 27), date(2026, 2, 28))
OTHER_AREAS = ("15.01", "15", "15.01.16", "15.01.01.2001", "ID")


def another(chance: Random, election: Election) -> Election:
    return replace(
        election,
        polling_day=chance.choice(OTHER_DAYS),
        area=chance.choice(OTHER_AREAS),
        minimum_age=chance.choice([16, 17, 21]),
    )


def as_the_model_has_it(election: Election) -> slow_model.Election:
    return slow_model.Election(
        election.id,
        election.polling_day,
        election.area,
        election.minimum_age,
        election.first_time_since,
    )


def residents_of(facts: list[LoggedFact]) -> dict[UUID, Resident]:
    known: dict[UUID, list[LoggedFact]] = {}
    for logged in facts:
        known.setdefault(logged.resident_id, []).append(logged)
    return {resident_id: Resident(tuple(theirs)) for resident_id, theirs in known.items()}


def marks_before(facts: list[LoggedFact], position: int, chance: Random) -> Marks:
    """Marks at which partitions are apart from each other, some of them up to a position."""
    return {p: max(0, position - chance.choice([0, 0, 5, 40])) for p in range(PARTITIONS)}


def modelled(model: slow_model.Model, election: Election) -> dict[str, Counts]:
    said = model.tallies(as_the_model_has_it(election))
    tallies = {
        village: Counts._make(int(row[name] or 0) for name in Counts._fields)
        for village, row in said.items()
    }
    return {village: tally for village, tally in tallies.items() if tally != NOTHING}


def plus(tallies: dict[str, Counts], more: dict[str, Counts]) -> dict[str, Counts]:
    total = dict(tallies)
    for village, counts in more.items():
        total[village] = added(total.get(village, NOTHING), counts)
    return {village: counts for village, counts in total.items() if counts != NOTHING}


@pytest.mark.parametrize("seed", range(40, 47))
def test_folded_at_some_marks_and_caught_up_it_is_what_the_model_counts(seed: int) -> None:
    chance = Random(seed)
    model = model_of(seed)
    facts = [fact_of(entry) for entry in model.log]
    residents = residents_of(facts)
    end = {partition: len(facts) for partition in range(PARTITIONS)}
    for old in [None, *ELECTIONS]:
        new = another(chance, old or ELECTIONS[0])
        redefinition = Redefinition(new, old)
        folded = Folded()
        marks = marks_before(facts, chance.randint(0, len(facts)), chance)
        for resident_id, resident in residents.items():
            fold_anew(folded, resident_id, up_to(resident_id, resident, marks), redefinition)
        caught_up = catch_up(residents, redefinition, marks, end)
        tallies = plus(tallies_of(folded.groups), caught_up.tallies)
        assert tallies == modelled(model, new)
        for resident_id in caught_up.touched:
            folded.differences.pop(resident_id, None)
        assert not folded.differences.keys() & caught_up.differences.keys()
        assert_they_make_the_old_voters_the_new(
            model, redefinition, folded.differences | caught_up.differences
        )


def assert_they_make_the_old_voters_the_new(
    model: slow_model.Model, redefinition: Redefinition, differences: dict[UUID, str | None]
) -> None:
    before = voters(model, redefinition.old)
    after = voters(model, redefinition.new)
    assert all(before.get(who.int) != village for who, village in differences.items())
    changed = before | {who.int: village for who, village in differences.items()}
    assert {who: village for who, village in changed.items() if village is not None} == after


def voters(model: slow_model.Model, election: Election | None) -> dict[int, str | None]:
    if election is None:
        return {}
    said = model.voters(as_the_model_has_it(election))
    return {who: village for village, people in said.items() for who in people}


@pytest.mark.parametrize("seed", range(60, 65))
def test_what_comes_after_a_switch_goes_on_from_it(seed: int) -> None:
    """The switch, with partitions apart; then the rest of the log; the sums are the model's."""
    chance = Random(seed)
    model = model_of(seed)
    facts = [fact_of(entry) for entry in model.log]
    old, new = ELECTIONS[0], another(chance, ELECTIONS[0])
    marks = marks_before(facts, chance.randint(0, len(facts)), chance)
    early = [each for each in facts if each.position <= mark_of(each, marks)]
    late = [each for each in facts if each.position > mark_of(each, marks)]
    folded = Folded()
    for resident_id, resident in residents_of(early).items():
        fold_anew(folded, resident_id, resident, Redefinition(new, old))
    switched = tallies_of(folded.groups)
    later = project(residents_of(early), late, [new])
    more = {key.village: delta.counts for key, delta in sums(later.deltas).items()}
    assert plus(switched, more) == modelled(model, new)
    cut = min(marks.values())
    history = history_after(residents_of(facts), new, cut, marks)
    for delta in history:
        assert cut < delta.position <= mark_of(facts[delta.position - 1], marks)
    whole = project({}, facts, [new]).deltas
    kept = {(delta.position, delta.key) for delta in [*history, *later.deltas]}
    assert kept == {(delta.position, delta.key) for delta in whole if delta.position > cut}


def mark_of(logged: LoggedFact, marks: Marks) -> int:
    return marks[partition_of(logged.resident_id, PARTITIONS)]


@pytest.mark.parametrize("seed", range(70, 73))
def test_the_changes_said_take_the_old_tallies_to_the_new(seed: int) -> None:
    chance = Random(seed)
    model = model_of(seed)
    old, new = ELECTIONS[0], another(chance, ELECTIONS[0])
    before, after = modelled(model, old), modelled(model, new)
    kept = {village: Row(chance.randint(1, 9), counts) for village, counts in before.items()}
    changes = list(differences_of("x", kept, after, 7, MOMENT))
    assert [change.key.village for change in changes] == sorted(
        village
        for village in before.keys() | after.keys()
        if before.get(village, NOTHING) != after.get(village, NOTHING)
    )
    for change in changes:
        row = kept.get(change.key.village, Row(0, NOTHING))
        assert (change.before, change.revision) == (row.counts, row.revision + 1)
        assert change.after == after.get(change.key.village, NOTHING)
        assert (change.position, change.recorded_at) == (7, MOMENT)


def test_nobody_votes_in_no_village() -> None:
    assert votes_in(None) is None
