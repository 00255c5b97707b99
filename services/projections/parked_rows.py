"""What operators see and do of parked records: the queries."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.projections.fold_tables import GENERATION_LOCK

_COLUMNS: Final = (
    "parked_id, parked_at, partition, record_offset, position, resident_id, type, why, record,"
    " dropped_at, dropped_by, drop_reason"
)
_WAITING = text(
    f"SELECT {_COLUMNS} FROM projections.parked"  # noqa: S608 - our own columns
    " WHERE dropped_at IS NULL AND parked_id > :after ORDER BY parked_id LIMIT :limit"
)
_ONE = text(
    f"SELECT {_COLUMNS} FROM projections.parked WHERE parked_id = :parked_id"  # noqa: S608 - our own columns
)
_RESIDENTS = text(
    "SELECT DISTINCT resident_id FROM projections.parked"
    " WHERE position IS NOT NULL AND dropped_at IS NULL AND resident_id > :after"
    " ORDER BY resident_id LIMIT :limit"
)
_OF_RESIDENTS = text(
    f"SELECT {_COLUMNS} FROM projections.parked"  # noqa: S608 - our own columns
    " WHERE position IS NOT NULL AND dropped_at IS NULL"
    " AND resident_id = ANY(CAST(:residents AS uuid[])) ORDER BY position"
)
_DROP = text(
    "UPDATE projections.parked SET dropped_at = now(), dropped_by = :by, drop_reason = :reason"  # noqa: S608 - our own columns
    f" WHERE parked_id = :parked_id AND dropped_at IS NULL RETURNING {_COLUMNS}"
)
_APPLIED = text("DELETE FROM projections.parked WHERE position = ANY(CAST(:positions AS bigint[]))")
_EXPLAIN = text(
    "UPDATE projections.parked SET why = known.why"
    " FROM unnest(CAST(:positions AS bigint[]), CAST(:whys AS text[])) AS known (position, why)"
    " WHERE parked.position = known.position AND parked.why <> known.why"
)


@dataclass(frozen=True, slots=True)
class Dropped:
    """That an operator gave a parked record up: when, who, and why."""

    at: datetime
    by: str
    reason: str


@dataclass(frozen=True, slots=True)
class ParkedRow:
    """A record that is parked, or was dropped. One without a position has no place in the log."""

    parked_id: int
    parked_at: datetime
    partition: int
    offset: int | None
    position: int | None
    resident_id: UUID | None
    type: str | None
    why: str
    record: bytes
    dropped: Dropped | None


async def read_waiting(connection: AsyncConnection, after: int, limit: int) -> list[ParkedRow]:
    """What is parked, in the order in which it was, beyond a number."""
    rows = await connection.execute(_WAITING, {"after": after, "limit": limit})
    return [_parked_row(row) for row in rows]


async def read_one(connection: AsyncConnection, parked_id: int) -> ParkedRow | None:
    """One that is parked, or was dropped."""
    row = (await connection.execute(_ONE, {"parked_id": parked_id})).first()
    return _parked_row(row) if row else None


async def read_residents(connection: AsyncConnection, after: UUID, limit: int) -> list[UUID]:
    """The next residents, in the order of their ids, of whom events are parked."""
    rows = await connection.execute(_RESIDENTS, {"after": after, "limit": limit})
    return [UUID(int=row.resident_id.int) for row in rows]


async def read_events(
    connection: AsyncConnection, residents: Collection[UUID]
) -> Sequence[ParkedRow]:
    """The events that are parked of some residents, in the order of their positions."""
    rows = await connection.execute(_OF_RESIDENTS, {"residents": list(residents)})
    return [_parked_row(row) for row in rows]


async def drop(
    connection: AsyncConnection, parked_id: int, by: str, reason: str
) -> ParkedRow | None:
    """Give one up: it as it is then, none if it is not parked."""
    given = {"parked_id": parked_id, "by": by, "reason": reason}
    row = (await connection.execute(_DROP, given)).first()
    return _parked_row(row) if row else None


async def settle(
    connection: AsyncConnection, applied: Collection[int], waiting: Mapping[int, str]
) -> None:
    """Remove the positions that were applied, and say of those that still wait why they do."""
    await connection.execute(_APPLIED, {"positions": list(applied)})
    whys = {"positions": list(waiting), "whys": list(waiting.values())}
    await connection.execute(_EXPLAIN, whys)


async def hold_generation(connection: AsyncConnection) -> bool:
    """Keep foldings and replays from beginning until the transaction ends; false if one is under
    way."""
    tried = await connection.execute(
        text("SELECT pg_try_advisory_xact_lock(:lock)"), {"lock": GENERATION_LOCK}
    )
    return bool(tried.scalar_one())


def _parked_row(row: Row[Any]) -> ParkedRow:
    dropped = Dropped(row.dropped_at, row.dropped_by, row.drop_reason) if row.dropped_at else None
    return ParkedRow(
        parked_id=row.parked_id,
        parked_at=row.parked_at,
        partition=row.partition,
        offset=row.record_offset,
        position=row.position,
        resident_id=UUID(int=row.resident_id.int) if row.resident_id else None,
        type=row.type,
        why=row.why,
        record=row.record,
        dropped=dropped,
    )
