"""Reading the event log. The registry alone appends to it; these are the only readers' queries."""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.database import driver_of
from shared.events.records import LogEntry

_READ = (
    "SELECT position, recorded_at, type, version, time, source, event_id, resident_id,"
    " data::text AS data FROM registry.log"
    " WHERE position > $1 AND position <= $2 ORDER BY position LIMIT $3"
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
    # By the driver itself: the whole log passes here, and SQLAlchemy's rows cost as much again.
    driver = await driver_of(connection)
    return [LogEntry(*row) for row in await driver.fetch(_READ, after, up_to, limit)]


async def last_position(connection: AsyncConnection) -> int:
    """The position of the log's last entry, 0 when it is empty."""
    return int((await connection.execute(_LAST)).scalar_one())
