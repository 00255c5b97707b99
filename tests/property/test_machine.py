"""Anything that stations, brokers and operators may do, in any order, against the slow model.

Hypothesis chooses what happens next; a failure is shrunk to the fewest and plainest steps, which it
prints as a program.
"""

from dataclasses import replace
from datetime import date, timedelta
from random import Random
from typing import Any
from uuid import UUID

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
)

from services.notifier.domain import changes as notified
from services.notifier.domain.voters import Place, VoterKey, VoterRecord
from services.projections.domain.electorate import votes_in
from services.projections.domain.refold import (
    Folded,
    Redefinition,
    Row,
    catch_up,
    differences_of,
    fold_anew,
    tallies_of,
    up_to,
)
from services.projections.domain.resident import Resident
from services.projections.domain.tally import added, project
from services.registry.domain.deciding import Entry
from shared.calendar import office_date
from shared.counts import NOTHING, Counts, VillageKey
from shared.elections import PILKADA_2024, Election
from shared.events.records import partition_of
from tests.support import slow_model
from tests.support.histories import DEFAULT_NOW
from tests.support.pure_registry import PureRegistry
from tests.support.pure_system import Feeds, RememberingModel, agree, expected, told

PARTITIONS = 3
STATIONS = ("urn:dukcapil:station:KRC-01", "urn:dukcapil:station:KRC-02")
NIKS = ("1501012711070001", "1501166902080002", "1501013112500003")
VILLAGES = ("15.01.01.1004", "15.01.16.2001", "31.71.01.1001")
DAYS = ("2024-11-27", "2024-11-28", "2024-06-01", "2019-03-04")
BIRTHS = ("2007-11-27", "2007-11-28", "2008-02-29", "2008-03-01", "2007", "2009-02", "1950-12-31")
TIMES = (
    "2024-06-01T09:00:00+07:00",
    "2024-11-28T00:00:00+07:00",
    "2024-02-28T23:59:59+07:00",
    "2027-01-01T00:00:00Z",
)
AREAS = ("15.01", "15.01.16", "15", "31.71.01.1001")
POLLING_DAYS = (date(2024, 11, 27), date(2024, 11, 28), date(2025, 2, 28), date(2019, 3, 4))

days, births, villages = map(st.sampled_from, (DAYS, BIRTHS, VILLAGES))
letters, sexes = st.sampled_from(["1", "2"]), st.sampled_from(["L", "P"])


def members(**named: st.SearchStrategy[str]) -> st.SearchStrategy[dict[str, str]]:
    return st.fixed_dictionaries(named | {"nik": st.sampled_from(NIKS)})


DATA = {
    "resident.registered": members(
        name=st.just("Warga Contoh"),
        sex=sexes,
        birth_date=births,
        marital_status=st.sampled_from(["B", "B", "S"]),
        village=villages,
    ),
    "ktp.recorded": members(),
    "ktp.failed": members(reason=st.just("other")),
    "ikd.activated": members(),
    "relocation.started": members(letter_no=letters),
    "resident.relocated": members(to_village=villages, effective_date=days, letter_no=letters),
    "resident.married": members(married_on=days),
    "resident.died": members(died_on=days),
    "service.changed": members(service=st.sampled_from(["none", "tni"]), effective_date=days),
    "rights.revoked": members(effective_date=days, verdict_no=st.just("1")),
    "rights.restored": members(effective_date=days, verdict_no=st.just("2")),
    "biodata.corrected": members(reason=st.just("salah tulis"), birth_date=births)
    | members(reason=st.just("salah tulis"), sex=sexes),
}


Event = tuple[str, dict[str, str], str, str]
EVENTS: st.SearchStrategy[Event] = st.sampled_from(sorted(DATA)).flatmap(
    lambda kind: st.tuples(
        st.just(kind), DATA[kind], st.sampled_from(STATIONS), st.sampled_from(TIMES)
    )
)
# Most of what happens, happens to somebody who is registered.
REGISTRATIONS: st.SearchStrategy[Event] = DATA["resident.registered"].map(
    lambda data: ("resident.registered", data, STATIONS[0], TIMES[0])
)


def as_the_model_has_it(election: Election) -> slow_model.Election:
    stages = tuple(slow_model.Stage(stage.name, stage.begins) for stage in election.stages)
    return slow_model.Election(
        election.id,
        election.polling_day,
        election.area,
        election.minimum_age,
        election.first_time_since,
        stages,
    )


class Projections:
    """Counts partitions of the log one ahead of the other, and tells KPU what changes."""

    def __init__(self, election: Election) -> None:
        self.election = election
        self.log: list[Entry] = []
        self.marks = dict.fromkeys(range(PARTITIONS), 0)
        self.residents: dict[UUID, Resident] = {}
        self.rows: dict[str, Row] = {}
        self.fold = 0
        self.feeds = Feeds({election.id: notified.Head()}, ends={election.id: 0})

    def count(self, partition: int, number: int, is_repeated: bool) -> None:
        """Count the next facts of a partition, and announce them, perhaps twice."""
        entries = [
            entry
            for entry in self.log[self.marks[partition] :]
            if partition_of(entry.logged.resident_id, PARTITIONS) == partition
        ][:number]
        if not entries:
            return
        projected = project(self.residents, [each.logged for each in entries], [self.election])
        assert not projected.unapplied
        self._remember(entries)
        self.marks[partition] = entries[-1].logged.position
        types = {entry.logged.position: entry.submitted.type for entry in entries}
        villages = [
            self._changed(delta.key.village, delta.counts, delta.position)
            for delta in projected.deltas
        ]
        voters = [
            self._voted(step.logged.resident_id, votes_in(step.after), types, step.logged.position)
            for step in projected.steps
            if votes_in(step.before) != votes_in(step.after)
        ]
        for _ in range(1 + is_repeated):
            self.feeds.take(villages)
            self.feeds.take_voters(voters)

    def put(self, new: Election, back: int) -> None:
        """Fold the election anew as of some facts ago, catch up, and switch."""
        redefinition, folded = Redefinition(new, self.election), Folded()
        before = {partition: max(0, mark - back) for partition, mark in self.marks.items()}
        for resident_id, resident in self.residents.items():
            fold_anew(folded, resident_id, up_to(resident_id, resident, before), redefinition)
        caught_up = catch_up(self.residents, redefinition, before, self.marks)
        tallies = tallies_of(folded.groups)
        for village, counts in caught_up.tallies.items():
            tallies[village] = added(tallies.get(village, NOTHING), counts)
        untouched = {
            who: village
            for who, village in folded.differences.items()
            if who not in caught_up.touched
        }
        self.fold += 1
        self._switch(new, tallies, untouched | caught_up.differences)

    def _switch(
        self, new: Election, tallies: dict[str, Counts], differences: dict[UUID, str | None]
    ) -> None:
        position = max(self.marks.values())
        changes = list(differences_of(new.id, self.rows, tallies, position, DEFAULT_NOW))
        self.feeds.take(
            [self._record(c.key.village, c.revision, position, c.before, c.after) for c in changes]
        )
        for change in changes:
            self.rows[change.key.village] = Row(change.revision, change.after)
        self.feeds.take_voters(
            [
                VoterRecord(
                    VoterKey(new.id, who),
                    Place(self.fold, 0),
                    village,
                    "election.changed",
                    position,
                    DEFAULT_NOW,
                    None,
                )
                for who, village in differences.items()
            ]
        )
        self.election = new

    def _remember(self, entries: list[Entry]) -> None:
        for entry in entries:
            who = entry.logged.resident_id
            known = self.residents.get(who, Resident()).facts
            self.residents[who] = Resident((*known, entry.logged))

    def _changed(self, village: str, counts: Counts, position: int) -> notified.VillageRecord:
        row = self.rows.get(village, Row(0, NOTHING))
        self.rows[village] = Row(row.revision + 1, added(row.counts, counts))
        after = self.rows[village]
        return self._record(village, after.revision, position, row.counts, after.counts)

    def _record(
        self, village: str, revision: int, position: int, before: Counts, after: Counts
    ) -> notified.VillageRecord:
        recorded_at = self.log[position - 1].logged.recorded_at if position else DEFAULT_NOW
        return notified.VillageRecord(
            VillageKey(self.election.id, village),
            slow_model.district_of(village),
            revision,
            position,
            recorded_at,
            self.election.stage_on(office_date(recorded_at)),
            Counts(*before),
            Counts(*after),
        )

    def _voted(
        self, who: UUID, village: str | None, types: dict[int, str], position: int
    ) -> VoterRecord:
        moment = self.log[position - 1].logged.recorded_at
        return VoterRecord(
            VoterKey(self.election.id, who),
            Place(self.fold, position),
            village,
            types[position],
            position,
            moment,
            None,
        )


class CivilRegistration(RuleBasedStateMachine):
    """Stations write events and send them; projections count what is accepted."""

    written = Bundle("written")

    def __init__(self) -> None:
        super().__init__()
        self.now = DEFAULT_NOW
        self.number = 0
        self.outbox: list[dict[str, Any]] = []
        self.registry, self.model = PureRegistry(), RememberingModel()
        self.projections = Projections(PILKADA_2024)

    def _write(self, kind: str, data: dict[str, Any], station: str, time: str) -> dict[str, Any]:
        self.number += 1
        event = {
            "specversion": "1.0",
            "id": str(self.number),
            "source": station,
            "type": "id.dukcapil." + kind,
            "time": time,
            "data": data,
        }
        self.outbox.append(event)
        return event

    @rule(target=written, events=st.lists(EVENTS, min_size=1, max_size=8), at_once=st.booleans())
    def write(self, events: list[Event], at_once: bool) -> MultipleResults[dict[str, Any]]:
        """Stations write events down, and send them as a batch, at once or later."""
        told = [self._write(*event) for event in events]
        if at_once:
            self.outbox = self.outbox[: -len(told)]
            self._submit(told)
        return multiple(*told)

    @initialize(target=written, events=st.lists(REGISTRATIONS, max_size=4))
    def register(self, events: list[Event]) -> MultipleResults[dict[str, Any]]:
        """Some are registered to begin with."""
        told = [self._write(*event) for event in events]
        self.outbox.clear()
        if told:
            self._submit(told)
        return multiple(*told)

    @rule(target=written, event=written, at_once=st.booleans())
    def retract(self, event: dict[str, Any], at_once: bool) -> dict[str, Any]:
        """A station takes an event back, a retraction too."""
        named = {"source": event["source"], "id": event["id"]}
        data = {"retracts": named, "reason": "salah orang"}
        retraction = self._write("event.retracted", data, STATIONS[1], TIMES[0])
        if at_once:
            self._submit([self.outbox.pop()])
        return retraction

    @rule(order=st.integers(0, 9), together=st.booleans())
    def send_the_outbox(self, order: int, together: bool) -> None:
        """What was written goes out as a batch or one by one: in order, backwards, or anyhow."""
        if order == 1:
            self.outbox.reverse()
        if order > 1:
            Random(order).shuffle(self.outbox)
        sent, self.outbox = self.outbox, []
        for batch in [sent] if together else [[event] for event in sent]:
            if batch:
                self._submit(batch)

    @rule(event=written)
    def send_again(self, event: dict[str, Any]) -> None:
        """An event is sent again, or before its turn."""
        self._submit([dict(reversed(event.items()))])

    @rule(event=written, village=villages)
    def send_other_content(self, event: dict[str, Any], village: str) -> None:
        """A source and id are used for something else."""
        self._submit([event | {"extension": village}])

    @rule(days=st.integers(1, 400))
    def wait(self, days: int) -> None:
        """Time goes by."""
        self.now += timedelta(days=days)

    def _submit(self, events: list[dict[str, Any]]) -> None:
        self.now += timedelta(seconds=1)
        answers = self.registry.submit(events, self.now)
        results = self.model.submit_batch(events, self.now)
        for event, answer, result in zip(events, answers, results, strict=True):
            agree(told(answer), expected(result), event)
        self.projections.log = self.registry.log

    @rule(partition=st.integers(0, PARTITIONS - 1), number=st.integers(1, 5), repeats=st.booleans())
    def count(self, partition: int, number: int, repeats: bool) -> None:
        """Projections count a partition further, ahead of the others or behind them."""
        self.projections.count(partition, number, repeats)

    @rule(
        polling_day=st.sampled_from(POLLING_DAYS),
        area=st.sampled_from(AREAS),
        minimum_age=st.sampled_from([17, 16]),
        back=st.integers(0, 6),
    )
    def change_the_election(
        self, polling_day: date, area: str, minimum_age: int, back: int
    ) -> None:
        """An operator moves the polling day, the area or the age, while not all is counted."""
        new = replace(PILKADA_2024, polling_day=polling_day, area=area, minimum_age=minimum_age)
        self.projections.put(new, back)

    @rule()
    def count_all(self) -> None:
        """Projections count what is left; then all is as the slow model says."""
        for partition in range(PARTITIONS):
            self.projections.count(partition, len(self.registry.log), False)
        election = as_the_model_has_it(self.projections.election)
        self._compare_tallies(election)
        self._compare_voters(election)

    def _compare_tallies(self, election: slow_model.Election) -> None:
        said = self.model.tallies(election, len(self.model.log))
        model = {
            village: Counts._make(int(row[name] or 0) for name in Counts._fields)
            for village, row in said.items()
        }
        rows = {village: row.counts for village, row in self.projections.rows.items()}
        assert rows.keys() - model.keys() <= {v for v, tally in rows.items() if tally == NOTHING}
        for village, tally in model.items():
            agree(rows.get(village, NOTHING), tally, VillageKey(election.id, village))

    def _compare_voters(self, election: slow_model.Election) -> None:
        votes = {
            who.voter.int: told.village
            for who, told in self.projections.feeds.told_voters.items()
            if told.village is not None
        }
        model = self.model.voters(election)
        agree(votes, {who: v for v, people in model.items() for who in people}, "voters")

    @invariant()
    def nothing_waits_that_could_go(self) -> None:
        """What is parked is what the model has parked, in the order of arrival."""
        world = self.registry.world
        waiting = [each.key for parked in world.parked.values() for each in parked]
        waiting.sort(key=lambda key: world.claims[key].arrival)
        agree(waiting, self.model.parked(), "what is parked")

    def teardown(self) -> None:
        """In the end all is counted, and the feeds chain from zero to what stands."""
        self.count_all()
        feeds = self.projections.feeds
        agree([c.sequence for c in feeds.changes], [*range(1, len(feeds.changes) + 1)], "sequence")
        stands: dict[str, Counts] = {}
        for change in feeds.changes:
            agree(change.before, stands.get(change.key.village, NOTHING), change)
            stands[change.key.village] = change.after
        for village, row in self.projections.rows.items():
            agree(stands.get(village, NOTHING), row.counts, village)
        votes: dict[UUID, str | None] = {}
        for number, told_of in enumerate(feeds.voter_changes, 1):
            agree(told_of.sequence, number, told_of)
            agree(told_of.from_village, votes.get(told_of.key.voter), told_of)
            votes[told_of.key.voter] = told_of.to_village


TestCivilRegistration = CivilRegistration.TestCase
TestCivilRegistration.settings = settings(
    max_examples=150,
    stateful_step_count=50,
    deadline=None,
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)
