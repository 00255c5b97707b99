"""One state of the database, read by several connections and processes while events arrive."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import asyncpg

CONNECT_TIMEOUT_S: Final = 5.0

# Rows that a cursor fetches at a time.
CURSOR_ROWS: Final = 5_000

# Without a head the log is held to end before its first position, and what it has is named.
HEAD: Final = "SELECT coalesce(max(position), 0) FROM registry.head"

_BEGIN: Final = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
# Whole tables are held against each other: where the planner would go through one for each row of
# another, it only guesses wrongly how many rows there are.
_WHOLE_TABLES: Final = "SET LOCAL work_mem = '64MB'; SET LOCAL enable_nestloop = off"

Connection: TypeAlias = "asyncpg.Connection[Any]"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A state of the database at `dsn`, by the id that PostgreSQL exported it under."""

    dsn: str
    exported: str


@contextlib.asynccontextmanager
async def held(dsn: str) -> AsyncIterator[tuple[Connection, Snapshot]]:
    """A connection that holds a state of the database, and the state for others to read."""
    async with connected(dsn) as connection:
        await connection.execute(_BEGIN)
        await connection.execute(_WHOLE_TABLES)
        exported = await connection.fetchval("SELECT pg_export_snapshot()")
        yield connection, Snapshot(dsn, exported)


@contextlib.asynccontextmanager
async def reading(snapshot: Snapshot) -> AsyncIterator[Connection]:
    """Another connection that reads a state which is held elsewhere."""
    async with connected(snapshot.dsn) as connection:
        await connection.execute(_BEGIN)
        # It is PostgreSQL's own word, and takes no parameter.
        await connection.execute(f"SET TRANSACTION SNAPSHOT '{snapshot.exported}'")
        await connection.execute(_WHOLE_TABLES)
        yield connection


@contextlib.asynccontextmanager
async def connected(dsn: str) -> AsyncIterator[Connection]:
    """A connection of its own."""
    connection = await asyncpg.connect(dsn, timeout=CONNECT_TIMEOUT_S)
    try:
        yield connection
    finally:
        await connection.close(timeout=CONNECT_TIMEOUT_S)
