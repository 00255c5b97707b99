"""Folding each life once comes to what folding event by event does, and to what the slow model
counts."""

from collections import Counter
from dataclasses import replace
from datetime import date
from random import Random
from uuid import UUID

import pytest

from services.projections.domain.refold import tallies_of
from services.projections.domain.retelling import retell
from services.projections.domain.tally import counts_of, project
from shared.counts import NOTHING, Counts
from shared.events.facts import BiodataCorrected, EventRetracted, LoggedFact, ResidentRegistered
from tests.property.test_fold_against_slow_model import ELECTIONS, fact_of, model_of
from tests.support import slow_model

Deltas = list[tuple[str, str, int, Counts]]


def lives_of(facts: list[LoggedFact]) -> dict[UUID, list[LoggedFact]]:
    lives: dict[UUID, list[LoggedFact]] = {}
    for logged in facts:
        lives.setdefault(logged.resident_id, []).append(logged)
    return lives


def retold(facts: list[LoggedFact]) -> tuple[Deltas, dict[int, str]]:
    """The deltas by position, and what was stopped at, of all lives."""
    deltas: Deltas = []
    stopped: dict[int, str] = {}
    for theirs in lives_of(facts).values():
        told = retell(theirs, ELECTIONS)
        for number, village, index, counts in told.added:
            deltas.append((ELECTIONS[number].id, village, theirs[index].position, counts))
        if told.stopped_at is not None:
            stopped[theirs[told.stopped_at].position] = told.why
    return sorted(deltas), stopped


def projected(facts: list[LoggedFact]) -> tuple[Deltas, dict[int, str]]:
    done = project({}, facts, ELECTIONS)
    deltas = [(*delta.key, delta.position, delta.counts) for delta in done.deltas]
    stopped: dict[int, str] = {}
    seen: set[UUID] = set()
    for unapplied in done.unapplied:
        if unapplied.logged.resident_id not in seen:
            seen.add(unapplied.logged.resident_id)
            stopped[unapplied.logged.position] = unapplied.why
    return sorted(deltas), stopped


@pytest.mark.parametrize("seed", range(70, 85))
def test_each_life_adds_what_its_events_add_and_ends_where_the_model_has_it(seed: int) -> None:
    model = model_of(seed)
    facts = [fact_of(entry) for entry in model.log]
    assert retold(facts) == projected(facts)
    for number, election in enumerate(ELECTIONS):
        groups: Counter[tuple[str, Counts]] = Counter()
        for theirs in lives_of(facts).values():
            standing = retell(theirs, ELECTIONS).standings[number]
            if standing is not None:
                groups[(standing.village, counts_of(standing))] += 1
        said = slow_model.ELECTIONS[number]
        assert said.id == election.id
        modelled = {
            village: Counts._make(int(row[name] or 0) for name in Counts._fields)
            for village, row in model.tallies(said).items()
        }
        assert tallies_of(groups) == {v: c for v, c in modelled.items() if c != NOTHING}


@pytest.mark.parametrize("seed", range(90, 100))
def test_a_life_stops_where_a_rule_meets_what_none_foresaw(seed: int) -> None:
    chance = Random(seed)
    facts = [_spoilt(fact_of(entry), chance) for entry in model_of(seed).log]
    deltas, stopped = retold(facts)
    assert (deltas, stopped) == projected(facts)
    assert stopped


def _spoilt(logged: LoggedFact, chance: Random) -> LoggedFact:
    """Some births in a year whose anniversary no calendar has."""
    fact = logged.fact
    if isinstance(fact, ResidentRegistered | BiodataCorrected) and chance.random() < 0.3:
        return logged._replace(fact=replace(fact, birth_date=date(9999, 1, 1)))
    return logged


def test_the_histories_hold_retractions() -> None:
    facts = [fact_of(entry) for seed in range(70, 75) for entry in model_of(seed).log]
    assert any(isinstance(logged.fact, EventRetracted) for logged in facts)
