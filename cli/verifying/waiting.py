"""Waiting a bounded time until what is on its way through the system has arrived."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from cli.verifying.snapshot import HEAD, Connection, connected

POLL_S: Final = 0.2

# Everything up to a position is published and counted, and what it changed is handed to the broker.
_COUNTED: Final = (
    "SELECT $1 <= (SELECT min(position) FROM projections.marks)"
    " AND $1 <= (SELECT coalesce(min(published_up_to), 0) FROM registry.relay_marks)"
    " AND NOT EXISTS (SELECT FROM projections.voter_outbox WHERE position <= $1)"
    " AND NOT EXISTS (SELECT FROM projections.voter_differences JOIN projections.folds"
    " USING (fold) WHERE switched_at IS NOT NULL)"
)
_REVISIONS: Final = "SELECT election, village, revision FROM projections.tallies WHERE revision > 0"
_BEHIND: Final = (
    "SELECT count(*) FROM unnest($1::text[], $2::text[], $3::bigint[])"
    " AS wanted (election, village, revision) LEFT JOIN notifier.villages AS told"
    " USING (election, village) WHERE wanted.revision > coalesce(told.revision, 0)"
)


async def until(dsn: str, holds: Callable[[Connection], Awaitable[bool]], within_s: float) -> bool:
    """Ask again and again, at least once, until something holds; whether it does in time."""
    now_s = asyncio.get_running_loop().time
    end_s = now_s() + within_s
    async with connected(dsn) as connection:
        while not await holds(connection):
            if now_s() >= end_s:
                return False
            await asyncio.sleep(POLL_S)
    return True


async def settle(dsn: str, within_s: float) -> bool:
    """Wait until what is in the log now is published, counted and told; whether it is in time.

    It may be that it is not: a service is stopped, or the numbers are wrong. The proofs say which.
    """
    async with connected(dsn) as connection:
        head = await connection.fetchval(HEAD)
    now_s = asyncio.get_running_loop().time
    end_s = now_s() + within_s

    async def is_counted(connection: Connection) -> bool:
        return bool(await connection.fetchval(_COUNTED, head) or head == 0)

    if not await until(dsn, is_counted, within_s):
        return False
    async with connected(dsn) as connection:
        wanted = await connection.fetch(_REVISIONS)

    async def is_told(connection: Connection) -> bool:
        columns = [[row[n] for row in wanted] for n in range(3)]
        return bool(await connection.fetchval(_BEHIND, *columns) == 0)

    return await until(dsn, is_told, max(0.0, end_s - now_s()))
