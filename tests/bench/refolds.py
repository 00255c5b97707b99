"""Folding a whole log again: `cacah replay`, and the floor that writes the same rows.

The floor reads the log and copies the rows that came of it, which it is given, into bare tables
with the same indexes: what any program that makes these rows has to do at least.
"""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Final

import asyncpg

from shared.counts import Counts
from shared.database import create_engine
from shared.event_log import read_log
from shared.topics import PARTITIONS
from tests.bench.floors import connection_to
from tests.bench.machine import tree_mb

TOLD_S: Final = 0.1
ROWS: Final = 20_000
SCHEMA: Final = "floor"

_FACTS: Final = (
    *("resident_id", "position", "recorded_at", "type", "version"),
    *("source", "event_id", "data"),
)
_FACT: Final = attrgetter(
    "resident_id", "position", "recorded_at", "type", "version", "source", "id", "data"
)


@dataclass(frozen=True, slots=True)
class ReplayRun:
    """How long the command took as a process, and the most memory that it and its children had."""

    seconds: float
    memory_mb: float


class ReplayFailedError(Exception):
    """`cacah replay` ended with another status than 0."""


async def replay(database_url: str) -> ReplayRun:
    """Replay the log as an operator does. Raises ReplayFailedError."""
    began_at = time.perf_counter()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cli.main", "replay"),
        env=os.environ | {"CACAH_DATABASE_URL": database_url},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    ending = asyncio.create_task(process.communicate())
    most_mb = 0.0
    while not ending.done():
        most_mb = max(most_mb, tree_mb(process.pid))
        await asyncio.wait([ending], timeout=TOLD_S)
    said, _ = await ending
    if process.returncode != 0:
        raise ReplayFailedError(said.decode()[-2_000:])
    return ReplayRun(time.perf_counter() - began_at, most_mb)


async def write_the_same(database_url: str, election: str) -> float:
    """Seconds of the floor: the log read, its facts and the history copied, the indexes made."""
    dsn = _dsn(database_url)
    async with connection_to(dsn) as connection:
        history = await _history(connection, election)
        await connection.execute(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")
        await connection.execute(f"CREATE SCHEMA {SCHEMA}")
        for table in ("facts", "history"):
            await connection.execute(
                f"CREATE TABLE {SCHEMA}.{table} (LIKE projections.{table} INCLUDING DEFAULTS)"
            )
        began_at = time.perf_counter()
        await asyncio.gather(_copy_facts(database_url), _copy_history(dsn, history))
        async with connection_to(dsn) as beside:
            await asyncio.gather(_index(connection, "facts"), _index(beside, "history"))
        return time.perf_counter() - began_at


async def _history(connection: Any, election: str) -> list[Any]:
    """The rows of the history that serves."""
    return list(
        await connection.fetch(
            "SELECT * FROM projections.history WHERE election = $1 AND fold ="
            " (SELECT fold FROM projections.elections WHERE id = $1) ORDER BY position",
            election,
        )
    )


async def _copy_facts(database_url: str) -> None:
    engine = create_engine(database_url, pool_size=2)
    async with engine.connect() as connection, connection_to(_dsn(database_url)) as writing:
        after = 0
        while entries := await read_log(connection, after, ROWS):
            after = entries[-1].position
            await writing.copy_records_to_table(
                "facts", schema_name=SCHEMA, columns=_FACTS, records=map(_FACT, entries)
            )
    await engine.dispose()


async def _copy_history(dsn: str, history: list[Any]) -> None:
    async with connection_to(dsn) as connection:
        for n in range(0, len(history), ROWS):
            await connection.copy_records_to_table(
                "history", schema_name=SCHEMA, records=history[n : n + ROWS]
            )


async def _index(connection: Any, table: str) -> None:
    """The indexes that projections' table has."""
    definitions = await connection.fetch(
        "SELECT indexdef FROM pg_indexes WHERE schemaname = 'projections' AND tablename = $1", table
    )
    for definition in definitions:
        made = definition["indexdef"].replace(" projections.", f" {SCHEMA}.")
        await connection.execute(made.replace(" ONLY ", " "))


def _dsn(database_url: str) -> str:
    return database_url.replace("+asyncpg", "")


@asynccontextmanager
async def counting(database_url: str, bootstrap: str) -> AsyncIterator[None]:
    """Projections as a process, which count what the log has."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "services.projections"),
        env=os.environ
        | {
            "CACAH_DATABASE_URL": database_url,
            "CACAH_KAFKA_BOOTSTRAP": bootstrap,
            "CACAH_PROJECTIONS_PORT": "18042",
        },
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        process.terminate()
        await process.wait()


async def counted(connection: Any, position: int) -> bool:
    """Whether projections have counted everything up to a position."""
    marks = await connection.fetchrow(
        "SELECT count(*), min(position) FROM projections.marks WHERE partition < $1", PARTITIONS
    )
    return bool(marks[1] is not None and marks[1] >= position)


async def tallies(connection: asyncpg.Connection, election: str) -> Mapping[str, Counts]:
    """The tallies as they are kept; villages of nobody are left out."""
    columns = ", ".join(Counts._fields)
    rows = await connection.fetch(
        f"SELECT village, {columns} FROM projections.tallies WHERE election = $1", election
    )
    found = {row["village"]: Counts._make(row[1:]) for row in rows}
    return {village: counts for village, counts in found.items() if any(counts)}
