"""The feed's promises under arbitrary batches, repeats and losses: gapless, chained, adding up."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from services.notifier.domain.changes import Change, Head, Told, VillageRecord, number
from shared.counts import NOTHING, Counts, VillageKey

ELECTIONS = ("pilkada-2024", "pilgub-2024")
VILLAGES = ("15.01.09.2001", "15.01.09.2002", "15.01.05.2003")
KEYS = [VillageKey(election, village) for election in ELECTIONS for village in VILLAGES]
START = datetime(2024, 9, 21, tzinfo=UTC)

Batches = list[list[VillageRecord]]


@st.composite
def histories(draw: st.DrawFn) -> list[VillageRecord]:
    """What projections announce: each village's revisions from 1, its counts chained."""
    steps = draw(st.lists(st.tuples(st.sampled_from(KEYS), st.integers(0, 3)), max_size=60))
    stage_changes_at = draw(st.integers(0, 60))
    revisions = dict.fromkeys(KEYS, 0)
    counts = dict.fromkeys(KEYS, NOTHING)
    records = []
    for position, (key, eligible) in enumerate(steps, start=1):
        after = Counts(residents=3, eligible=eligible)
        revisions[key] += 1
        records.append(
            VillageRecord(
                key=key,
                district=key.village[:8],
                revision=revisions[key],
                position=position,
                time=START + timedelta(minutes=position),
                stage="dps" if position < stage_changes_at else "dpt",
                before=counts[key],
                after=after,
            )
        )
        counts[key] = after
    return records


def with_repeats(draw: st.DrawFn, records: list[VillageRecord]) -> list[VillageRecord]:
    """As a topic delivers after crashes: now and then it goes back and repeats from there."""
    delivered: list[VillageRecord] = []
    for index, record in enumerate(records):
        delivered.append(record)
        back = draw(st.integers(0, 6))
        if back > 3:
            delivered += records[max(0, index - back) : index + 1]
    return delivered


def split(draw: st.DrawFn, records: list[VillageRecord]) -> Batches:
    cuts = sorted(draw(st.lists(st.integers(0, len(records)), max_size=12)))
    ends = [*cuts, len(records)]
    return [records[begin:end] for begin, end in zip([0, *cuts], ends, strict=True)]


@st.composite
def deliveries(draw: st.DrawFn) -> tuple[list[VillageRecord], Batches]:
    records = draw(histories())
    return records, split(draw, with_repeats(draw, records))


@st.composite
def lossy_deliveries(draw: st.DrawFn) -> tuple[list[VillageRecord], Batches]:
    records = draw(histories())
    kept = [record for record in records if draw(st.integers(0, 4)) > 0]
    return kept, split(draw, with_repeats(draw, kept))


def feed_of(batches: Batches) -> list[Change]:
    """The changes as the service numbers them, its state carried from batch to batch."""
    heads = {election: Head() for election in ELECTIONS}
    told: dict[VillageKey, Told] = {}
    feed: list[Change] = []
    for batch in batches:
        numbered = number(heads, told, batch)
        heads |= numbered.heads
        told |= numbered.told
        feed += numbered.changes
    return feed


def last_counts(records: Sequence[VillageRecord]) -> dict[VillageKey, Counts]:
    return {record.key: record.after for record in records}


def assert_gapless(feed: list[Change]) -> None:
    for election in ELECTIONS:
        sequences = [change.sequence for change in feed if change.key.election == election]
        assert sequences == list(range(1, len(sequences) + 1))


def assert_chained(feed: list[Change]) -> None:
    stands = dict.fromkeys(KEYS, NOTHING)
    for change in feed:
        assert change.before == stands[change.key]
        assert change.after != change.before
        stands[change.key] = change.after


def sums_of(feed: list[Change]) -> dict[VillageKey, Counts]:
    sums = dict.fromkeys(KEYS, NOTHING)
    for change in feed:
        steps = zip(sums[change.key], change.before, change.after, strict=True)
        sums[change.key] = Counts(*(total + after - before for total, before, after in steps))
    return sums


@given(deliveries())
def test_whatever_the_batches_and_repeats_the_feed_is_gapless_and_adds_up(
    delivery: tuple[list[VillageRecord], Batches],
) -> None:
    records, batches = delivery
    feed = feed_of(batches)
    assert_gapless(feed)
    assert_chained(feed)
    assert sums_of(feed) == dict.fromkeys(KEYS, NOTHING) | last_counts(records)


@given(lossy_deliveries())
def test_a_feed_over_lost_records_still_chains_and_ends_where_the_last_records_say(
    delivery: tuple[list[VillageRecord], Batches],
) -> None:
    records, batches = delivery
    feed = feed_of(batches)
    assert_gapless(feed)
    assert_chained(feed)
    assert sums_of(feed) == dict.fromkeys(KEYS, NOTHING) | last_counts(records)


@given(histories())
def test_delivered_one_by_one_every_difference_is_a_change_of_its_own(
    records: list[VillageRecord],
) -> None:
    feed = feed_of([[record] for record in records])
    assert [(change.key, change.position, change.stage) for change in feed] == [
        (record.key, record.position, record.stage)
        for record in records
        if record.before != record.after
    ]


@given(deliveries())
def test_every_change_carries_the_stage_of_a_record_that_it_ends_with(
    delivery: tuple[list[VillageRecord], Batches],
) -> None:
    records, batches = delivery
    announced = {(record.key, record.position, record.stage, record.after) for record in records}
    for change in feed_of(batches):
        assert (change.key, change.position, change.stage, change.after) in announced
