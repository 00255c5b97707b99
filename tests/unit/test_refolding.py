"""What a new definition of an election makes of the tallies that are kept, and of the history."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from services.projections.domain.refold import Row, differences_of, history_after, plus, up_to
from services.projections.domain.resident import Resident
from services.projections.domain.tally import Delta, TallyChange, project, runs_of_one_stage, sums
from shared.counts import NOTHING, Counts, VillageKey
from shared.elections import PILKADA_2024
from tests.support.facts import (
    LEMPUR_HILIR,
    LEMPUR_TENGAH,
    SIULAK_GEDANG,
    SOMEBODY,
    fact,
    moved,
    registered,
)

NOW = datetime(2024, 6, 1, 2, tzinfo=UTC)
ONE, TWO = Counts(residents=1), Counts(residents=2)


def test_each_village_goes_to_its_new_tally_by_its_next_revision() -> None:
    kept = {LEMPUR_TENGAH: Row(4, ONE), LEMPUR_HILIR: Row(7, TWO)}
    changes = differences_of("e", kept, {LEMPUR_TENGAH: TWO, SIULAK_GEDANG: ONE}, 9, NOW)
    assert list(changes) == [
        TallyChange(VillageKey("e", LEMPUR_TENGAH), 5, 9, NOW, ONE, TWO),
        TallyChange(VillageKey("e", LEMPUR_HILIR), 8, 9, NOW, TWO, NOTHING),
        TallyChange(VillageKey("e", SIULAK_GEDANG), 1, 9, NOW, NOTHING, ONE),
    ]


def test_a_tally_that_stays_is_no_change() -> None:
    assert (
        list(differences_of("e", {LEMPUR_TENGAH: Row(4, ONE)}, {LEMPUR_TENGAH: ONE}, 9, NOW)) == []
    )
    assert list(differences_of("e", {LEMPUR_TENGAH: Row(4, NOTHING)}, {}, 9, NOW)) == []


def test_no_deltas_are_one_run_of_none() -> None:
    assert list(runs_of_one_stage([], [PILKADA_2024])) == [[]]


def test_history_after_a_position_begins_with_the_next_fact_and_ends_at_the_marks() -> None:
    facts = (
        registered(),
        fact("ktp.recorded", 2),
        moved(SIULAK_GEDANG, "2024-06-01", 3),
        fact("ktp.failed", 4, reason="other"),
    )
    residents = {SOMEBODY: Resident(facts)}
    whole = project({}, facts, [PILKADA_2024]).deltas
    for position in range(5):
        for mark in range(5):
            history = history_after(residents, PILKADA_2024, position, {0: mark})
            assert history == [d for d in whole if position < d.position <= mark]


def test_a_resident_stands_at_the_mark_of_their_own_partition() -> None:
    resident = Resident((registered(), fact("ktp.recorded", 2), fact("ikd.activated", 5)))
    for mark, known in [(0, 0), (1, 1), (2, 2), (4, 2), (5, 3), (9, 3)]:
        assert up_to(UUID(int=1), resident, {0: 99, 1: mark}).facts == resident.facts[:known]
    assert up_to(UUID(int=2), resident, {0: 1, 1: 99}).facts == resident.facts[:1]


def test_who_stands_otherwise_and_counts_alike_changes_no_tally() -> None:
    facts = [registered(birth_date="2010-01-01"), fact("ktp.recorded", 2)]
    projected = project({}, facts, [PILKADA_2024])
    assert [step.logged.position for step in projected.steps] == [1, 2]
    assert [delta.position for delta in projected.deltas] == [1]


def test_deltas_added_up_are_of_the_last_of_them() -> None:
    key = VillageKey("e", LEMPUR_TENGAH)
    first, last = Delta(key, 1, NOW, ONE), Delta(key, 2, NOW + timedelta(hours=1), ONE)
    assert sums([first, last]) == {key: Delta(key, 2, NOW + timedelta(hours=1), TWO)}


def test_tallies_of_shares_add_up_village_by_village() -> None:
    tallies = {LEMPUR_TENGAH: ONE}
    plus(tallies, {LEMPUR_TENGAH: TWO, SIULAK_GEDANG: ONE})
    assert tallies == {LEMPUR_TENGAH: Counts(residents=3), SIULAK_GEDANG: ONE}
