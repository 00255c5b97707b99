"""Reading the event log. The registry alone appends to it; these are the only readers' queries."""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.events.records import LogEntry

_READ = text(
    "SELECT position, recorded_at, type, version, time, source, event_id, resident_id,"
    " data::text AS data FROM registry.log"
    " WHERE position > :after AND position <= :up_to ORDER BY position LIMIT :limit"
)
_LAST = text("SELECT position FROM registry.head")

NO_BOUND = 2**62


async def read_log(
    connection: AsyncConnection, after: int, limit: int, up_to: int = NO_BOUND
) -> list[LogEntry]:
    """The entries after a position, in order, at most `limit`.

    Positions become visible in order and without a gap, so the next call may go on from the
    last position returned.
    """
    rows = await connection.execute(_READ, {"after": after, "up_to": up_to, "limit": limit})
    return [LogEntry(*row) for row in rows]


async def last_position(connection: AsyncConnection) -> int:
    """The position of the log's last entry, 0 when it is empty."""
    return int((await connection.execute(_LAST)).scalar_one())
