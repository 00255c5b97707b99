"""Many arrivals decided as if they had been sent one by one, in one working memory.

The caller loads a `World` with all that the arrivals may touch, calls `decide_all`, and writes
what the `Minutes` say. Nothing here waits, reads or writes; identities are given.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from itertools import chain
from typing import NamedTuple
from uuid import UUID

from services.registry.domain.decide import (
    Accept,
    Circumstances,
    Park,
    Retractable,
    decide,
    warnings_on,
)
from services.registry.domain.resident import Resident, evolve
from services.registry.domain.secrecy import HOLDS_A_NIK, HOLDS_THE_NAME, NAMES, text_with
from services.registry.domain.submissions import Arrival, WellFormed
from shared.events.facts import EventRetracted, LoggedFact
from shared.problems import Problem, ProblemType

Key = tuple[str, str]


class Outcome(StrEnum):
    """What becomes of a submission (contract section 2)."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    PARKED = "parked"
    REJECTED = "rejected"


class Answer(NamedTuple):
    """What the station is told. For a duplicate, `first` is the first outcome, and position and
    problem are what has become of it since."""

    source: str
    id: str
    outcome: Outcome
    position: int | None = None
    warnings: tuple[str, ...] = ()
    problem: Problem | None = None
    first: Outcome | None = None


@dataclass(slots=True)
class Claim:
    """The first submission of a source and id, and what has become of it.

    `arrival` is its number in the order of arrival; `logged` is there once it is accepted.
    """

    arrival: int
    fingerprint: bytes
    first: Outcome
    outcome: Outcome
    warnings: tuple[str, ...] = ()
    problem: Problem | None = None
    position: int | None = None
    logged: LoggedFact | None = None
    subject: bytes | None = None


@dataclass(frozen=True, slots=True)
class Waiting:
    """A parked submission, to be tried again."""

    key: Key
    submitted: WellFormed


@dataclass(slots=True)
class World:
    """All that a set of arrivals may touch, as the log has it now.

    `claims` by source and id, of the arrivals and of what they retract; `residents` and `parked`
    (in order of arrival) by subject. `known` has those of the subjects concerned, or told in the
    arrivals, of whom anything was ever sent; `names` what those were called of whom something is
    written in free words. `position` and `arrival` are the last ones given.
    """

    position: int
    arrival: int
    claims: dict[Key, Claim] = field(default_factory=dict)
    residents: dict[bytes, Resident | None] = field(default_factory=dict)
    parked: dict[bytes, list[Waiting]] = field(default_factory=dict)
    known: set[bytes] = field(default_factory=set)
    names: dict[bytes, set[str]] = field(default_factory=dict)


class Entry(NamedTuple):
    """An event that joins the log at the position of its fact.

    `received_at` is when the registry had it, if it was accepted at once. One that was parked
    before has waited for another: its way to KPU did not begin where it came in.
    """

    logged: LoggedFact
    submitted: WellFormed
    received_at: datetime | None


class Kept(NamedTuple):
    """A submission to keep: its number in the order of arrival, what came, whether it takes its
    source and id, and what becomes of it."""

    number: int
    received: "Received"
    claims: bool
    fate: Claim


@dataclass(slots=True)
class Minutes:
    """What a set of arrivals leads to: answers in their order, the log's new entries, the new
    submissions, and the parked ones of before that moved."""

    answers: list[Answer] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    kept: list[Kept] = field(default_factory=list)
    moved: list[Claim] = field(default_factory=list)


class Received(NamedTuple):
    """An arrival with the keyed hash of its content, the name of its sender, and when the
    registry had its bytes."""

    arrived: Arrival
    fingerprint: bytes
    sender: str
    received_at: datetime


def decide_all(
    received: Sequence[Received],
    world: World,
    circumstances: Circumstances,
    identities: Iterator[UUID],
) -> Minutes:
    """Decide each arrival in turn; `identities` gives a new resident's id when one is needed."""
    session = _Session(world, circumstances, identities, Minutes(), world.arrival)
    for one in received:
        session.minutes.answers.append(session.take(one))
    return session.minutes


def try_again(world: World, circumstances: Circumstances, identities: Iterator[UUID]) -> Minutes:
    """Try all that is parked in a world as if sent now, in order of arrival, until none moves."""
    session = _Session(world, circumstances, identities, Minutes(), world.arrival)
    session.try_all()
    return session.minutes


@dataclass(slots=True)
class _Session:
    world: World
    circumstances: Circumstances
    identities: Iterator[UUID]
    minutes: Minutes
    before: int
    all_tried: bool = False

    def take(self, received: Received) -> Answer:
        arrived = received.arrived
        if isinstance(arrived.checked, Problem):
            return self._refuse(received, arrived.checked)
        key = (arrived.source, arrived.id)
        first = self.world.claims.get(key)
        if first is not None and first.fingerprint == received.fingerprint:
            return _repeat(key, first)
        if (problem := self._telling(arrived.checked)) is not None:
            claims = first is None and problem.field not in NAMES
            return self._keep(received, _rejection(problem), claims)
        if first is None:
            return self._decide_first(received, key, arrived.checked)
        return self._keep(received, _rejection(_id_reused()), claims=False)

    def _telling(self, submitted: WellFormed) -> Problem | None:
        """What is wrong where everybody could read somebody's NIK, or the resident's name."""
        for nik, member in submitted.told.items():
            if nik in self.world.known:
                return _secret(member, HOLDS_A_NIK)
        naming = self._naming(submitted) if submitted.texts else None
        return None if naming is None else _secret(naming, HOLDS_THE_NAME)

    def _naming(self, submitted: WellFormed) -> str | None:
        """The member that holds a name of the resident's, of before or of now."""
        names = set[str]() if submitted.name is None else {submitted.name}
        subject = submitted.subject
        if isinstance(submitted.fact, EventRetracted):
            claim = self.world.claims.get((submitted.fact.source, submitted.fact.id))
            subject = claim.subject if claim else None
        if subject is not None:
            names |= self.world.names.get(subject, set())
        return text_with(names, submitted.texts)

    def _refuse(self, received: Received, problem: Problem) -> Answer:
        """A refusal for its form; the same again is answered alike and not kept twice."""
        key = (received.arrived.source, received.arrived.id)
        if not received.arrived.claims:
            return self._keep(received, _rejection(problem), claims=False)
        first = self.world.claims.get(key)
        if first is not None and first.fingerprint == received.fingerprint:
            return Answer(*key, Outcome.REJECTED, problem=problem)
        return self._keep(received, _rejection(problem), claims=first is None)

    def _decide_first(self, received: Received, key: Key, submitted: WellFormed) -> Answer:
        resident, target = self._concerned(submitted)
        decision = decide(submitted, resident, target, self.circumstances)
        warnings = warnings_on(submitted, resident, self.circumstances.now)
        match decision:
            case Problem():
                return self._keep(received, _rejection(decision))
            case Park():
                answer = self._keep(
                    received, Claim(0, b"", Outcome.PARKED, Outcome.PARKED, warnings)
                )
                self._waiting(submitted.subject).append(Waiting(key, submitted))
                return answer
            case Accept():
                fate = Claim(0, b"", Outcome.ACCEPTED, Outcome.ACCEPTED, warnings)
                self._append(key, submitted, fate, received.received_at)
                answer = self._keep(received, fate)
                self._try_parked(fate.subject)
                return answer

    def _keep(self, received: Received, fate: Claim, claims: bool = True) -> Answer:
        arrived = received.arrived
        self.world.arrival += 1
        fate.arrival, fate.fingerprint = self.world.arrival, received.fingerprint
        if fate.subject is None and isinstance(arrived.checked, WellFormed):
            fate.subject = arrived.checked.subject
        if fate.subject is not None:
            self.world.known.add(fate.subject)
        key = (arrived.source, arrived.id)
        if claims:
            self.world.claims[key] = fate
        self.minutes.kept.append(Kept(fate.arrival, received, claims, fate))
        return Answer(*key, fate.outcome, fate.position, fate.warnings, fate.problem)

    def _concerned(self, submitted: WellFormed) -> tuple[Resident | None, Retractable | None]:
        if isinstance(submitted.fact, EventRetracted):
            return None, self._target(submitted.fact)
        assert submitted.subject is not None
        return self.world.residents.get(submitted.subject), None

    def _target(self, retraction: EventRetracted) -> Retractable | None:
        claim = self.world.claims.get((retraction.source, retraction.id))
        if claim is None or claim.logged is None or claim.subject is None:
            return None
        return Retractable(claim.logged, self.world.residents.get(claim.subject))

    def _append(
        self, key: Key, submitted: WellFormed, fate: Claim, received_at: datetime | None = None
    ) -> None:
        """Give the event its position and lay it over its resident."""
        subject, resident_id = self._belongs_to(submitted)
        self.world.position += 1
        logged = LoggedFact(
            self.world.position, self.circumstances.now, *key, resident_id, submitted.fact
        )
        fate.outcome, fate.position = Outcome.ACCEPTED, logged.position
        fate.logged, fate.subject = logged, subject
        self.world.residents[subject] = evolve(self.world.residents.get(subject), logged)
        if submitted.name is not None:
            self.world.names.setdefault(subject, set()).add(submitted.name)
        self.minutes.entries.append(Entry(logged, submitted, received_at))

    def _belongs_to(self, submitted: WellFormed) -> tuple[bytes, UUID]:
        if isinstance(submitted.fact, EventRetracted):
            claim = self.world.claims[(submitted.fact.source, submitted.fact.id)]
            assert claim.subject is not None
            assert claim.logged is not None
            return claim.subject, claim.logged.resident_id
        assert submitted.subject is not None
        resident = self.world.residents.get(submitted.subject)
        return submitted.subject, resident.resident_id if resident else next(self.identities)

    def _waiting(self, subject: bytes | None) -> list[Waiting]:
        assert subject is not None
        return self.world.parked.setdefault(subject, [])

    def _try_parked(self, subject: bytes | None) -> None:
        """Try what is parked again after an event of this subject was accepted.

        At the first acceptance of a moment, all: time alone may have moved some. After that,
        only those of the subject just touched, since an event waits for its own resident alone.
        """
        if self.all_tried:
            self._try_those_of(subject)
        else:
            self.try_all()

    def try_all(self) -> None:
        """Try all that is parked, in order of arrival, from the first, until none moves.

        One that is accepted can move those of its own resident alone, so going back to the
        first of these is going back to the first of all.
        """
        self.all_tried = True
        for waiting in sorted(chain.from_iterable(self.world.parked.values()), key=self._arrival):
            moved_since = self.world.claims[waiting.key].outcome is not Outcome.PARKED
            if moved_since or not self._retry(waiting):
                continue
            self._waiting(waiting.submitted.subject).remove(waiting)
            if self._is_accepted(waiting):
                self._try_those_of(waiting.submitted.subject, self._arrival(waiting))

    def _is_accepted(self, waiting: Waiting) -> bool:
        return self.world.claims[waiting.key].outcome is Outcome.ACCEPTED

    def _arrival(self, waiting: Waiting) -> int:
        return self.world.claims[waiting.key].arrival

    def _try_those_of(self, subject: bytes | None, before: int | None = None) -> None:
        """Try those of a subject, or those that arrived before a number, until none moves."""
        waiting = self._waiting(subject)
        tried = 0
        while tried < len(waiting) and (before is None or self._arrival(waiting[tried]) < before):
            if not self._retry(waiting[tried]):
                tried += 1
                continue
            accepted = self._is_accepted(waiting[tried])
            del waiting[tried]
            tried = 0 if accepted else tried

    def _retry(self, waiting: Waiting) -> bool:
        """Decide a parked event as if sent now; whether it moved."""
        claim = self.world.claims[waiting.key]
        resident, target = self._concerned(waiting.submitted)
        decision = decide(waiting.submitted, resident, target, self.circumstances)
        if isinstance(decision, Accept):
            # Who the resident is, nobody knew when it came.
            decision = self._telling(waiting.submitted) or decision
        match decision:
            case Park():
                return False
            case Problem():
                claim.outcome, claim.problem, claim.warnings = Outcome.REJECTED, decision, ()
            case Accept():
                claim.warnings = warnings_on(waiting.submitted, resident, self.circumstances.now)
                self._append(waiting.key, waiting.submitted, claim)
        if claim.arrival <= self.before:
            self.minutes.moved.append(claim)
        return True


def _rejection(problem: Problem) -> Claim:
    return Claim(0, b"", Outcome.REJECTED, Outcome.REJECTED, problem=problem)


def _secret(member: str, fault: str) -> Problem:
    return Problem(ProblemType.INVALID, f"{member} {fault}.", member)


def _id_reused() -> Problem:
    return Problem(
        ProblemType.ID_REUSED,
        "id came before from this source with other content; send new content under a new id.",
        "id",
    )


def _repeat(key: Key, first: Claim) -> Answer:
    return Answer(
        *key, Outcome.DUPLICATE, first.position, first.warnings, first.problem, first.first
    )
