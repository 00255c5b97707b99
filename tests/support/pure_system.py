"""The pure cores of the three services in a row, and what they say otherwise than the slow model.

A history is submitted to the registry's rules, its log folded by projections and numbered by the
notifier; each answer, tally and change is then asked of the slow model too.
"""

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import groupby
from typing import Any
from uuid import UUID

from services.notifier.domain import changes as notified
from services.notifier.domain.voters import (
    Place,
    ToldVoter,
    VoterChange,
    VoterKey,
    VoterRecord,
    number_voters,
)
from services.projections.domain.electorate import votes_in
from services.projections.domain.resident import Resident
from services.projections.domain.tally import (
    Delta,
    Step,
    added,
    coverage,
    is_untouched,
    project,
    sums,
    tps_min,
)
from services.registry.domain.deciding import Answer, Entry
from services.registry.domain.submissions import Arrival, arrive
from shared.calendar import office_date
from shared.counts import NOTHING, Counts, VillageKey
from shared.elections import Election, Stage
from tests.support import slow_model
from tests.support.histories import DEFAULT_NOW, Submission, batches, generate
from tests.support.pure_registry import PureRegistry

LARGEST = 300
ELECTIONS = tuple(
    Election(
        each.id,
        each.polling_day,
        each.area,
        each.minimum_age,
        each.first_time_since,
        tuple(Stage(stage.name, stage.since) for stage in each.stages),
    )
    for each in slow_model.ELECTIONS
)

# When a history begins, and how fast it goes: in a moment or over weeks, across the stages of the
# voter list and a leap day too.
BEGINNINGS = (
    DEFAULT_NOW,
    datetime(2024, 2, 28, 16, 50, tzinfo=UTC),
    datetime(2024, 8, 17, 16, 58, tzinfo=UTC),
    datetime(2024, 9, 21, 12, 0, tzinfo=UTC),
)
PACES = (timedelta(milliseconds=100), timedelta(minutes=1), timedelta(hours=3))


class DifferenceFound(AssertionError):  # noqa: N818 - what it is called when it is printed
    """The services say otherwise than the slow model."""


def history_of(seed: int) -> list[Submission]:
    """The history of a seed: 1 to 300 submissions of every type. What is sent together bears the
    same time of receipt."""
    chance = random.Random(f"history {seed}")
    size = chance.randint(1, LARGEST)
    begins, pace = chance.choice(BEGINNINGS), chance.choice(PACES)
    told = generate(seed, size, now=begins, pace=pace)
    return [
        replace(submission, received_at=batch[-1].received_at)
        for batch in batches(told, seed)
        for submission in batch
    ]


def in_batches(history: Iterable[Submission]) -> Iterator[list[Submission]]:
    """What was sent together."""
    for _, batch in groupby(history, lambda submission: submission.received_at):
        yield list(batch)


class _Regions(slow_model.Regions):
    """The national list, which the model goes through once for each area and not each time."""

    def within(self, area: str) -> list[str]:
        return list(_within(area))


@cache
def _within(area: str) -> tuple[str, ...]:
    return tuple(slow_model.national_regions().within(area))


@cache
def _regions() -> _Regions:
    return _Regions(slow_model.national_regions().villages)


class RememberingModel(slow_model.Model):
    """The slow model, which folds a resident as of one position once and not for each election.

    The log up to a position never changes, so the answers are the slow model's own.
    """

    def __init__(self) -> None:
        super().__init__(_regions())
        self._folded: dict[tuple[int, int], slow_model.Resident | None] = {}

    def resident(self, key: int, position: int | None = None) -> slow_model.Resident | None:
        if position is None:
            return super().resident(key, position)
        if (key, position) not in self._folded:
            self._folded[(key, position)] = super().resident(key, position)
        return self._folded[(key, position)]


@dataclass
class Feeds:
    """What the notifier has told KPU."""

    heads: dict[str, notified.Head]
    told: dict[VillageKey, notified.Told] = field(default_factory=dict)
    changes: list[notified.Change] = field(default_factory=list)
    ends: dict[str, int] = field(default_factory=dict)
    told_voters: dict[VoterKey, ToldVoter] = field(default_factory=dict)
    voter_changes: list[VoterChange] = field(default_factory=list)

    def take(self, records: Sequence[notified.VillageRecord]) -> None:
        """Number what is announced of villages."""
        numbered = notified.number(self.heads, self.told, records)
        self.heads |= numbered.heads
        self.told |= numbered.told
        self.changes += numbered.changes

    def take_voters(self, records: Sequence[VoterRecord]) -> None:
        """Number what is announced of persons."""
        numbered = number_voters(self.ends, self.told_voters, records)
        self.ends |= numbered.ends
        self.told_voters |= numbered.told
        self.voter_changes += numbered.changes


class PureSystem:
    """The registry, projections and the notifier without anything between them but values."""

    def __init__(self, elections: Sequence[Election] = ELECTIONS) -> None:
        self.elections = {election.id: election for election in elections}
        self.registry = PureRegistry()
        self.residents: dict[UUID, Resident] = {}
        self.deltas: list[Delta] = []
        self.tallies: dict[VillageKey, Counts] = {}
        self.revisions: dict[VillageKey, int] = {}
        self.feeds = self._new_feeds()
        self.folded_feeds = self._new_feeds()

    def _new_feeds(self) -> Feeds:
        heads = {election: notified.Head() for election in self.elections}
        return Feeds(heads, ends=dict.fromkeys(self.elections, 0))

    def submit(self, events: Sequence[Any], now: datetime) -> list[Answer]:
        """Decide what is sent together, count what was accepted of it, and tell KPU."""
        begin = len(self.registry.log)
        answers = self.registry.submit(events, now)
        self.count(self.registry.log[begin:])
        return answers

    def count(self, entries: Sequence[Entry]) -> None:
        """Fold entries of the log and number what they change.

        One feed is told of each event by itself, the other of all together with repeats between.
        """
        facts = [entry.logged for entry in entries]
        types = {entry.logged.position: entry.submitted.type for entry in entries}
        projected = project(self.residents, facts, list(self.elections.values()))
        assert not projected.unapplied, projected.unapplied
        for logged in facts:
            known = self.residents.get(logged.resident_id, Resident()).facts
            self.residents[logged.resident_id] = Resident((*known, logged))
        self.deltas += projected.deltas
        voters = [*self._voter_records(projected.steps, types)]
        self.feeds.take_voters(voters)
        self.folded_feeds.take_voters([*voters, *voters[len(voters) // 2 :]])
        records = [*self._village_records(projected.deltas)]
        for record in records:
            self.feeds.take([record])
        self.folded_feeds.take([*records, *records[len(records) // 2 :]])

    def _village_records(self, deltas: Sequence[Delta]) -> Iterator[notified.VillageRecord]:
        for delta in deltas:
            key, before = delta.key, self.tallies.get(delta.key, NOTHING)
            self.tallies[key] = added(before, delta.counts)
            self.revisions[key] = self.revisions.get(key, 0) + 1
            yield notified.VillageRecord(
                VillageKey(*key),
                slow_model.district_of(key.village),
                self.revisions[key],
                delta.position,
                delta.recorded_at,
                self._stage(key.election, delta.recorded_at),
                Counts(*before),
                Counts(*self.tallies[key]),
            )

    def _voter_records(self, steps: Iterable[Step], types: dict[int, str]) -> Iterator[VoterRecord]:
        for step in steps:
            logged = step.logged
            if votes_in(step.before) != votes_in(step.after):
                yield VoterRecord(
                    VoterKey(step.election, logged.resident_id),
                    Place(0, logged.position),
                    votes_in(step.after),
                    types[logged.position],
                    logged.position,
                    logged.recorded_at,
                    self._stage(step.election, logged.recorded_at),
                )

    def _stage(self, election: str, moment: datetime) -> str | None:
        return self.elections[election].stage_on(office_date(moment))


class Pair:
    """The pure system and the slow model, told the same, and held against each other."""

    def __init__(self) -> None:
        self.system = PureSystem()
        self.model = RememberingModel()
        self.first_answered: dict[slow_model.Key, str] = {}

    def submit(self, batch: Sequence[Submission]) -> list[str]:
        """Send to both what is sent together. Returns the answers in words; raises
        DifferenceFound."""
        events = [submission.event for submission in batch]
        now = batch[-1].received_at
        readable = [event for event in events if is_readable(event)]
        answers = self.system.submit(readable, now)
        results = self.model.submit_batch(readable, now)
        for event in events:
            if not is_readable(event):
                result = self.model.submit(event, now)
                agree((result.outcome, result.problem), ("rejected", "invalid"), event)
        for event, answer, result in zip(readable, answers, results, strict=True):
            agree(told(answer), expected(result), event)
            self._see_first(answer)
        return [in_words(answer) for answer in answers]

    def _see_first(self, answer: Answer) -> None:
        """A duplicate repeats the outcome that was answered first, whatever came of it since."""
        key = (answer.source, answer.id)
        if answer.outcome.value == "duplicate":
            agree(answer.first, self.first_answered[key], key)
        else:
            self.first_answered.setdefault(key, answer.outcome.value)

    def compare(self) -> None:
        """Hold all that can be asked of both against each other. Raises DifferenceFound."""
        self._compare_registry()
        for election in slow_model.ELECTIONS:
            self._compare_tallies(election)
            self._compare_voters(election)
            changes = self.model.village_changes(election)
            self._compare_feed(election, changes)
            self._compare_folded_feed(election, changes)

    def _compare_registry(self) -> None:
        registry, model = self.system.registry, self.model
        ours = [(e.submitted.type, e.logged.resident_id.int, e.logged.id) for e in registry.log]
        theirs = [(e.event["type"], e.resident, e.event["id"]) for e in model.log]
        agree(ours, theirs, "the log")
        waiting = [each.key for parked in registry.world.parked.values() for each in parked]
        waiting.sort(key=lambda key: registry.world.claims[key].arrival)
        agree(waiting, model.parked(), "what is parked")
        for key, claim in registry.world.claims.items():
            result = model.outcome_of(key)
            assert result is not None
            said = (claim.outcome.value, claim.position, tuple(sorted(claim.warnings)))
            agree(said, (result.outcome, result.position, result.warnings), key)
            agree(claim.problem.type.value if claim.problem else None, result.problem, key)

    def _compare_tallies(self, election: slow_model.Election) -> None:
        totals = sums(self.system.deltas)
        for village, row in self.model.tallies(election, len(self.model.log)).items():
            delta = totals.get(VillageKey(election.id, village))
            counts = delta.counts if delta else NOTHING
            agree(row_of(counts), row, (election.id, village))

    def _compare_voters(self, election: slow_model.Election) -> None:
        model = [
            (c.position, c.resident, c.kind, c.from_village, c.to_village, c.reason)
            for c in self.model.voter_changes(election)
        ]
        stages = {entry.position: election.stage_at(entry.recorded_at) for entry in self.model.log}
        for feeds in (self.system.feeds, self.system.folded_feeds):
            feed = [c for c in feeds.voter_changes if c.key.election == election.id]
            ours = [
                (c.position, c.key.voter.int, c.kind.value, c.from_village, c.to_village, c.reason)
                for c in feed
            ]
            agree(ours, model, f"voters of {election.id}")
            agree([c.sequence for c in feed], [*range(1, len(feed) + 1)], "voters' sequence")
            agree([c.stage for c in feed], [stages[c.position] for c in feed], "voters' stages")

    def _compare_feed(
        self, election: slow_model.Election, changes: Sequence[slow_model.VillageChange]
    ) -> None:
        """Told of each event by itself, the feed has the model's changes one for one."""
        feed = [c for c in self.system.feeds.changes if c.key.election == election.id]
        ours = [
            (c.position, c.key.village, c.stage, c.before._asdict(), c.after._asdict())
            for c in feed
        ]
        model = [(c.position, c.village, c.stage, c.before, c.after) for c in changes]
        in_order = sorted(ours, key=lambda change: change[:2])
        agree(in_order, model, f"changes of {election.id}")
        agree([c.sequence for c in feed], [*range(1, len(feed) + 1)], "sequence")

    def _compare_folded_feed(
        self, election: slow_model.Election, changes: Sequence[slow_model.VillageChange]
    ) -> None:
        """Told of batches, with repeats, the feed chains, and each change ends at the model's
        tally of its position and bears the stage of its day."""
        feed = [c for c in self.system.folded_feeds.changes if c.key.election == election.id]
        agree([c.sequence for c in feed], [*range(1, len(feed) + 1)], "folded sequence")
        model = {(c.position, c.village): c for c in changes}
        stands: dict[str, Counts] = {}
        for change in feed:
            village = change.key.village
            agree(change.before, stands.get(village, NOTHING), change)
            stands[village] = change.after
            said = model[(change.position, village)]
            agree((change.stage, change.after._asdict()), (said.stage, said.after), change)
        last = {key.village: t for key, t in self.system.tallies.items() if key[0] == election.id}
        for village, tally in last.items():
            agree(stands.get(village, NOTHING), tally, (election.id, village))


def agree(ours: object, models: object, about: object) -> None:
    """Go on where both say the same."""
    if ours != models:
        raise DifferenceFound(f"{about}\n  services: {ours}\n  model:    {models}")


def difference(history: Sequence[Submission]) -> str | None:
    """What a history makes the services say otherwise than the slow model, if anything; an
    exception of either is a difference too."""
    pair = Pair()
    try:
        for batch in in_batches(history):
            pair.submit(batch)
        pair.compare()
    except DifferenceFound as found:
        return str(found)
    except Exception as error:  # a crash is shrunk like any other failure
        return f"{type(error).__name__}: {error}"
    return None


def is_readable(event: object) -> bool:
    """Whether source and id of an event can be read."""
    return isinstance(arrive(event, True, str.encode), Arrival)


def told(answer: Answer) -> tuple[object, ...]:
    """What a station is told, as the model says it."""
    return (
        answer.outcome.value,
        answer.position,
        tuple(sorted(answer.warnings)),
        answer.problem.type.value if answer.problem else None,
    )


def expected(result: slow_model.Result) -> tuple[object, ...]:
    """What the model says that a station is told."""
    return (result.outcome, result.position, tuple(result.warnings), result.problem)


def in_words(answer: Answer) -> str:
    """An answer in one line."""
    outcome, position, warnings, problem = told(answer)
    assert isinstance(warnings, tuple)
    parts = [outcome, "" if position is None else f"at {position}", problem or "", *warnings]
    return " ".join(str(part) for part in parts if part)


def row_of(counts: Counts) -> dict[str, Any]:
    """A tally with what follows from it, as the contract's rows."""
    return counts._asdict() | {
        "coverage": coverage(counts),
        "untouched": is_untouched(counts),
        "tps_min": tps_min([counts]),
    }
