"""The floor: the same bytes into one bare table by asyncpg, as durably, deciding nothing."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

import asyncpg

CREATE: Final = "CREATE TABLE floor (position bigint PRIMARY KEY, payload bytea NOT NULL)"
INSERT: Final = "INSERT INTO floor (position, payload) VALUES ($1, $2)"

# What PostgreSQL adds to the columns of a row: its header, and here a bigint and a length.
ROW_OVERHEAD_BYTES: Final = 24 + 8 + 4

Row = tuple[int, bytes]
Insert = Callable[[Any, Sequence[Row]], Awaitable[Any]]


class Floor:
    """Inserts rows of one size; positions go on through all runs."""

    def __init__(self, dsn: str, row_bytes: int) -> None:
        self._dsn = dsn
        self._payload_bytes = row_bytes - ROW_OVERHEAD_BYTES
        self._last = 0

    async def create(self) -> None:
        async with connection_to(self._dsn) as connection:
            await connection.execute(CREATE)

    async def executemany(self, connections: int, batches: int, size: int) -> float:
        """Rows a second, each batch one transaction of INSERTs."""
        return await self._rate(connections, batches, size, _executemany)

    async def copy(self, connections: int, batches: int, size: int) -> float:
        """Rows a second, each batch one COPY."""
        return await self._rate(connections, batches, size, _copy)

    async def single(self, connections: int, rows: int) -> float:
        """Rows a second, each its own transaction."""
        return await self._rate(connections, rows, 1, _single)

    async def _rate(self, connections: int, batches: int, size: int, insert: Insert) -> float:
        async with AsyncExitStack() as held:
            workers = [
                (
                    await held.enter_async_context(connection_to(self._dsn)),
                    [self._rows(size) for _ in range(batches)],
                )
                for _ in range(connections)
            ]
            began_at = time.perf_counter()
            await asyncio.gather(*(_work(insert, *worker) for worker in workers))
            return connections * batches * size / (time.perf_counter() - began_at)

    def _rows(self, count: int) -> list[Row]:
        first = self._last + 1
        self._last += count
        return [(n, os.urandom(self._payload_bytes)) for n in range(first, first + count)]


async def _work(insert: Insert, connection: Any, batches: Sequence[Sequence[Row]]) -> None:
    for batch in batches:
        await insert(connection, batch)


async def _executemany(connection: Any, rows: Sequence[Row]) -> None:
    await connection.executemany(INSERT, rows)


async def _copy(connection: Any, rows: Sequence[Row]) -> None:
    await connection.copy_records_to_table("floor", records=rows)


async def _single(connection: Any, rows: Sequence[Row]) -> None:
    await connection.execute(INSERT, *rows[0])


@asynccontextmanager
async def connection_to(dsn: str) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(dsn)
    try:
        yield connection
    finally:
        await connection.close()
