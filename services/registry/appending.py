"""One appender decides: what arrives within a few milliseconds is decided and committed together.

Several registry processes stay correct, because each transaction holds the head of the log.
Fault model: the database may go away at any point. A request whose commit was not seen is told
so and sends again; its events are then duplicates, or new, but never both.
"""

import asyncio
import logging
from collections import Counter as Counted
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final
from uuid import UUID, uuid4

import asyncpg
import orjson
from prometheus_client import Counter, Histogram
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from services.registry import log
from services.registry.domain.decide import Circumstances
from services.registry.domain.deciding import (
    Answer,
    Kept,
    Key,
    Minutes,
    Received,
    Waiting,
    World,
    decide_all,
)
from services.registry.domain.submissions import Arrival, WellFormed, arrive
from services.registry.vault import Vault
from shared.events.facts import EventRetracted, ResidentRegistered
from shared.regions import village_codes

logger = logging.getLogger(__name__)

# From the first submission that waits, never from the last: a slow trickle must not wait for ever.
GATHERING_WINDOW_S: Final = 0.002
MAX_GATHERED: Final = 2_000
MAX_WAITING: Final = 30_000

SUBMISSIONS = Counter("registry_submissions", "Submissions by outcome", ["outcome"])
TRANSACTION_SECONDS = Histogram(
    "registry_append_seconds",
    "One append transaction",
    buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5),
)
GATHERED = Histogram(
    "registry_append_submissions",
    "Submissions decided in one transaction",
    buckets=(1, 5, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000),
)

_DATABASE_AWAY: Final = (
    DBAPIError,
    asyncpg.InterfaceError,
    asyncpg.PostgresConnectionError,
    OSError,
    TimeoutError,
)


class TooMuchWaitingError(Exception):
    """More submissions wait to be decided than this process takes on."""


class NotCommittedError(Exception):
    """The database did not confirm; the same submissions may be sent again."""


@dataclass(slots=True)
class _Request:
    """What one HTTP request brought, in its order, and where its answers go."""

    received: list[Received]
    answers: asyncio.Future[list[Answer]]


@dataclass(slots=True)
class Appender:
    """Gathers submissions and appends them; `on_append` is called after each commit."""

    engine: AsyncEngine
    vault: Vault
    on_append: Callable[[], None]
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    _requests: list[_Request] = field(default_factory=list)
    _waiting: int = 0
    _arrived: asyncio.Event = field(default_factory=asyncio.Event)

    async def submit(self, arrivals: Sequence[Arrival], sender: str) -> list[Answer]:
        """Decide and commit; the answers in the order of the arrivals.

        Raises TooMuchWaitingError or NotCommittedError.
        """
        if self._waiting + len(arrivals) > MAX_WAITING:
            raise TooMuchWaitingError
        received = [Received(one, self.vault.fingerprint(one.content), sender) for one in arrivals]
        request = _Request(received, asyncio.get_running_loop().create_future())
        self._requests.append(request)
        self._waiting += len(received)
        self._arrived.set()
        return await request.answers

    async def run(self) -> None:
        """Append until cancelled."""
        while True:
            await self._arrived.wait()
            if self._waiting < MAX_GATHERED:
                await asyncio.sleep(GATHERING_WINDOW_S)
            gathered = self._gather()
            if gathered:
                await self._append_or_refuse(gathered)

    def _gather(self) -> list[_Request]:
        gathered: list[_Request] = []
        size = 0
        while self._requests and (not gathered or size < MAX_GATHERED):
            request = self._requests.pop(0)
            size += len(request.received)
            gathered.append(request)
        self._waiting -= size
        if not self._requests:
            self._arrived.clear()
        return gathered

    async def _append_or_refuse(self, gathered: list[_Request]) -> None:
        """One request's trouble must not become another's: after a fault, each goes alone."""
        try:
            await self._append(gathered)
        except _DATABASE_AWAY as error:
            logger.warning("append failed", extra={"error": type(error).__name__})
            for request in gathered:
                _fail(request, NotCommittedError())
        except Exception:
            logger.exception("append failed", extra={"requests": len(gathered)})
            if len(gathered) == 1:
                _fail(gathered[0], NotCommittedError())
                return
            for request in gathered:
                await self._append_or_refuse([request])

    async def _append(self, gathered: list[_Request]) -> None:
        received = [one for request in gathered for one in request.received]
        with TRANSACTION_SECONDS.time():
            async with self.engine.begin() as connection:
                minutes = await self._decide(connection, received)
        GATHERED.observe(len(received))
        self.on_append()
        for outcome, count in Counted(answer.outcome for answer in minutes.answers).items():
            SUBMISSIONS.labels(outcome).inc(count)
        answers = iter(minutes.answers)
        for request in gathered:
            mine = [next(answers) for _ in request.received]
            if not request.answers.done():
                request.answers.set_result(mine)

    async def _decide(self, connection: AsyncConnection, received: list[Received]) -> Minutes:
        head = await log.hold_head(connection)
        # The head's time never goes back, so that recorded_at rises with the position.
        now = max(self.clock(), head.recorded_at)
        world, keys = await self._read_world(connection, received, head)
        minutes = decide_all(received, world, Circumstances(now, village_codes()), _identities())
        await self._write(connection, minutes, keys, now)
        await log.move_head(connection, log.Head(world.position, world.arrival, now))
        await log.note_contact(connection, _sequences(received), now)
        return minutes

    async def _read_world(
        self, connection: AsyncConnection, received: list[Received], head: log.Head
    ) -> tuple[World, dict[bytes, bytes]]:
        """What the arrivals may touch, and the keys of the people concerned."""
        claims = await log.read_claims(connection, _keys_named(received))
        subjects = list(
            {s for one in received if (s := _subject(one.arrived)) is not None}
            | {claim.subject for claim in claims.values() if claim.subject is not None}
        )
        world = World(head.position, head.arrival, claims)
        world.residents = await log.read_residents(connection, subjects)
        wrapped = await log.read_wrapped_keys(connection, subjects)
        keys = {
            subject: self.vault.unwrap(key, subject)
            for subject, key in wrapped.items()
            if key is not None
        }
        for row in await log.read_parked(connection, subjects):
            world.claims[row.key] = row.claim
            self._remember(world, row, keys)
        return world, keys

    def _remember(self, world: World, row: log.ParkedRow, keys: dict[bytes, bytes]) -> None:
        subject = row.claim.subject
        if subject is None or subject not in keys:
            return
        event = orjson.loads(self.vault.open(row.content, keys[subject]))
        arrived = arrive(event, True, self.vault.subject_of)
        assert isinstance(arrived, Arrival)
        assert isinstance(arrived.checked, WellFormed)
        world.parked.setdefault(subject, []).append(Waiting(row.key, arrived.checked))

    async def _write(
        self,
        connection: AsyncConnection,
        minutes: Minutes,
        keys: dict[bytes, bytes],
        now: datetime,
    ) -> None:
        fresh: dict[bytes, bytes] = {}
        sealed = [log.SealedKept(kept, self._seal(kept, keys, fresh)) for kept in minutes.kept]
        if fresh:
            await log.keep_keys(connection, fresh)
        if minutes.entries:
            await log.append_log(connection, minutes.entries)
        if registered := _registered(minutes):
            await log.keep_residents(connection, registered)
        if sealed:
            await log.keep_submissions(connection, sealed, now)
        if minutes.moved:
            await log.move_parked(connection, minutes.moved)

    def _seal(self, kept: Kept, keys: dict[bytes, bytes], fresh: dict[bytes, bytes]) -> bytes:
        """Seal a submission with its person's key, made on first sight."""
        subject = kept.fate.subject
        if subject is not None and subject not in keys:
            keys[subject] = self.vault.new_key()
            fresh[subject] = self.vault.wrap(keys[subject], subject)
        return self.vault.seal(kept.received.arrived.content, keys[subject] if subject else None)


def _fail(request: _Request, error: Exception) -> None:
    if not request.answers.done():
        request.answers.set_exception(error)


def _identities() -> Iterator[UUID]:
    while True:
        yield uuid4()


def _subject(arrived: Arrival) -> bytes | None:
    return arrived.checked.subject if isinstance(arrived.checked, WellFormed) else None


def _keys_named(received: list[Received]) -> set[Key]:
    """The sources and ids that arrivals bear or retract."""
    named = {(one.arrived.source, one.arrived.id) for one in received}
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


def _sequences(received: list[Received]) -> dict[str, set[int]]:
    """The numbers that arrived from each source whose sender may speak for it."""
    found: dict[str, set[int]] = {}
    for one in received:
        if one.arrived.claims:
            numbers = found.setdefault(one.arrived.source, set())
            if one.arrived.station_seq is not None:
                numbers.add(one.arrived.station_seq)
    return found
