"""What a resident adds to a tally, and what an event changes: contract section 4."""

from datetime import UTC, datetime
from uuid import UUID

import pytest

from services.projections.domain.electorate import VoterClass, standing_for
from services.projections.domain.resident import UNKNOWN, Resident, evolve
from services.projections.domain.tally import (
    AN_EARLIER_ONE_WAITS,
    Delta,
    added,
    counts_of,
    coverage,
    is_untouched,
    project,
    runs_of_one_stage,
    subtracted,
    summed,
    sums,
    tps_min,
)
from shared.counts import NOTHING, Counts, VillageKey
from shared.elections import PILKADA_2024
from shared.events.facts import LoggedFact
from shared.events.records import logged_fact
from tests.support.facts import (
    JAKARTA,
    LEMPUR_TENGAH,
    SIULAK_GEDANG,
    SOMEBODY,
    entry,
    fact,
    moved,
    registered,
    registration,
)

LEMPUR = VillageKey("pilkada-2024", LEMPUR_TENGAH)
SIULAK = VillageKey("pilkada-2024", SIULAK_GEDANG)
MAN = Counts(residents=1, eligible=1, eligible_male=1, eligible_unrecorded=1)
RECORDED_MAN = Counts(residents=1, eligible=1, eligible_male=1, eligible_recorded=1)
NEWLY_RECORDED = Counts(eligible_recorded=1, eligible_unrecorded=-1)


def adds(*facts: LoggedFact) -> Counts:
    return counts_of(standing_for(Resident(facts), PILKADA_2024))


def test_a_man_who_is_not_recorded() -> None:
    assert adds(registered()) == MAN


def test_a_recorded_woman_who_votes_for_the_first_time() -> None:
    facts = registered(sex="P", birth_date="2007-11-27"), fact("ktp.recorded")
    assert adds(*facts) == Counts(
        residents=1, eligible=1, eligible_female=1, eligible_recorded=1, first_time=1
    )


def test_a_pupil_of_16_is_under_age_and_nothing_else() -> None:
    facts = registered(birth_date="2008-01-01"), fact("ktp.recorded")
    assert adds(*facts) == Counts(residents=1, under_age=1)


def test_a_married_pupil_of_16_votes_for_the_first_time() -> None:
    assert adds(registered(birth_date="2008-01-01", marital_status="S")) == added(
        MAN, Counts(first_time=1, first_time_unrecorded=1)
    )


@pytest.mark.parametrize("service", ["tni", "polri"])
def test_who_serves_is_a_resident_with_an_identity_all_the_same(service: str) -> None:
    facts = registered(service=service), fact("ikd.activated")
    assert adds(*facts) == Counts(residents=1, ikd_active=1)._replace(**{service: 1})


def test_relocating_and_rights_revoked() -> None:
    facts = (
        registered(),
        fact("relocation.started", 2, letter_no="1"),
        fact("rights.revoked", 3, effective_date="2024-01-01", verdict_no="1"),
    )
    assert adds(*facts) == Counts(residents=1, relocating=1, rights_revoked=1)


def test_nobody_adds_nothing() -> None:
    assert counts_of(None) == NOTHING


def test_a_district_is_the_sum_of_its_villages() -> None:
    assert summed([MAN, RECORDED_MAN]) == added(MAN, RECORDED_MAN)
    assert summed([]) == NOTHING
    assert subtracted(added(MAN, RECORDED_MAN), MAN) == RECORDED_MAN


def test_coverage_is_none_where_nobody_is_eligible() -> None:
    assert coverage(NOTHING) is None
    assert coverage(summed([MAN, RECORDED_MAN])) == 0.5


def test_a_village_is_untouched_while_none_of_its_eligible_is_recorded() -> None:
    assert is_untouched(MAN)
    assert not is_untouched(NOTHING)
    assert not is_untouched(summed([MAN, RECORDED_MAN]))


@pytest.mark.parametrize(("eligible", "stations"), [(0, 0), (1, 1), (600, 1), (601, 2)])
def test_a_polling_station_takes_600_voters(eligible: int, stations: int) -> None:
    assert tps_min([Counts(eligible=eligible)]) == stations


def test_villages_do_not_share_a_polling_station() -> None:
    assert tps_min([Counts(eligible=1), Counts(eligible=1)]) == 2


def test_an_event_changes_the_village_by_what_it_alone_adds() -> None:
    known = {SOMEBODY: evolve(UNKNOWN, registered())}
    recorded = fact("ktp.recorded")
    projected = project(known, [recorded], [PILKADA_2024])
    assert projected.deltas == [Delta(LEMPUR, 2, recorded.recorded_at, NEWLY_RECORDED)]


def test_a_move_takes_from_one_village_and_gives_to_the_other() -> None:
    events = [registered(), moved(SIULAK_GEDANG, "2024-06-01")]
    projected = project({}, events, [PILKADA_2024])
    assert [(d.key, d.position, d.counts) for d in projected.deltas] == [
        (LEMPUR, 1, MAN),
        (LEMPUR, 2, subtracted(NOTHING, MAN)),
        (SIULAK, 2, MAN),
    ]
    totals = sums(projected.deltas)
    assert (totals[LEMPUR].counts, totals[LEMPUR].position) == (NOTHING, 2)
    assert (totals[SIULAK].counts, totals[SIULAK].position) == (MAN, 2)


def test_a_step_says_how_the_resident_stood_before_and_stands_after() -> None:
    events = [registered(), moved(JAKARTA, "2024-06-01"), fact("ktp.recorded", 3)]
    came, left = project({}, events, [PILKADA_2024]).steps
    assert came.before is None
    assert came.after is not None
    assert came.after.voter_class is VoterClass.ELIGIBLE
    assert (left.logged, left.before, left.after) == (events[1], came.after, None)


def test_a_second_recording_changes_nothing() -> None:
    events = [registered(), fact("ktp.recorded", 2), fact("ktp.recorded", 3)]
    assert [delta.position for delta in project({}, events, [PILKADA_2024]).deltas] == [1, 2]


def test_an_event_that_no_rule_can_apply_holds_back_those_after_it_of_the_same_resident() -> None:
    somebody_else = UUID(int=2)
    events = [
        registered(),
        fact("biodata.corrected", 2, reason="r", birth_date="9990-01-01"),
        fact("ktp.recorded", 3),
        logged_fact(registration(4, somebody_else)),
        logged_fact(entry("ktp.recorded", 5, somebody_else)),
    ]
    projected = project({}, events, [PILKADA_2024])
    assert [(item.logged.position, item.why) for item in projected.unapplied] == [
        (2, "ValueError"),
        (3, AN_EARLIER_ONE_WAITS),
    ]
    assert [delta.position for delta in projected.deltas] == [1, 4, 5]


def test_deltas_recorded_in_two_stages_of_the_voter_list_stay_apart() -> None:
    last_of_dps = datetime(2024, 9, 21, 16, 59, tzinfo=UTC)
    first_of_dpt = datetime(2024, 9, 21, 17, 0, tzinfo=UTC)
    deltas = [
        Delta(LEMPUR, position, moment, MAN)
        for position, moment in enumerate([last_of_dps, last_of_dps, first_of_dpt], 1)
    ]
    runs = list(runs_of_one_stage(deltas, [PILKADA_2024]))
    assert [[delta.position for delta in run] for run in runs] == [[1, 2], [3]]
    assert list(runs_of_one_stage(deltas[:2], [PILKADA_2024])) == [deltas[:2]]
