"""What operators see and do of parked submissions: the queries, content still sealed."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.registry import log
from shared.problems import Problem, ProblemType

_COLUMNS: Final = (
    "s.arrival, s.received_at, s.sender, s.source, s.event_id, s.warnings, s.outcome, s.position,"
    " s.problem::text AS problem, s.dropped_at, s.dropped_by, s.drop_reason, s.subject, s.content,"
    " k.wrapped_key"
)
_FROM: Final = (
    " FROM registry.submissions s LEFT JOIN registry.vault_keys k ON k.subject = s.subject"
)
_WAITING = text(
    f"SELECT {_COLUMNS}{_FROM}"
    " WHERE s.outcome = 'parked' AND s.arrival > :after ORDER BY s.arrival LIMIT :limit"
)
_ONCE_PARKED = text(
    f"SELECT {_COLUMNS}{_FROM}"
    " WHERE s.arrival = ANY(CAST(:arrivals AS bigint[])) AND s.first_outcome = 'parked'"
    " ORDER BY s.arrival"
)
_SUBJECTS = text(
    "SELECT arrival, subject FROM registry.submissions"
    " WHERE outcome = 'parked' AND arrival > :after ORDER BY arrival LIMIT :limit"
)
_DROP = text(
    "UPDATE registry.submissions SET outcome = 'rejected', warnings = '{}',"
    " problem = CAST(:problem AS json), dropped_at = :at, dropped_by = :by, drop_reason = :reason"
    " WHERE arrival = :arrival AND outcome = 'parked'"
)

DROPPED: Final = Problem(
    ProblemType.DROPPED,
    "An operator dropped this event while it waited; ask the office why, and send it under a new"
    " id if it is still wanted.",
)


@dataclass(frozen=True, slots=True)
class Dropped:
    """That an operator gave a parked submission up: when, who, and why."""

    at: datetime
    by: str
    reason: str


@dataclass(frozen=True, slots=True)
class OnceParked:
    """A submission that is parked, or was, as kept; `wrapped_key` is None once its person was
    erased, and then its content is for nobody."""

    arrival: int
    received_at: datetime
    sender: str
    source: str
    id: str
    warnings: tuple[str, ...]
    outcome: str
    position: int | None
    problem: Problem | None
    dropped: Dropped | None
    subject: bytes
    content: bytes
    wrapped_key: bytes | None


async def read_waiting(connection: AsyncConnection, after: int, limit: int) -> list[OnceParked]:
    """What is parked, in the order of arrival, beyond a number of arrival."""
    rows = await connection.execute(_WAITING, {"after": after, "limit": limit})
    return [_once_parked(row) for row in rows]


async def read_once_parked(connection: AsyncConnection, arrivals: list[int]) -> list[OnceParked]:
    """Those of these arrivals that are parked or once were, in the order of arrival."""
    rows = await connection.execute(_ONCE_PARKED, {"arrivals": arrivals})
    return [_once_parked(row) for row in rows]


async def read_subjects(
    connection: AsyncConnection, after: int, limit: int
) -> list[tuple[int, bytes]]:
    """Number of arrival and subject of what is parked, in the order of arrival."""
    rows = await connection.execute(_SUBJECTS, {"after": after, "limit": limit})
    return [(row.arrival, row.subject) for row in rows]


async def drop(connection: AsyncConnection, arrival: int, dropped: Dropped) -> bool:
    """Give a parked submission up; false if it is not parked."""
    result = await connection.execute(
        _DROP,
        {
            "arrival": arrival,
            "problem": log.write_problem(DROPPED),
            "at": dropped.at,
            "by": dropped.by,
            "reason": dropped.reason,
        },
    )
    return result.rowcount == 1


def _once_parked(row: Row[Any]) -> OnceParked:
    return OnceParked(
        arrival=row.arrival,
        received_at=row.received_at,
        sender=row.sender,
        source=row.source,
        id=row.event_id,
        warnings=tuple(row.warnings),
        outcome=row.outcome,
        position=row.position,
        problem=log.read_problem(row.problem) if row.problem else None,
        dropped=Dropped(row.dropped_at, row.dropped_by, row.drop_reason)
        if row.dropped_at
        else None,
        subject=row.subject,
        content=row.content,
        wrapped_key=row.wrapped_key,
    )
