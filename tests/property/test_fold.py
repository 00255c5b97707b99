"""The fold gives the same tallies however the log arrives."""

import random
from collections.abc import Sequence
from itertools import count
from typing import Any
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from services.projections.domain.arrivals import Arrival, Place, sift
from services.projections.domain.electorate import standing_for
from services.projections.domain.resident import UNKNOWN, Resident, evolve
from services.projections.domain.tally import Delta, added, counts_of, project, sums
from shared.counts import NOTHING, Counts, VillageKey
from shared.elections import PILKADA_2024, Election
from shared.events.facts import LoggedFact
from shared.events.records import (
    LogEntry,
    logged_fact,
    partition_of,
    read_record,
    write_event,
    write_published,
)
from shared.topics import PARTITIONS
from tests.support.facts import (
    JAKARTA,
    LEMPUR_HILIR,
    LEMPUR_TENGAH,
    SIULAK_GEDANG,
    SOURCE,
    entry,
    registration,
)

PEOPLE = [UUID(int=number) for number in range(1, 6)]
VILLAGES = [LEMPUR_TENGAH, LEMPUR_HILIR, SIULAK_GEDANG, JAKARTA]
SIULAK = Election("siulak", PILKADA_2024.polling_day, "15.01.16", 17, PILKADA_2024.first_time_since)
ELECTIONS = [PILKADA_2024, SIULAK]

days = st.sampled_from(["2023-01-01", "2024-06-01", "2024-11-27", "2024-11-28", "2025-01-01"])
births = st.sampled_from(["1984-01-31", "2007-02-15", "2007-11-27", "2007-11-28", "2008-02-29"])
letters = st.sampled_from(["1", "2"])


def members(**members: Any) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(members)


OTHERS: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "ktp.recorded": members(),
    "ktp.failed": members(reason=st.just("duplicate")),
    "ikd.activated": members(),
    "relocation.started": members(letter_no=letters),
    "resident.relocated": members(
        to_village=st.sampled_from(VILLAGES), effective_date=days, letter_no=letters
    ),
    "resident.married": members(married_on=days),
    "resident.died": members(died_on=days),
    "service.changed": members(
        service=st.sampled_from(["none", "tni", "polri"]), effective_date=days
    ),
    "rights.revoked": members(effective_date=days, verdict_no=st.just("1")),
    "rights.restored": members(effective_date=days, verdict_no=st.just("2")),
    "biodata.corrected": members(reason=st.just("r"), birth_date=births),
}


@st.composite
def logs(draw: st.DrawFn) -> list[LogEntry]:
    """A log of a few residents: each is registered first, and anything may happen then, a
    retraction of anything but the registration too."""
    entries: list[LogEntry] = []
    known: dict[UUID, list[int]] = {}
    for position in range(1, draw(st.integers(1, 40)) + 1):
        resident_id = draw(st.sampled_from(PEOPLE))
        if resident_id not in known:
            birth, village = draw(births), draw(st.sampled_from(VILLAGES))
            entries.append(registration(position, resident_id, birth_date=birth, village=village))
            known[resident_id] = []
            continue
        if known[resident_id] and draw(st.integers(0, 5)) == 0:
            retracts = {"source": SOURCE, "id": f"e-{draw(st.sampled_from(known[resident_id]))}"}
            data = {"retracts": retracts, "reason": "r"}
            entries.append(entry("event.retracted", position, resident_id, **data))
            continue
        kind = draw(st.sampled_from(sorted(OTHERS)))
        entries.append(entry(kind, position, resident_id, **draw(OTHERS[kind])))
        known[resident_id].append(position)
    return entries


def facts_of(entries: Sequence[LogEntry]) -> list[LoggedFact]:
    return [logged_fact(entry) for entry in entries]


def counted_at_the_end(entries: Sequence[LogEntry]) -> dict[VillageKey, Counts]:
    """The tallies by looking once at each resident, at the end."""
    residents: dict[UUID, Resident] = {}
    for logged in facts_of(entries):
        residents[logged.resident_id] = evolve(residents.get(logged.resident_id, UNKNOWN), logged)
    tallies: dict[VillageKey, Counts] = {}
    for resident in residents.values():
        for election in ELECTIONS:
            standing = standing_for(resident, election)
            if standing is not None:
                key = VillageKey(election.id, standing.village)
                tallies[key] = added(tallies.get(key, NOTHING), counts_of(standing))
    return tallies


def tallies_of(deltas: Sequence[Delta]) -> dict[VillageKey, Counts]:
    return {key: total.counts for key, total in sums(deltas).items() if total.counts != NOTHING}


def ordered(history: Sequence[Delta]) -> list[Delta]:
    return sorted(history, key=lambda delta: (delta.position, delta.key))


class Tables:
    """What the tables of projections hold, in memory."""

    def __init__(self) -> None:
        self.facts: dict[UUID, list[LoggedFact]] = {}
        self.history: list[Delta] = []

    def project(self, batch: Sequence[LoggedFact]) -> None:
        residents = {rid: Resident(tuple(facts)) for rid, facts in self.facts.items()}
        in_order = sorted(batch, key=lambda logged: logged.position)
        projected = project(residents, in_order, ELECTIONS)
        assert not projected.unapplied
        self.history += projected.deltas
        for logged in in_order:
            self.facts.setdefault(logged.resident_id, []).append(logged)


@given(logs(), st.data())
def test_batches_split_anywhere_give_equal_tallies(
    entries: list[LogEntry], data: st.DataObject
) -> None:
    cuts = data.draw(st.lists(st.integers(0, len(entries)), max_size=6).map(sorted))
    tables = Tables()
    facts = facts_of(entries)
    for begin, end in zip([0, *cuts], [*cuts, len(facts)], strict=True):
        tables.project(facts[begin:end])
    assert tallies_of(tables.history) == counted_at_the_end(entries)


@given(logs(), st.randoms(use_true_random=False))
def test_any_interleaving_of_partitions_gives_equal_tallies_and_history(
    entries: list[LogEntry], chance: random.Random
) -> None:
    in_order = Tables()
    in_order.project(facts_of(entries))
    queues: dict[int, list[LoggedFact]] = {}
    for logged in facts_of(entries):
        queues.setdefault(partition_of(logged.resident_id, PARTITIONS), []).append(logged)
    tables = Tables()
    while queues:
        partition = chance.choice(sorted(queues))
        length = chance.randint(1, len(queues[partition]))
        tables.project(queues[partition][:length])
        del queues[partition][:length]
        if not queues[partition]:
            del queues[partition]
    assert ordered(tables.history) == ordered(in_order.history)


@given(logs(), st.randoms(use_true_random=False))
def test_the_history_up_to_a_position_is_the_tally_of_the_log_up_to_there(
    entries: list[LogEntry], chance: random.Random
) -> None:
    tables = Tables()
    tables.project(facts_of(entries))
    position = chance.randint(0, len(entries))
    upto = [delta for delta in tables.history if delta.position <= position]
    assert tallies_of(upto) == counted_at_the_end(entries[:position])


@given(logs(), st.randoms(use_true_random=False))
def test_a_topic_that_repeats_loses_and_garbles_still_gives_each_event_once(
    entries: list[LogEntry], chance: random.Random
) -> None:
    partition = partition_of(PEOPLE[0], PARTITIONS)
    ours = [e for e in entries if partition_of(e.resident_id, PARTITIONS) == partition]
    arrivals = garbled(ours, len(entries), chance)
    mark, taken = 0, []
    rest: Sequence[Arrival] = arrivals
    while True:
        sifted = sift(rest, Place(partition, PARTITIONS, mark, len(entries)))
        taken += [news.event.logged.position for news in sifted.news]
        mark, rest = sifted.mark, sifted.rest
        if sifted.hole is None:
            break
        taken += [e.position for e in ours if mark < e.position <= sifted.hole]
        mark = sifted.hole
    assert taken == [e.position for e in ours]
    assert mark == len(entries)


def garbled(ours: Sequence[LogEntry], last: int, chance: random.Random) -> list[Arrival]:
    """The records of a partition as a bad day delivers them, the last promise at their end."""
    values, previous = [], 0
    for item in ours:
        values.append(write_event(item, previous))
        previous = item.position
    delivered: list[bytes] = []
    for index, value in enumerate(values):
        delivered += chance.choice([[value], [value], [value, value], [], [b"{"], [value[:-2]]])
        if chance.randint(0, 9) == 0:
            delivered += values[chance.randint(0, index) : index + 1]
    delivered += [write_published(last, previous)]
    offsets = count()
    return [Arrival(next(offsets), value, read_record(value)) for value in delivered]


@given(st.permutations(["2023-01-01", "2023-06-01", "2024-01-01", "2024-11-28"]))
def test_relocations_of_different_dates_may_be_reported_in_any_order(order: list[str]) -> None:
    villages = {
        "2023-01-01": SIULAK_GEDANG,
        "2023-06-01": JAKARTA,
        "2024-01-01": LEMPUR_HILIR,
        "2024-11-28": SIULAK_GEDANG,
    }
    entries = [registration(1, PEOPLE[0])] + [
        entry(
            "resident.relocated",
            position,
            PEOPLE[0],
            to_village=villages[day],
            effective_date=day,
            letter_no=day,
        )
        for position, day in enumerate(order, 2)
    ]
    tallies = counted_at_the_end(entries)
    assert {key: counts.residents for key, counts in tallies.items()} == {
        VillageKey("pilkada-2024", LEMPUR_HILIR): 1
    }
