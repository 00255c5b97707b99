"""Show 6 of replay and as-of: how long `cacah verify` takes over a long log.

`python -m tests.bench.verify [--events N]`: a log of N events is put into an empty registry, with
what the registry keeps beside it; a whole stack then publishes, counts and tells it; and
`cacah verify` is timed over the result. Ends with 1 where it does not hold, or takes over a
minute.
"""

import argparse
import asyncio
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Final

import asyncpg

from cli.stack import Stack
from shared.database import plain_dsn
from shared.events.records import LogEntry
from shared.log_chain import GENESIS, extend
from tests.bench.long_log import entries
from tests.support.parts import migrate
from tests.support.published_log import append

EVENTS: Final = 1_000_000
MOST_S: Final = 60.0

# The registry gathers about so many in one transaction under load, each of which leaves a link.
ENTRIES_A_LINK: Final = 100
ENTRIES_AT_ONCE: Final = 20_000
SETTLED_WITHIN_S: Final = 3_600.0

# What the registry keeps of each entry besides, with nobody's name in it.
_BESIDE: Final = (
    """
    INSERT INTO registry.vault_keys SELECT sha256(uuid_send(resident_id)), '' FROM (
        SELECT DISTINCT resident_id FROM registry.log) AS those
    """,
    """
    INSERT INTO registry.residents SELECT DISTINCT resident_id, sha256(uuid_send(resident_id))
    FROM registry.log
    """,
    """
    INSERT INTO registry.submissions SELECT position, recorded_at, 'bench', source, event_id, '',
        true, 'accepted', 'accepted', NULL, '{}', position, sha256(uuid_send(resident_id)), ''
    FROM registry.log
    """,
    """
    INSERT INTO registry.stations (source, last_contact, received)
    SELECT source, max(recorded_at), '{}' FROM registry.log GROUP BY source
    """,
    """
    UPDATE registry.head SET (recorded_at, arrival) = (SELECT max(recorded_at), max(position)
    FROM registry.log)
    """,
    "ANALYZE",
)
_AT_REST: Final = """
    SELECT head.position <= (SELECT min(position) FROM projections.marks)
        AND NOT EXISTS (SELECT FROM projections.outbox)
        AND NOT EXISTS (SELECT FROM projections.voter_outbox)
        AND (SELECT sum(eligible) FROM projections.tallies)
            = (SELECT count(*) FROM notifier.voters WHERE village IS NOT NULL)
    FROM registry.head
"""


def say(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')}  {line}", flush=True)


async def fill(dsn: str, count: int) -> None:
    """Put the log in, with its hash chain and what the registry keeps beside it."""
    made, root = entries(count), GENESIS
    connection = await asyncpg.connect(dsn)
    try:
        while some := list(islice(made, ENTRIES_AT_ONCE)):
            await append(dsn, some)
            links = []
            for batch in _batches(some):
                root = extend(root, batch)
                links.append((batch[-1].position, root))
            await connection.copy_records_to_table("chain", schema_name="registry", records=links)
        for statement in _BESIDE:
            await connection.execute(statement)
    finally:
        await connection.close()


def _batches(some: list[LogEntry]) -> Iterator[list[LogEntry]]:
    for n in range(0, len(some), ENTRIES_A_LINK):
        yield some[n : n + ENTRIES_A_LINK]


async def settled(dsn: str) -> None:
    """Wait until everything is counted and told."""
    connection = await asyncpg.connect(dsn)
    try:
        async with asyncio.timeout(SETTLED_WITHIN_S):
            while not await connection.fetchval(_AT_REST):
                await asyncio.sleep(1)
    finally:
        await connection.close()


def verified(stack: Stack) -> tuple[bool, float, float]:
    """Whether `cacah verify` holds, the seconds it takes, and those of the processors in its own
    processes; it prints its own lines."""
    where = {
        "CACAH_DATABASE_URL": stack.database_url,
        "CACAH_KAFKA_BOOTSTRAP": stack.kafka_bootstrap,
    }
    began_s, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "cli.main", "verify"]
    ended = subprocess.run(command, check=False, env=os.environ | where)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    used_s = used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime
    return ended.returncode == 0, time.monotonic() - began_s, used_s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=EVENTS)
    count = parser.parse_args().events
    with tempfile.TemporaryDirectory(prefix="cacah-bench-", ignore_cleanup_errors=True) as name:
        home = Path(name)
        with Stack(home, ports="free", parts={"postgres", "kafka"}) as stack:
            migrate(stack.database_url)
            asyncio.run(fill(plain_dsn(stack.database_url), count))
            settings = stack.settings
        say(f"the log has {count:,} events")
        with Stack(home, settings=settings) as stack:
            asyncio.run(settled(plain_dsn(stack.database_url)))
        say("all is counted and told")
        # Alone on the machine: the services would rest anyhow.
        with Stack(home, settings=settings, parts={"postgres", "kafka"}) as stack:
            holds, took_s, used_s = verified(stack)
    said = "holds" if holds else "does not hold"
    say(f"cacah verify {said} after {took_s:.1f} s, {used_s:.1f} s of the processors")
    sys.exit(0 if holds and took_s <= MOST_S else 1)


if __name__ == "__main__":
    main()
