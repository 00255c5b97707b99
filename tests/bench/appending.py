"""Appending without the door: the registry's appender beside a COPY of the same rows.

The appender gets parsed events, checks their form, decides, seals and commits. The floor writes
the very rows that came of it into tables of the same shape and indexes, and does nothing else:
in one loop; from all clients in one order, each transaction holding the head as the registry's
do; and from all at once, as a log in one order could not be written.
"""

import asyncio
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

import orjson
import uvloop

from services.registry.appending import Appender
from services.registry.domain.submissions import Arrival, arrive
from services.registry.ledger import Ledger
from services.registry.vault import KEY_BYTES, Vault
from shared.collecting import spare_collecting
from shared.database import create_engine
from shared.pieces import in_pieces
from shared.regions import village_codes
from tests.bench.floors import connection_to
from tests.bench.people import Clerk, people

CLIENTS: Final = 4
BATCH: Final = 500

# People registered and not yet recorded, at each client.
BEHIND: Final = 250

SCHEMA: Final = "floor"
APPENDED: Final = ("log", "submissions", "residents", "vault_keys", "chain")


def batches(events: int) -> list[list[list[bytes]]]:
    """Events as stations write them: by client, the batches."""
    arriving = people(events // 2 + CLIENTS * BEHIND + CLIENTS)
    clerks = [Clerk(f"BATCH-{n:02}", arriving, BEHIND) for n in range(CLIENTS)]
    count = events // (CLIENTS * BATCH)
    return [
        [[written.body for written in clerk.write(BATCH)] for _ in range(count)] for clerk in clerks
    ]


async def append(database_url: str, queues: Sequence[Sequence[Sequence[bytes]]]) -> float:
    """Events a second that the appender accepts when each client sends batch after batch."""
    engine = create_engine(database_url, pool_size=2)
    vault = Vault(os.urandom(KEY_BYTES))
    appender = Appender(engine, Ledger(vault), lambda: None)
    # As the service does when it starts.
    village_codes()
    spare_collecting()
    running = asyncio.create_task(appender.run())
    try:
        began_at = time.perf_counter()
        await asyncio.gather(*(_send(appender, vault, queue) for queue in queues))
        seconds = time.perf_counter() - began_at
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        await engine.dispose()
    return sum(len(batch) for queue in queues for batch in queue) / seconds


async def _send(appender: Appender, vault: Vault, queue: Sequence[Sequence[bytes]]) -> None:
    for batch in queue:
        arrivals = await in_pieces(partial(_arrival, vault), batch)
        answers = await appender.submit(arrivals, "bench", datetime.now(UTC))
        assert all(answer.outcome == "accepted" for answer in answers)


def _arrival(vault: Vault, body: bytes) -> Arrival:
    arrived = arrive(orjson.loads(body), True, vault.subject_of)
    assert isinstance(arrived, Arrival)
    return arrived


def append_in_turn(database_url: str, queues: Sequence[Sequence[Sequence[bytes]]]) -> None:
    """As `append`, from a process of its own."""
    uvloop.run(append(database_url, queues))


async def copy_the_same(
    dsn: str, events: int, clients: int = CLIENTS, in_order: bool = False
) -> float:
    """Events a second that a bare COPY of the rows which the appender wrote comes to."""
    async with connection_to(dsn) as connection:
        await connection.execute(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE; CREATE SCHEMA {SCHEMA}")
        await connection.execute(f"CREATE TABLE {SCHEMA}.head AS SELECT * FROM registry.head")
        rows = {}
        for table in APPENDED:
            await connection.execute(
                f"CREATE TABLE {SCHEMA}.{table} (LIKE registry.{table} INCLUDING ALL)"
            )
            rows[table] = await connection.fetch(f"SELECT * FROM registry.{table}")
    batches = list(_transactions(rows, events))
    waiting = iter(batches)
    began_at = time.perf_counter()
    await asyncio.gather(*(_copy(dsn, waiting, in_order) for _ in range(clients)))
    return events / (time.perf_counter() - began_at)


def _transactions(rows: dict[str, list[Any]], events: int) -> Iterator[dict[str, list[Any]]]:
    """The rows in as many transactions as the clients sent batches."""
    count = events // BATCH
    for n in range(count):
        yield {
            table: theirs[n * len(theirs) // count : (n + 1) * len(theirs) // count]
            for table, theirs in rows.items()
        }


async def _copy(dsn: str, waiting: Iterator[dict[str, list[Any]]], in_order: bool) -> None:
    async with connection_to(dsn) as connection:
        for rows in waiting:
            async with connection.transaction():
                if in_order:
                    await connection.fetch(f"SELECT * FROM {SCHEMA}.head FOR UPDATE")
                for table, theirs in rows.items():
                    await connection.copy_records_to_table(
                        table, schema_name=SCHEMA, records=theirs
                    )
                if in_order:
                    await connection.execute(
                        f"UPDATE {SCHEMA}.head SET position = $1", rows["log"][-1]["position"]
                    )
