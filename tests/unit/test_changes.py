"""The rules by which records of villages become KPU's numbered changes."""

from dataclasses import replace
from datetime import UTC, datetime

from services.notifier.domain.changes import (
    Flaw,
    Head,
    Mended,
    Numbered,
    Told,
    Trace,
    VillageRecord,
    number,
)
from shared.counts import NOTHING, Counts, VillageKey

ELECTION = "pilkada-2024"
SIULAK = VillageKey(ELECTION, "15.01.09.2001")
KAYU_ARO = VillageKey(ELECTION, "15.01.05.2003")
MORNING = datetime(2024, 8, 20, 1, 0, tzinfo=UTC)


def residents(count: int) -> Counts:
    return Counts(residents=count, eligible=count)


def a_record(
    revision: int,
    before: Counts,
    after: Counts,
    key: VillageKey = SIULAK,
    position: int = 1,
    stage: str | None = "dps",
) -> VillageRecord:
    return VillageRecord(
        key=key,
        district=key.village[:8],
        revision=revision,
        position=position,
        time=MORNING,
        stage=stage,
        before=before,
        after=after,
    )


def numbered(
    *records: VillageRecord, told: Told | None = None, head: Head | None = None
) -> Numbered:
    return number({ELECTION: head or Head()}, {SIULAK: told} if told else {}, records)


def test_the_first_change_of_a_village_begins_from_zeros() -> None:
    (change,) = numbered(a_record(1, NOTHING, residents(3), position=7)).changes
    assert (change.sequence, change.before, change.after) == (1, NOTHING, residents(3))
    assert (change.key, change.district, change.position) == (SIULAK, "15.01.09", 7)
    assert (change.time, change.stage) == (MORNING, "dps")


def test_a_folded_change_has_the_trace_of_its_last_event() -> None:
    first, last = (Trace(MORNING, MORNING, MORNING, MORNING.replace(hour=n)) for n in (2, 3))
    records = (
        replace(a_record(1, NOTHING, residents(1)), trace=first),
        replace(a_record(2, residents(1), residents(2)), trace=last),
    )
    (change,) = numbered(*records).changes
    assert change.trace == last


def test_sequences_go_on_from_the_head() -> None:
    result = numbered(
        a_record(1, NOTHING, residents(3), position=40),
        a_record(1, NOTHING, residents(5), key=KAYU_ARO, position=39),
        head=Head(sequence=11, position=38),
    )
    assert [change.sequence for change in result.changes] == [12, 13]
    assert result.heads == {ELECTION: Head(sequence=13, position=40)}


def test_a_repeated_record_is_dropped() -> None:
    record = a_record(4, residents(3), residents(4))
    result = numbered(record, record, told=Told(4, residents(4)))
    assert result == Numbered([], {}, {}, repeats=2, mended=[])


def test_a_record_repeated_within_the_batch_is_dropped() -> None:
    record = a_record(1, NOTHING, residents(3))
    result = numbered(record, record)
    assert len(result.changes) == 1
    assert result.repeats == 1


def test_a_burst_of_one_village_becomes_one_change() -> None:
    later = replace(a_record(2, residents(3), residents(4), position=9), time=datetime.now(UTC))
    (change,) = numbered(a_record(1, NOTHING, residents(3), position=8), later).changes
    assert (change.before, change.after) == (NOTHING, residents(4))
    assert (change.position, change.time) == (9, later.time)


def test_a_burst_is_not_folded_across_a_stage_of_the_voter_list() -> None:
    changes = numbered(
        a_record(1, NOTHING, residents(3), stage="dps"),
        a_record(2, residents(3), residents(4), stage="dpt"),
        a_record(3, residents(4), residents(5), stage="dpt"),
    ).changes
    assert [change.stage for change in changes] == ["dps", "dpt"]
    assert [change.before for change in changes] == [NOTHING, residents(3)]
    assert [change.after for change in changes] == [residents(3), residents(5)]


def test_a_tally_that_comes_back_is_no_change_but_its_revision_is_kept() -> None:
    result = numbered(
        a_record(2, residents(3), residents(4)),
        a_record(3, residents(4), residents(3)),
        told=Told(1, residents(3)),
    )
    assert result.changes == []
    assert result.heads == {}
    assert result.told == {SIULAK: Told(3, residents(3))}


def test_a_jump_of_revisions_is_mended_from_what_kpu_was_told() -> None:
    result = numbered(a_record(5, residents(6), residents(7)), told=Told(2, residents(3)))
    (change,) = result.changes
    assert (change.before, change.after) == (residents(3), residents(7))
    assert result.mended == [Mended(Flaw.REVISIONS_LOST, SIULAK, held_revision=2, revision=5)]


def test_a_before_that_kpu_was_not_told_is_mended_and_noticed() -> None:
    result = numbered(a_record(3, residents(6), residents(7)), told=Told(2, residents(3)))
    (change,) = result.changes
    assert (change.before, change.after) == (residents(3), residents(7))
    assert result.mended == [Mended(Flaw.BEFORE_DIFFERS, SIULAK, held_revision=2, revision=3)]


def test_each_election_has_its_own_sequence() -> None:
    other = VillageKey("pilgub-2024", SIULAK.village)
    result = number(
        {ELECTION: Head(4, 10), "pilgub-2024": Head()},
        {},
        [a_record(1, NOTHING, residents(3)), a_record(1, NOTHING, residents(3), key=other)],
    )
    assert [(c.key.election, c.sequence) for c in result.changes] == [
        (ELECTION, 5),
        ("pilgub-2024", 1),
    ]


def test_every_flaw_of_a_batch_is_noticed_and_one_lost_revision_is_one() -> None:
    result = numbered(
        a_record(2, NOTHING, residents(3)), a_record(3, residents(5), residents(6)), told=Told()
    )
    assert result.mended == [
        Mended(Flaw.REVISIONS_LOST, SIULAK, held_revision=0, revision=2),
        Mended(Flaw.BEFORE_DIFFERS, SIULAK, held_revision=2, revision=3),
    ]
