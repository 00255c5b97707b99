"""Reading the event log. The registry alone appends to it; these are the only readers' queries."""

from datetime import UTC, datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.as_of import CLOCK_TOLERANCE, Moment
from shared.database import driver_of
from shared.events.records import LogEntry

_READ = (
    "SELECT position, recorded_at, type, version, time, source, event_id, resident_id,"
    " data::text AS data, received_at FROM registry.log"
    " WHERE position > $1 AND position <= $2 ORDER BY position LIMIT $3"
)
_LAST = text("SELECT position FROM registry.head")

# By halves, each a look-up by the key: recorded_at rises with the position, and an index of its
# own would be written with every append.
_RECORDED_BY = text(
    """
    WITH RECURSIVE halved (low, high) AS (
        SELECT CAST(0 AS bigint), position FROM registry.head
        UNION ALL
        SELECT CASE WHEN recorded_at <= :moment THEN position ELSE low END,
            CASE WHEN recorded_at <= :moment THEN high ELSE position - 1 END
        FROM halved JOIN registry.log ON position = (low + high + 1) / 2
        WHERE low < high
    )
    SELECT low FROM halved WHERE low = high
    """
)
_RECORDED = text(
    "SELECT position, recorded_at FROM registry.log WHERE position = ANY(CAST(:positions AS"
    " bigint[]))"
)
_END = text(
    "SELECT head.position, log.recorded_at FROM registry.head LEFT JOIN registry.log"
    " USING (position)"
)

NO_BOUND = 2**62


class BeyondTheLogError(Exception):
    """A moment that the log has not reached; the message goes on from the field's name."""


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


async def recorded_at(connection: AsyncConnection, *positions: int) -> dict[int, datetime]:
    """When the entries at some positions were recorded; those that are not there are left out."""
    rows = await connection.execute(_RECORDED, {"positions": list(positions)})
    return {row.position: row.recorded_at for row in rows}


async def require_reached(connection: AsyncConnection, moment: Moment) -> None:
    """Raises BeyondTheLogError for a position after the log's last, and for a time to come."""
    row = (await connection.execute(_END)).one()
    if isinstance(moment, int):
        if moment > row.position:
            raise BeyondTheLogError(f"lies beyond the end of the log, which is {row.position}.")
        return
    latest = datetime.now(UTC) + CLOCK_TOLERANCE
    # What the log says was recorded then has been, whatever our clock says.
    if moment > max(latest, row.recorded_at or latest):
        raise BeyondTheLogError("lies in the future; what is to come is not counted.")


async def position_at(connection: AsyncConnection, moment: Moment) -> int:
    """The position that a moment means: for a time, the last one recorded by then, 0 if none was.

    Raises BeyondTheLogError.
    """
    await require_reached(connection, moment)
    if isinstance(moment, int):
        return moment
    return int((await connection.execute(_RECORDED_BY, {"moment": moment})).scalar_one())
