"""One transaction on the log: its head is held, what the rules need is read, what they say written.

Everything that adds to the log or moves what is parked goes through here, one at a time.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import chain
from typing import Any
from uuid import UUID, uuid4

import orjson
from sqlalchemy.ext.asyncio import AsyncConnection

from services.registry import log, parked_rows
from services.registry.domain.decide import Circumstances, may_move_by_time
from services.registry.domain.deciding import (
    Claim,
    Kept,
    Key,
    Minutes,
    Received,
    Waiting,
    World,
    decide_all,
    try_again,
)
from services.registry.domain.submissions import Arrival, WellFormed, arrive
from services.registry.vault import Vault
from shared.events.facts import EventRetracted, ResidentRegistered
from shared.events.records import LogEntry
from shared.log_chain import digest
from shared.pieces import in_pieces, meanwhile
from shared.regions import village_codes


@dataclass(slots=True)
class _Opened:
    """The log as a transaction holds it: its head, the moment, what may be touched, and the keys
    of the people concerned by their subjects; `erased` are those whose key is no more."""

    head: log.Head
    now: datetime
    world: World
    keys: dict[bytes, bytes]
    erased: frozenset[bytes]


@dataclass(frozen=True, slots=True)
class Ledger:
    """Decides and writes within the caller's transaction."""

    vault: Vault
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)

    async def take(self, connection: AsyncConnection, received: Sequence[Received]) -> Minutes:
        """Decide what was received, and write what becomes of it."""
        head, now = await self._hold(connection)
        claims = await log.read_claims(connection, _keys_named(received))
        subjects, told = _subjects(received, claims), _told(received)
        written_of = _written_of(received, claims)
        opened = await self._open(connection, head, now, claims, subjects, told, written_of)
        minutes = decide_all(received, opened.world, _circumstances(now), _identities())
        await self._write(connection, opened, minutes)
        await log.note_contact(connection, _sequences(received), now)
        return minutes

    async def try_again(self, connection: AsyncConnection, subjects: Iterable[bytes]) -> Minutes:
        """Try all that is parked of these subjects as if sent now, and write what moved."""
        head, now = await self._hold(connection)
        opened = await self._open(connection, head, now, {}, set(subjects))
        minutes = try_again(opened.world, _circumstances(now), _identities())
        await self._write(connection, opened, minutes)
        return minutes

    async def drop(self, connection: AsyncConnection, arrival: int, by: str, reason: str) -> bool:
        """Give a parked submission up; false if it is not parked."""
        _, now = await self._hold(connection)
        return await parked_rows.drop(connection, arrival, parked_rows.Dropped(now, by, reason))

    async def _hold(self, connection: AsyncConnection) -> tuple[log.Head, datetime]:
        """The head and the moment; it never goes back, so that recorded_at rises with position."""
        head = await log.hold_head(connection)
        return head, max(self.clock(), head.recorded_at)

    async def _open(
        self,
        connection: AsyncConnection,
        head: log.Head,
        now: datetime,
        claims: dict[Key, Claim],
        subjects: set[bytes],
        told: Set[bytes] = frozenset(),
        written_of: Set[bytes | None] = frozenset(),
    ) -> _Opened:
        """What these subjects' events touch, what a day gone by may have overtaken, whether those
        who are told are known, and what those are called of whom is written in free words."""
        if may_move_by_time(head.accepted_at, now):
            subjects |= await log.read_overtaken(connection)
        wanted = list(subjects)
        world = World(head.position, head.arrival, claims)
        world.residents = await log.read_residents(connection, wanted)
        wrapped = await log.read_wrapped_keys(connection, [*subjects | told])
        world.known = set(wrapped)
        keys = {
            subject: self.vault.unwrap(key, subject)
            for subject, key in wrapped.items()
            if key is not None and subject in subjects
        }
        for row in await log.read_parked(connection, wanted):
            world.claims[row.key] = row.claim
            self._remember(world, row, keys)
        waiting = chain.from_iterable(world.parked.values())
        written_of |= {one.submitted.subject for one in waiting if one.submitted.texts}
        await self._name(connection, world, keys, written_of & keys.keys())
        return _Opened(head, now, world, keys, frozenset(wrapped.keys() - keys.keys()))

    async def _name(
        self,
        connection: AsyncConnection,
        world: World,
        keys: dict[bytes, bytes],
        subjects: Set[bytes | None],
    ) -> None:
        """Bring the names in that these people were registered or corrected with."""
        wanted = [subject for subject in subjects if subject is not None]
        if not wanted:
            return
        for subject, content in await log.read_naming(connection, wanted):
            data = orjson.loads(self.vault.open(content, keys[subject]))["data"]
            if (name := data.get("name")) is not None:
                world.names.setdefault(subject, set()).add(name)

    def _remember(self, world: World, row: log.ParkedRow, keys: dict[bytes, bytes]) -> None:
        subject = row.claim.subject
        if subject is None or subject not in keys:
            return
        event = orjson.loads(self.vault.open(row.content, keys[subject]))
        arrived = arrive(event, True, self.vault.subject_of)
        assert isinstance(arrived, Arrival)
        assert isinstance(arrived.checked, WellFormed)
        world.parked.setdefault(subject, []).append(Waiting(row.key, arrived.checked))

    async def _write(self, connection: AsyncConnection, opened: _Opened, minutes: Minutes) -> None:
        """What comes next is made while PostgreSQL takes what was made before."""
        wrapped = self._introduce(minutes.kept, opened)
        entries = [log.written(entry) for entry in minutes.entries]
        submissions = await meanwhile(
            _keep(connection, wrapped, _registered(minutes), entries),
            in_pieces(partial(self._seal, opened), minutes.kept),
        )
        digests = await meanwhile(
            log.keep_submissions(connection, submissions), in_pieces(digest, entries)
        )
        if entries:
            await log.link(connection, opened.head, entries[-1].position, digests)
        if minutes.moved:
            await log.move_parked(connection, minutes.moved)
        accepted_at = opened.now if minutes.entries else opened.head.accepted_at
        world = opened.world
        await log.move_head(
            connection, log.Head(world.position, world.arrival, opened.now, accepted_at)
        )

    def _introduce(self, kept: Iterable[Kept], opened: _Opened) -> dict[bytes, bytes]:
        """Give those a key who are seen for the first time; by subject, the wrapped ones to keep.

        Whom the office has erased stays so: what comes of them counts, under a key that nobody
        keeps.
        """
        wrapped: dict[bytes, bytes] = {}
        for one in kept:
            subject = one.fate.subject
            if subject is not None and subject not in opened.keys:
                opened.keys[subject] = self.vault.new_key()
                if subject not in opened.erased:
                    wrapped[subject] = self.vault.wrap(opened.keys[subject], subject)
        return wrapped

    def _seal(self, opened: _Opened, kept: Kept) -> tuple[Any, ...]:
        """A submission as its row has it, sealed with its person's key."""
        subject = kept.fate.subject
        key = opened.keys[subject] if subject else None
        sealed = self.vault.seal(kept.received.arrived.content, key)
        return log.submission(kept, sealed, opened.now)


async def _keep(
    connection: AsyncConnection,
    wrapped: dict[bytes, bytes],
    registered: Sequence[tuple[UUID, bytes]],
    entries: Sequence[LogEntry],
) -> None:
    await log.keep_keys(connection, wrapped)
    await log.keep_residents(connection, registered)
    await log.append(connection, entries)


def _identities() -> Iterator[UUID]:
    while True:
        yield uuid4()


def _circumstances(now: datetime) -> Circumstances:
    return Circumstances(now, village_codes())


def _subjects(received: Sequence[Received], claims: dict[Key, Claim]) -> set[bytes]:
    """Whom the arrivals, and what they retract, may concern."""
    found = {claim.subject for claim in claims.values() if claim.subject is not None}
    for one in received:
        checked = one.arrived.checked
        if isinstance(checked, WellFormed) and checked.subject is not None:
            found.add(checked.subject)
    return found


def _told(received: Sequence[Received]) -> set[bytes]:
    """The subjects of all numbers in the arrivals that may be somebody's NIK."""
    found: set[bytes] = set()
    for one in received:
        checked = one.arrived.checked
        if isinstance(checked, WellFormed) and checked.told:
            found |= checked.told.keys()
    return found


def _written_of(received: Sequence[Received], claims: dict[Key, Claim]) -> set[bytes | None]:
    """Of whom the arrivals say something in free words, which may be their name."""
    found: set[bytes | None] = set()
    for one in received:
        checked = one.arrived.checked
        if isinstance(checked, WellFormed) and checked.texts:
            target = checked.fact
            if isinstance(target, EventRetracted) and (target.source, target.id) in claims:
                found.add(claims[target.source, target.id].subject)
            found.add(checked.subject)
    return found


def _keys_named(received: Sequence[Received]) -> set[Key]:
    """The sources and ids that arrivals bear or retract."""
    named = {(one.arrived.source, one.arrived.id) for one in received if one.arrived.claims}
    for one in received:
        checked = one.arrived.checked
        if isinstance(checked, WellFormed) and isinstance(checked.fact, EventRetracted):
            named.add((checked.fact.source, checked.fact.id))
    return named


def _registered(minutes: Minutes) -> list[tuple[UUID, bytes]]:
    return [
        (entry.logged.resident_id, entry.submitted.subject)
        for entry in minutes.entries
        if isinstance(entry.logged.fact, ResidentRegistered) and entry.submitted.subject
    ]


def _sequences(received: Sequence[Received]) -> dict[str, set[int]]:
    """The numbers that arrived from each source whose sender may speak for it."""
    found: dict[str, set[int]] = {}
    for one in received:
        if one.arrived.is_heard:
            numbers = found.setdefault(one.arrived.source, set())
            if one.arrived.station_seq is not None:
                numbers.add(one.arrived.station_seq)
    return found
