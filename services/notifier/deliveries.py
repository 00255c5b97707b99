"""Deliveries in PostgreSQL: how far each subscription is, what is held back, and every attempt.

One worker at a time holds a subscription: taking it over raises its `version`, and whoever holds
an older one saves attempts but moves nothing. A save is one transaction, so that the cursor never
passes a change whose village is not among the failing.
"""

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import ARRAY, Text, bindparam, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from services.notifier.domain.track import Held
from services.notifier.subscriptions import Why
from shared.database import driver_of

KEPT_FOR: Final = timedelta(days=7)
KEPT_ROWS: Final = 100_000
TRIMMED_AT_ONCE: Final = 10_000


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt as it is kept: `status` or `error`, and the first bytes of the answer."""

    election: str | None
    village: str | None
    sequence: int | None
    attempt: int
    time: datetime
    status: int | None
    error: str | None
    duration_ms: int
    answer: str


@dataclass(frozen=True, slots=True)
class TakenOver:
    """A subscription as its worker needs it; the secrets are sealed."""

    subscription_id: str
    version: int
    url: str
    secret: bytes
    previous_secret: bytes | None
    previous_until: datetime | None
    cursors: Mapping[str, int]
    held: Mapping[str, Mapping[str, Held]]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an election is: the cursor, and what changed among its held villages."""

    election: str
    cursor: int
    held: Mapping[str, Held]
    released: Iterable[str]


_ACTIVE = text(
    "SELECT CAST(subscription_id AS text) AS subscription_id, version"
    " FROM notifier.subscriptions WHERE state = 'active'"
)
_DISABLE_REVOKED = text(
    "UPDATE notifier.subscriptions SET state = 'disabled', why = 'token-revoked', since = :now,"
    " version = version + 1 WHERE state = 'active' AND token_id IN"
    " (SELECT token_id FROM access.tokens WHERE revoked_at IS NOT NULL)"
    " RETURNING CAST(subscription_id AS text) AS subscription_id"
)
_TAKE_OVER = text(
    "UPDATE notifier.subscriptions SET version = version + 1"
    " WHERE subscription_id = CAST(:id AS uuid) AND state = 'active'"
    " RETURNING version, url, secret, previous_secret, previous_until"
)
_CURSORS = text(
    "SELECT election, sequence FROM notifier.cursors WHERE subscription_id = CAST(:id AS uuid)"
)
_HELD = text(
    "SELECT election, village, sequence, attempts, since, next_attempt_at, hastened"
    " FROM notifier.failing WHERE subscription_id = CAST(:id AS uuid)"
)

# Whoever holds the row numbers its attempts: they become visible in order.
_LOCK = text(
    "SELECT version FROM notifier.subscriptions WHERE subscription_id = CAST(:id AS uuid)"
    " FOR NO KEY UPDATE"
)
_MOVE = text(
    "UPDATE notifier.cursors SET sequence = :sequence"
    " WHERE subscription_id = CAST(:id AS uuid) AND election = :election"
    " AND sequence <> :sequence"
)
_HOLD = text(
    "INSERT INTO notifier.failing (subscription_id, election, village, sequence, attempts, since,"
    " next_attempt_at, hastened) VALUES (CAST(:id AS uuid), :election, :village, :sequence,"
    " :attempts, :since, :next_at, :hastened)"
    " ON CONFLICT (subscription_id, election, village) DO UPDATE SET"
    " sequence = excluded.sequence, attempts = excluded.attempts, since = excluded.since,"
    " next_attempt_at = excluded.next_attempt_at, hastened = excluded.hastened"
)
_RELEASE = text(
    "DELETE FROM notifier.failing WHERE subscription_id = CAST(:id AS uuid)"
    " AND election = :election AND village = ANY(:villages)"
).bindparams(bindparam("villages", type_=ARRAY(Text)))
_DISABLE = text(
    "UPDATE notifier.subscriptions SET state = 'disabled', why = :why, since = :now,"
    " version = version + 1 WHERE subscription_id = CAST(:id AS uuid) AND version = :version"
)

_PAGE = text(
    "SELECT number, election, village, sequence, attempt, time, status, error, duration_ms, answer"
    " FROM notifier.deliveries WHERE subscription_id = CAST(:id AS uuid) AND number > :after"
    " ORDER BY number LIMIT :limit"
)
_LAST = text(
    "SELECT coalesce(max(number), 0) FROM notifier.deliveries"
    " WHERE subscription_id = CAST(:id AS uuid)"
)

_TRIM_OLD = text(
    "DELETE FROM notifier.deliveries WHERE (subscription_id, number) IN ("
    "SELECT subscription_id, number FROM notifier.deliveries"
    " WHERE time < :before ORDER BY time LIMIT :limit)"
)
_TRIM_MANY = text(
    "DELETE FROM notifier.deliveries WHERE subscription_id = CAST(:id AS uuid) AND number <= ("
    "SELECT number FROM notifier.deliveries WHERE subscription_id = CAST(:id AS uuid)"
    " ORDER BY number DESC OFFSET :kept LIMIT 1)"
)
_ALL = text("SELECT CAST(subscription_id AS text) AS id FROM notifier.subscriptions")

_COLUMNS: Final = (
    "subscription_id",
    "election",
    "village",
    "sequence",
    "attempt",
    "time",
    "status",
    "error",
    "duration_ms",
    "answer",
)


class Deliveries:
    """What was and is to be delivered to every subscription."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def active(self) -> dict[str, int]:
        """The versions of the subscriptions to deliver to."""
        async with self._reading() as connection:
            rows = await connection.execute(_ACTIVE)
            return {row.subscription_id: row.version for row in rows}

    async def disable_revoked(self, now: datetime) -> list[str]:
        """Disable the subscriptions of tokens that are in force no longer."""
        async with self._engine.begin() as connection:
            rows = await connection.execute(_DISABLE_REVOKED, {"now": now})
            return [row.subscription_id for row in rows]

    async def take_over(self, subscription_id: str) -> TakenOver | None:
        """Become the one worker of a subscription; None where it is not delivered to now."""
        this = {"id": subscription_id}
        async with self._engine.begin() as connection:
            row = (await connection.execute(_TAKE_OVER, this)).first()
            if row is None:
                return None
            cursors = {c.election: c.sequence for c in await connection.execute(_CURSORS, this)}
            held: dict[str, dict[str, Held]] = {election: {} for election in cursors}
            for kept in await connection.execute(_HELD, this):
                until = max(cursors[kept.election], kept.sequence)
                held[kept.election][kept.village] = Held(
                    kept.sequence,
                    until,
                    kept.attempts,
                    kept.since,
                    kept.next_attempt_at,
                    kept.hastened,
                )
        return TakenOver(
            subscription_id,
            row.version,
            row.url,
            row.secret,
            row.previous_secret,
            row.previous_until,
            cursors,
            held,
        )

    async def save(
        self,
        subscription_id: str,
        version: int,
        attempts: Iterable[Attempt],
        progress: Iterable[Progress],
    ) -> bool:
        """Keep attempts, and what they moved if the subscription is still held at `version`;
        whether it is."""
        this = {"id": subscription_id}
        async with self._engine.begin() as connection:
            found = await connection.scalar(_LOCK, this)
            if found is None:
                return False
            await _add(connection, subscription_id, attempts)
            if found == version:
                for each in progress:
                    await _move(connection, subscription_id, each)
        return bool(found == version)

    async def keep(self, subscription_id: str, attempt: Attempt) -> None:
        """Keep one attempt of a test event."""
        async with self._engine.begin() as connection:
            if await connection.scalar(_LOCK, {"id": subscription_id}) is not None:
                await _add(connection, subscription_id, [attempt])

    async def disable(self, subscription_id: str, version: int, why: Why, now: datetime) -> bool:
        """Deliver nothing more; false where the subscription was changed or taken over since."""
        arguments = {"id": subscription_id, "version": version, "why": why.value, "now": now}
        async with self._engine.begin() as connection:
            return bool((await connection.execute(_DISABLE, arguments)).rowcount)

    async def page(
        self, subscription_id: str, after: int, limit: int
    ) -> tuple[list[Mapping[str, Any]], int]:
        """The attempts after a number, in order, and the last number there is."""
        arguments = {"id": subscription_id, "after": after, "limit": limit}
        async with self._reading() as connection:
            last: int = await connection.scalar(_LAST, {"id": subscription_id})
            rows = (await connection.execute(_PAGE, arguments)).mappings().all()
        return [dict(row) for row in rows], last

    async def trim(self, now: datetime) -> None:
        """Forget attempts older than 7 days, and of each subscription all but the last 100,000."""
        async with self._reading() as connection:
            arguments = {"before": now - KEPT_FOR, "limit": TRIMMED_AT_ONCE}
            while (await connection.execute(_TRIM_OLD, arguments)).rowcount:
                pass
            for row in (await connection.execute(_ALL)).all():
                await connection.execute(_TRIM_MANY, {"id": row.id, "kept": KEPT_ROWS})

    @asynccontextmanager
    async def _reading(self) -> AsyncIterator[AsyncConnection]:
        async with self._engine.connect() as connection:
            yield await connection.execution_options(isolation_level="AUTOCOMMIT")


async def _add(
    connection: AsyncConnection, subscription_id: str, attempts: Iterable[Attempt]
) -> None:
    rows = [
        (
            subscription_id,
            each.election,
            each.village,
            each.sequence,
            each.attempt,
            each.time,
            each.status,
            each.error,
            each.duration_ms,
            each.answer,
        )
        for each in attempts
    ]
    if rows:
        driver = await driver_of(connection)
        await driver.copy_records_to_table(
            "deliveries", schema_name="notifier", columns=_COLUMNS, records=rows
        )


async def _move(connection: AsyncConnection, subscription_id: str, progress: Progress) -> None:
    this = {"id": subscription_id, "election": progress.election}
    if progress.held:
        rows = [
            this
            | {
                "village": village,
                "sequence": held.sequence,
                "attempts": held.attempts,
                "since": held.since,
                "next_at": held.next_at,
                "hastened": held.hastened,
            }
            for village, held in sorted(progress.held.items())
        ]
        await connection.execute(_HOLD, rows)
    if released := list(progress.released):
        await connection.execute(_RELEASE, this | {"villages": released})
    await connection.execute(_MOVE, this | {"sequence": progress.cursor})
