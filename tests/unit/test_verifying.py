"""The comparisons of `cacah verify`: what differs is found, and said in words."""

from dataclasses import replace
from datetime import timedelta
from uuid import UUID

from cli.verifying.announced import Announced, Awaited
from cli.verifying.counted import Counted
from cli.verifying.facts import fault_of_parked
from cli.verifying.folding import Folding, Job, Sum, WrongVoter, weight_of
from cli.verifying.history import sampled_fault, wrong_village
from cli.verifying.log import Walk
from cli.verifying.snapshot import Snapshot
from cli.verifying.tallies import different_count, first_difference
from cli.verifying.topic import Partition
from cli.verifying.voters import different_size, said
from shared.counts import NOTHING, Counts, VillageKey
from shared.elections import PILKADA_2024
from shared.events.records import LogEntry, write_event, write_published
from shared.log_chain import GENESIS, Link, extend
from tests.support.facts import LEMPUR_HILIR, LEMPUR_TENGAH, entry, registration

SOMEBODY = UUID(int=12)
ENTRIES = [
    registration(1, SOMEBODY),
    entry("ktp.recorded", 2, SOMEBODY),
    entry("ikd.activated", 3, SOMEBODY),
    entry("resident.died", 4, SOMEBODY, died_on="2024-05-01"),
]
TENGAH = VillageKey("pilkada-2024", LEMPUR_TENGAH)
HILIR = VillageKey("pilkada-2024", LEMPUR_HILIR)


# The log


def walked(entries: list[LogEntry], links: dict[int, bytes], head: int) -> str | None:
    walk = Walk(Link(0, GENESIS))
    for each in entries:
        fault = walk.enter(each)
        if fault is None and each.position in links:
            fault = walk.hold(Link(each.position, links[each.position]))
        if fault is not None:
            return fault
    return walk.end(head, entries[-1].recorded_at)


def links_of(entries: list[LogEntry]) -> dict[int, bytes]:
    first = extend(GENESIS, entries[:2])
    return {2: first, 4: extend(first, entries[2:])}


def test_a_log_as_it_was_appended_holds() -> None:
    assert walked(ENTRIES, links_of(ENTRIES), 4) is None


def test_a_hole_is_named_by_its_position() -> None:
    said_of = walked([ENTRIES[0], ENTRIES[2]], links_of(ENTRIES), 4)
    assert said_of == "position 2 is missing: 3 follows 1"
    said_of = walked([ENTRIES[0], ENTRIES[3]], links_of(ENTRIES), 4)
    assert said_of == "positions 2 to 3 are missing: 4 follows 1"
    said_of = walked(ENTRIES[:3], links_of(ENTRIES), 4)
    assert said_of == "position 4 is missing: the log's head says that it has 4"


def test_a_changed_row_is_named_by_the_positions_of_its_link() -> None:
    changed = [*ENTRIES[:2], ENTRIES[2]._replace(source="x"), ENTRIES[3]]
    said_of = walked(changed, links_of(ENTRIES), 4)
    assert said_of is not None
    assert said_of.startswith("the rows of positions 3 to 4 do not give the root")


def test_rows_after_the_last_link_and_times_that_go_back_are_named() -> None:
    links = links_of(ENTRIES)
    del links[4]
    assert walked(ENTRIES, links, 4) == (
        "position 3 and what follows has no link of the hash chain"
    )
    earlier = ENTRIES[1]._replace(recorded_at=ENTRIES[0].recorded_at - timedelta(seconds=1))
    assert walked([ENTRIES[0], earlier], {}, 2) == (
        "position 2 was recorded before the one before it"
    )


# Folding


def folding(mark: int = 4, history_from: int = 0) -> Folding:
    job = Job(
        snapshot=Snapshot("", ""),
        elections=[PILKADA_2024],
        marks=dict.fromkeys(range(12), mark),
        history_from={"pilkada-2024": history_from},
        thresholds=[3],
        kept=TENGAH,
    )
    return Folding(job)


def rows(*entries: LogEntry) -> list[tuple[object, ...]]:
    return [
        (e.resident_id, e.position, e.recorded_at, e.type, e.version, e.source, e.id, e.data)
        for e in entries
    ]


def test_a_resident_is_counted_up_to_the_mark_and_in_the_buckets_of_the_history() -> None:
    counting = folding(mark=3)
    votes = counting.count(SOMEBODY, rows(*ENTRIES))
    folded = counting.finish()
    assert votes == {"pilkada-2024": LEMPUR_TENGAH}
    assert folded.voters == {TENGAH: 1}
    assert folded.tallies()[TENGAH].ikd_active == 1
    assert folded.sums[(*TENGAH, 0)].counts.eligible_recorded == 1
    assert folded.sums[(*TENGAH, 0)].weight == sum(
        weight_of(position, folded.kept[position]) for position in (1, 2)
    )
    assert folded.sums[(*TENGAH, 1)].counts == Counts(ikd_active=1)


def test_who_has_died_is_no_voter_and_no_resident() -> None:
    counting = folding()
    assert counting.count(SOMEBODY, rows(*ENTRIES)) == {}
    assert counting.finish().tallies()[TENGAH] == NOTHING


def test_what_cannot_be_read_is_set_aside_with_all_that_follows_it() -> None:
    counting = folding()
    unknown = ENTRIES[1]._replace(type="id.dukcapil.unheard.of")
    counting.count(SOMEBODY, rows(ENTRIES[0], unknown, *ENTRIES[2:]))
    folded = counting.finish()
    assert sorted(folded.unapplied) == [2, 3, 4]
    assert folded.tallies()[TENGAH].residents == 1


def test_before_its_history_begins_an_event_is_counted_in_the_tally_alone() -> None:
    counting = folding(mark=3, history_from=2)
    counting.count(SOMEBODY, rows(*ENTRIES))
    folded = counting.finish()
    assert folded.tallies()[TENGAH].residents == 1
    assert list(folded.kept) == [3]
    assert folded.sums[(*TENGAH, -1)].weight == 0


# Comparing


def test_the_first_count_that_differs_is_named() -> None:
    kept = {TENGAH: Counts(eligible=812), HILIR: NOTHING}
    assert different_count(TENGAH, kept[TENGAH], Counts(eligible=811)) == (
        f"pilkada-2024 {LEMPUR_TENGAH} eligible is 812, the log says 811"
    )
    assert first_difference(kept, {TENGAH: Counts(eligible=812)}, []) is None
    assert first_difference(kept, {}, []) is not None
    assert first_difference({}, {}, [PILKADA_2024]) == "pilkada-2024 15.01.01.1004 has no tally"


def test_what_is_set_aside_and_what_cannot_be_counted_are_the_same_positions() -> None:
    assert fault_of_parked({7: "by hand"}, {7: "ValueError"}) is None
    assert fault_of_parked({7: "by hand"}, {}) == (
        "position 7 is set aside (by hand), but can be counted"
    )
    assert fault_of_parked({}, {7: "ValueError"}) == (
        "position 7 cannot be counted (ValueError), but is not set aside"
    )


def test_rows_of_the_history_that_add_up_alike_but_elsewhere_are_told_apart() -> None:
    one = Counts(residents=1)
    kept = {(*TENGAH, 0): Sum(one, weight_of(5, one))}
    assert wrong_village(kept, {(*TENGAH, 0): Sum(one, weight_of(5, one))}) is None
    assert wrong_village(kept, {(*TENGAH, 0): Sum(one, weight_of(6, one))}) == TENGAH
    assert wrong_village(kept, {}) == TENGAH


def test_a_sum_that_does_not_hold_is_named_by_its_sample() -> None:
    counted = Counted([], {}, {0: 9}, 9, [4, 8])
    kept = {(*TENGAH, 0): Sum(Counts(tni=1)), (*TENGAH, 1): Sum(Counts(tni=1))}
    assert sampled_fault(kept, dict(kept), counted) is None
    folded = kept | {(*TENGAH, 1): Sum(Counts(tni=2))}
    assert sampled_fault(kept, folded, counted) == (
        f"at position 8, pilkada-2024 {LEMPUR_TENGAH} tni is 2, the log says 3"
    )


def test_a_village_has_as_many_voters_as_eligible_residents() -> None:
    assert different_size({TENGAH: Counts(eligible=2)}, {TENGAH: 2}) is None
    assert different_size({TENGAH: Counts(eligible=2)}, {TENGAH: 1}) == (
        f"pilkada-2024 {LEMPUR_TENGAH} has 1 voters and 2 eligible"
    )


def test_the_first_wrong_voter_is_named_and_the_others_counted() -> None:
    wrong = WrongVoter("pilkada-2024", SOMEBODY, None, LEMPUR_TENGAH)
    assert said([wrong, replace(wrong, voter=UUID(int=99))]) == (
        f"pilkada-2024: KPU was told that voter {SOMEBODY} is of no village, the log says"
        f" {LEMPUR_TENGAH} (and 1 others)"
    )


# The topics


def partition() -> Partition:
    held = Partition(0)
    for each in ENTRIES:
        held.expect(each)
    return held


def record(position: int) -> bytes:
    return write_event(ENTRIES[position - 1], position - 1)


def met(*values: bytes) -> str | None:
    held = partition()
    for value in values:
        if (fault := held.meet(value, 4)) is not None:
            return fault
    return held.unmet(4)


def test_a_topic_with_a_tail_sent_twice_and_what_is_nobodys_holds() -> None:
    tail = (record(2), write_published(2, 2))
    assert met(record(1), *tail, *tail, b"{", b"[]", record(3), record(4)) is None


def test_a_record_that_is_missing_or_changed_is_named() -> None:
    assert met(record(1), record(3)) == "lacks position 2: 3 comes in its place"
    assert met(record(1), write_published(4, 1)) == (
        "says that all up to 4 is there, but position 2 is not"
    )
    assert met(record(1), record(2)) == ("ends before position 3, though it is marked as published")
    changed = write_event(ENTRIES[1]._replace(source="x"), 1)
    assert met(record(1), changed) == "has position 2 otherwise than the log"
    assert met(record(1), write_event(ENTRIES[1], 0)) == "has position 2 otherwise than the log"


def test_a_relays_mark_that_is_not_true_is_named() -> None:
    held = partition()
    assert held.fault_of_mark(2, 2, 4) is None
    assert held.fault_of_mark(1, 2, 4) == "is marked with 1 as its last event, it is 2"
    assert held.fault_of_mark(4, 5, 4) is not None


def change(revision: int, eligible: int = 0) -> bytes:
    counts = Counts(eligible=eligible)._asdict()
    members = f'"election":"pilkada-2024","village":"{LEMPUR_TENGAH}","revision":{revision}'
    return f'{{{members},"after":{counts}}}'.replace("'", '"').encode()


def announced(*values: bytes, waiting: int = 0) -> str | None:
    awaited = {TENGAH: Awaited(2 - waiting, 2, Counts(eligible=8))}
    read = Announced()
    for value in values:
        if (fault := read.meet(value, awaited)) is not None:
            return fault
    return read.unmet(awaited)


def test_the_last_record_of_a_village_is_its_tally() -> None:
    assert announced(change(1), change(2, 8), b"{") is None
    assert announced(change(1), waiting=1) is None
    assert announced() is None
    assert announced(change(1)) == (
        f"pilkada-2024 {LEMPUR_TENGAH}: the last record of voter.changes is revision 1, the tally"
        " has 2"
    )
    assert announced(change(1), change(3)) == (
        f"pilkada-2024 {LEMPUR_TENGAH}: revision 2 is missing in voter.changes"
    )
    assert announced(change(1), change(2, 7)) == (
        f"the tally of pilkada-2024 {LEMPUR_TENGAH} eligible is 8, voter.changes says 7"
    )
