"""Applying supplements to the old list gives the new one, against a model that keeps sets."""

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any
from uuid import UUID

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.notifier.domain.comparing import Pair, by_village, differs
from services.notifier.domain.supplements import (
    Closing,
    Entry,
    Head,
    Misfit,
    Total,
    apply,
    canonical,
    canonical_entries,
    canonical_totals,
)
from services.notifier.domain.voters import (
    Place,
    VoterChange,
    VoterKey,
    VoterRecord,
    number_voters,
)

ELECTION = "pilkada-2024"
NOW = datetime(2024, 9, 22, tzinfo=UTC)
VILLAGES = ["15.01.01.2001", "15.01.01.2002", "15.01.05.2004"]

people = st.integers(1, 6).map(lambda n: UUID(int=n))
villages = st.sampled_from([*VILLAGES, None])
lives = st.lists(st.tuples(people, villages), max_size=40)
lists = st.dictionaries(people, st.sampled_from(VILLAGES))


def told(life: Sequence[tuple[UUID, str | None]]) -> list[VoterChange]:
    """The feed that the notifier makes of where people came to vote, one after another."""
    records = [
        VoterRecord(
            VoterKey(ELECTION, who), Place(0, n), to, "id.dukcapil.resident.x", n, NOW, None
        )
        for n, (who, to) in enumerate(life, 1)
    ]
    return number_voters({ELECTION: 0}, {}, records).changes


def entry(change: VoterChange) -> Entry:
    return Entry(
        sequence=change.sequence,
        voter=str(change.key.voter),
        kind=change.kind.value,
        reason=change.reason,
        from_village=change.from_village,
        to_village=change.to_village,
        position=change.position,
        time=change.time,
        stage=change.stage,
    )


def sets_after(changes: Sequence[VoterChange]) -> dict[str, set[str]]:
    """The model: a set of voters for each village, changed as each change says in words."""
    stands: dict[str, set[str]] = defaultdict(set)
    for change in changes:
        voter = str(change.key.voter)
        if change.kind in ("removed", "moved"):
            stands[change.from_village or ""].remove(voter)
        if change.kind in ("added", "moved"):
            stands[change.to_village or ""].add(voter)
    return {village: voters for village, voters in stands.items() if voters}


def listed(stands: dict[str, set[str]]) -> dict[str, str]:
    return {voter: village for village, voters in stands.items() for voter in voters}


def head(first: int, last: int, number: int = 1, previous: str | None = None) -> Head:
    return Head(ELECTION, number, NOW, first, last, 0, 0, previous)


@given(lives, st.data())
def test_supplements_take_the_old_list_to_the_new_and_add_up_in_each_village(
    life: list[tuple[UUID, str | None]], data: st.DataObject
) -> None:
    changes = told(life)
    cuts = data.draw(st.lists(st.integers(0, len(changes)), max_size=4).map(sorted))
    ends = sorted({0, *cuts, len(changes)})
    held = listed(sets_after(changes[: ends[0]]))
    for first, last in pairwise(ends):
        before, after = sets_after(changes[:first]), sets_after(changes[:last])
        entries = [entry(change) for change in changes[first:last]]
        taken = apply(held, ((each.voter, each) for each in entries))
        assert taken == listed(after)
        closing = Closing(head(first, last), {v: len(who) for v, who in before.items()})
        closing.take(entries[:3])
        closing.take(entries[3:])
        totals, digest = closing.finish()
        assert {total.village: total.before for total in totals if total.before} == {
            village: len(who) for village, who in before.items()
        }
        assert {total.village: total.after for total in totals if total.after} == {
            village: len(who) for village, who in after.items()
        }
        content = canonical(head(first, last)._asdict()) + canonical_entries(entries)
        assert digest == hashlib.sha256(content + canonical_totals(totals)).digest()
        held = taken if isinstance(taken, dict) else {}


@given(lives.filter(lambda life: bool(told(life))), st.data())
def test_a_list_that_the_supplement_does_not_follow_is_not_taken_for_it(
    life: list[tuple[UUID, str | None]], data: st.DataObject
) -> None:
    entries = [entry(change) for change in told(life)]
    first = data.draw(st.sampled_from(entries))
    elsewhere = data.draw(villages.filter(lambda village: village != first.from_village))
    wrong = {} if elsewhere is None else {first.voter: elsewhere}
    assert apply(wrong, [(first.voter, first)]) == Misfit(first, elsewhere)


@given(lists, lists)
def test_what_differs_is_what_two_sets_say(old: dict[UUID, str], new: dict[UUID, str]) -> None:
    counted: dict[tuple[str | None, str | None], int] = defaultdict(int)
    for who in old.keys() | new.keys():
        if differs(old.get(who), new.get(who)) is not None:
            counted[old.get(who), new.get(who)] += 1
    sizes: dict[str, int] = defaultdict(int)
    for village in old.values():
        sizes[village] += 1
    found = by_village(sizes, [Pair(*pair, persons) for pair, persons in counted.items()])
    for village in VILLAGES:
        had = {who for who, at in old.items() if at == village}
        has = {who for who, at in new.items() if at == village}
        row = found.get(village)
        if row is None:
            assert not had | has
            continue
        assert (row.listed, row.told) == (len(had), len(has))
        assert row.missing == len(has - old.keys())
        assert row.superfluous == len(had - new.keys())
        assert row.votes_elsewhere == len((had - has) & new.keys())
        assert row.listed_elsewhere == len((has - had) & old.keys())


@given(st.dictionaries(st.sampled_from(["b", "a", "c"]), st.integers(0, 2**40) | st.none()))
def test_a_line_is_canonical_whatever_the_order_of_its_members(members: dict[str, Any]) -> None:
    turned = dict(reversed(members.items()))
    assert canonical(members) == canonical(turned)
    assert orjson.loads(canonical(members)) == members


def moved(sequence: int, from_village: str | None, to_village: str | None) -> Entry:
    kind = "added" if from_village is None else "removed" if to_village is None else "moved"
    return Entry(sequence, "v", kind, "r", from_village, to_village, sequence, NOW, None)


def test_a_village_s_total_says_what_happened_in_between() -> None:
    here, there = VILLAGES[:2]
    closing = Closing(head(0, 10), {here: 7})
    steps = [(None, here)] * 4 + [(here, None)] * 3 + [(here, there)] * 2 + [(there, here)]
    closing.take(moved(sequence, *step) for sequence, step in enumerate(steps, 1))
    totals, _ = closing.finish()
    assert totals == [Total(here, 7, 4, 3, 1, 2, 7), Total(there, 0, 0, 0, 2, 1, 1)]
    assert canonical_totals(totals) == b"".join(canonical(total._asdict()) for total in totals)
    assert canonical_totals(totals).count(b"\n") == 2


def test_a_supplement_is_not_closed_over_a_gap() -> None:
    with pytest.raises(AssertionError, match=r"^the feed has a gap"):
        Closing(head(0, 2), {}).take([moved(2, None, VILLAGES[0])])
    with pytest.raises(AssertionError, match=r"^the feed has a gap"):
        Closing(head(0, 2), {}).finish()
