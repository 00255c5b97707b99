"""The peer: the library `eventsourcing` appending to the same server.

It too gives each event a place in one order without gaps, by locking its table for each append.
`Peer` is its recorder alone, which like the floor decides nothing. `take` is the library as it is
meant: an aggregate for each resident, read again from its events where there are some, and saved in
batches.
"""

import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import NAMESPACE_OID, UUID, uuid4, uuid5

import orjson
from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, event
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


class Resident(Aggregate):
    """What the aggregate must know to decide on a recording: nothing but that it is registered."""

    @event("Registered")
    def __init__(self, nik: str, data: dict[str, Any]) -> None:
        self.nik = nik
        self.data = data
        self.recorded = False

    @staticmethod
    def create_id(nik: str, data: dict[str, Any]) -> UUID:
        """The aggregate's identity: that of the NIK."""
        return uuid5(NAMESPACE_OID, nik)

    @event("Recorded")
    def record(self) -> None:
        """Take a recording."""
        self.recorded = True


class Office(Application[UUID]):
    """Registrations and recordings in batches, each saved as one transaction."""

    name = "office"

    def take(self, bodies: Sequence[bytes]) -> None:
        """Decide a batch and save it."""
        touched: dict[UUID, Resident] = {}
        for body in bodies:
            data = orjson.loads(body)["data"]
            identity = Resident.create_id(data["nik"], {})
            if len(data) > 1:
                touched[identity] = Resident(data["nik"], data)
            else:
                if identity not in touched:
                    touched[identity] = self.repository.get(identity)
                touched[identity].record()
        self.save(*touched.values())


def take(dsn: str, queues: Sequence[Sequence[Sequence[bytes]]], makes_tables: bool = True) -> float:
    """Events a second when each client of an application sends batch after batch."""
    events = sum(len(batch) for queue in queues for batch in queue)
    settings = environment(dsn, len(queues)) | {"CREATE_TABLE": "yes" if makes_tables else "no"}
    with (
        Office(Environment("bench", settings)) as office,
        ThreadPoolExecutor(len(queues)) as pool,
    ):

        def send(queue: Sequence[Sequence[bytes]]) -> None:
            for batch in queue:
                office.take(batch)

        began_at = time.perf_counter()
        list(pool.map(send, queues))
        return events / (time.perf_counter() - began_at)


def take_beside(dsn: str, queues: Sequence[Sequence[Sequence[bytes]]]) -> float:
    """As `take`, beside others: the tables are there, and two that make them at once fail."""
    return take(dsn, queues, makes_tables=False)


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
