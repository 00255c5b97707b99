"""The peer: the library `eventsourcing` appending to the same server by its own recorder.

It too gives each event a place in one order without gaps, by locking its table for each append;
like the floor it decides nothing.
"""

import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final
from urllib.parse import urlsplit
from uuid import uuid4

from eventsourcing.persistence import ApplicationRecorder, StoredEvent
from eventsourcing.postgres import PostgresFactory
from eventsourcing.utils import Environment

TOPIC: Final = "tests.bench:Happened"

# The row's header, its originator with version, the topic with its length, the notification id.
ROW_OVERHEAD_BYTES: Final = 24 + 16 + 8 + 1 + len(TOPIC) + 4 + 8


class Peer:
    """Appends events of one row size from threads, as an application server would."""

    def __init__(self, dsn: str, row_bytes: int) -> None:
        self._dsn = dsn
        self._state_bytes = row_bytes - ROW_OVERHEAD_BYTES

    def rate(self, threads: int, appends: int, size: int) -> float:
        """Events a second when so many threads append so often."""
        with PostgresFactory(environment(self._dsn, threads)) as factory:
            recorder = factory.application_recorder()
            work = [[self._events(size) for _ in range(appends)] for _ in range(threads)]
            with ThreadPoolExecutor(threads) as pool:
                # The first append of each thread opens its connection, before the clock starts.
                list(pool.map(lambda _: recorder.insert_events(self._events(1)), work))
                began_at = time.perf_counter()
                list(pool.map(lambda mine: _append(recorder, mine), work))
                return threads * appends * size / (time.perf_counter() - began_at)

    def _events(self, count: int) -> list[StoredEvent]:
        return [StoredEvent(uuid4(), 1, TOPIC, os.urandom(self._state_bytes)) for _ in range(count)]


def _append(recorder: ApplicationRecorder, work: Sequence[Sequence[StoredEvent]]) -> None:
    for events in work:
        recorder.insert_events(events)


def environment(dsn: str, connections: int) -> Environment:
    """The library's settings for a database of the server."""
    parts = urlsplit(dsn)
    return Environment(
        "bench",
        {
            "PERSISTENCE_MODULE": "eventsourcing.postgres",
            "POSTGRES_HOST": parts.hostname or "",
            "POSTGRES_PORT": str(parts.port),
            "POSTGRES_USER": parts.username or "",
            "POSTGRES_PASSWORD": parts.password or "",
            "POSTGRES_DBNAME": parts.path.removeprefix("/"),
            "POSTGRES_POOL_SIZE": str(connections),
            "POSTGRES_MAX_OVERFLOW": "0",
        },
    )
