"""A gathered feed adds up to what the records say, whenever they come, and delays nothing long."""

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from services.notifier.domain.changes import Change, Head, Told, VillageRecord, number
from services.notifier.domain.gathering import LONGEST_WINDOW_S, Gathering, Placed
from shared.counts import NOTHING, Counts, VillageKey

ELECTION = "pilkada-2024"
KEYS = [VillageKey(ELECTION, f"15.01.09.200{n}") for n in range(3)]
START = datetime(2024, 8, 20, tzinfo=UTC)

# When records come: seconds after the one before, and of which village.
arrivals = st.lists(
    st.tuples(
        st.sampled_from([0.0, 0.001, 0.02, 0.05, 0.3, 1.0]) | st.floats(0, 0.6),
        st.sampled_from(KEYS),
    ),
    max_size=80,
)


def topic(steps: list[tuple[float, VillageKey]]) -> list[tuple[float, Placed]]:
    """The records with the moment of their arrival; each village has a partition of its own."""
    revisions: defaultdict[VillageKey, int] = defaultdict(int)
    at_s = 100.0
    records: list[tuple[float, Placed]] = []
    for after_s, key in steps:
        at_s += after_s
        revision = revisions[key] = revisions[key] + 1
        before, after = Counts(residents=revision - 1), Counts(residents=revision)
        record = VillageRecord(
            key, key.village[:8], revision, len(records), START, "dps", before, after
        )
        records.append((at_s, Placed(KEYS.index(key), revision, record)))
    return records


@dataclass
class Notifier:
    """The numbering as the service does it: what is due is numbered and kept, offsets after it."""

    gathering: Gathering = field(default_factory=Gathering)
    head: Head = field(default_factory=Head)
    told: dict[VillageKey, Told] = field(default_factory=dict)
    changes: list[tuple[float, Change]] = field(default_factory=list)
    offsets: dict[int, int] = field(default_factory=dict)

    def run(self, came: list[tuple[float, Placed]]) -> None:
        """Take records at their moments, and what is due in between at its own."""
        for at_s, placed in came:
            self.work_until(at_s)
            self.gathering.add(placed, at_s)
            self.offsets[placed.partition] = placed.offset + 1
            self.work(at_s)
        self.work_until(float("inf"))

    def work_until(self, end_s: float) -> None:
        while (due_s := self.gathering.next_due_s()) is not None and due_s <= end_s:
            self.work(due_s)

    def work(self, now_s: float) -> None:
        numbered = number({ELECTION: self.head}, self.told, self.gathering.take_due(now_s))
        self.head = numbered.heads.get(ELECTION, self.head)
        self.told |= numbered.told
        self.changes += [(now_s, change) for change in numbered.changes]

    @property
    def committed(self) -> dict[int, int]:
        return {**self.offsets, **self.gathering.first_held()}


def add_up(changes: list[Change]) -> dict[VillageKey, Counts]:
    """The tallies; the changes chain and have no gap."""
    tallies: defaultdict[VillageKey, Counts] = defaultdict(lambda: NOTHING)
    for sequence, change in enumerate(changes, 1):
        assert change.sequence == sequence
        assert change.before == tallies[change.key]
        tallies[change.key] = change.after
    return dict(tallies)


def last_of(came: list[tuple[float, Placed]]) -> dict[VillageKey, Counts]:
    return {placed.record.key: placed.record.after for _, placed in came}


@given(arrivals)
def test_the_gathered_feed_adds_up_and_nothing_waits_longer_than_the_longest_window(
    steps: list[tuple[float, VillageKey]],
) -> None:
    came, notifier = topic(steps), Notifier()
    notifier.run(came)
    assert add_up([change for _, change in notifier.changes]) == last_of(came)
    for at_s, placed in came:
        told_s = next(
            told_s
            for told_s, change in notifier.changes
            if change.key == placed.record.key
            and change.after.residents >= placed.record.after.residents
        )
        assert at_s <= told_s <= at_s + LONGEST_WINDOW_S


@given(arrivals)
def test_what_comes_after_a_rest_longer_than_the_longest_window_is_told_at_once(
    steps: list[tuple[float, VillageKey]],
) -> None:
    came, notifier = topic(steps), Notifier()
    notifier.run(came)
    told = {(change.key, change.position): told_s for told_s, change in notifier.changes}
    last_s: dict[VillageKey, float] = {}
    for at_s, placed in came:
        key = placed.record.key
        if at_s - last_s.get(key, 0.0) > 2 * LONGEST_WINDOW_S:
            assert told[key, placed.record.position] == at_s
        last_s[key] = at_s


@given(arrivals, st.integers(0, 80))
def test_what_was_held_when_the_notifier_died_comes_again_and_is_told_once(
    steps: list[tuple[float, VillageKey]], dies_after: int
) -> None:
    came, before = topic(steps), Notifier()
    for at_s, placed in came[:dies_after]:
        before.work_until(at_s)
        before.gathering.add(placed, at_s)
        before.offsets[placed.partition] = placed.offset + 1
        before.work(at_s)
    offsets = before.committed
    after = Notifier(head=before.head, told=before.told, changes=before.changes)
    after.run([(s, p) for s, p in came if p.offset >= offsets.get(p.partition, 0)])
    assert add_up([change for _, change in after.changes]) == last_of(came)
