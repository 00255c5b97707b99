"""The peer `eventsourcing`: its own projection runner, folding the same entries into PostgreSQL.

Its runner gives a projection one event at a time, and each is a transaction with its tracking
record: that is the library's promise of once and once only, and what it costs.
"""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, LiteralString
from uuid import UUID

import orjson
from eventsourcing.application import Application
from eventsourcing.domain import DomainEvent
from eventsourcing.persistence import Tracking
from eventsourcing.postgres import PostgresTrackingRecorder
from eventsourcing.projection import Projection, ProjectionRunner
from eventsourcing.utils import Environment
from psycopg.sql import SQL, Composed

from services.projections.domain.electorate import Standing, standing_for
from services.projections.domain.resident import Resident, evolve
from services.projections.domain.tally import added, counts_of, subtracted
from shared.counts import NOTHING, Counts
from shared.elections import PILKADA_2024
from shared.events.codec import VERSION
from shared.events.facts import LoggedFact
from shared.events.records import LogEntry, logged_fact, served
from tests.bench.peers import environment

INSERTED_AT_ONCE: Final = 1_000
TIMEOUT_S: Final = 1_800.0


@dataclass(frozen=True)
class Logged(DomainEvent):
    """An entry of the log as the library keeps it."""

    entry: dict[str, Any]


class Log(Application[UUID]):
    """The events, one aggregate for each resident."""

    name = "log"


def _statement(written: LiteralString) -> Composed:
    return Composed([SQL(written)])


class View(PostgresTrackingRecorder):
    """Facts by resident and tallies by village, in the tables of the peer."""

    def __init__(self, datastore: Any, **kwargs: Any) -> None:
        super().__init__(datastore, **kwargs)
        self.sql_create_statements += [
            _statement(
                "CREATE TABLE facts (resident_id uuid, position bigint, entry text,"
                " PRIMARY KEY (resident_id, position))"
            ),
            _statement(
                "CREATE TABLE tallies (village text PRIMARY KEY, counts integer[] NOT NULL)"
            ),
        ]

    def fold(self, entry: dict[str, Any], tracking: Tracking) -> None:
        """Add one fact, and what it changes, in one transaction with its tracking record."""
        with self.datastore.transaction(commit=True) as cursor:
            self._insert_tracking(cursor, tracking)
            cursor.execute(
                "SELECT entry FROM facts WHERE resident_id = %s ORDER BY position",
                (entry["resident_id"],),
            )
            known = Resident(tuple(_logged(orjson.loads(row["entry"])) for row in cursor))
            cursor.execute(
                "INSERT INTO facts VALUES (%s, %s, %s)",
                (entry["resident_id"], entry["position"], orjson.dumps(entry).decode()),
            )
            now = evolve(known, _logged(entry))
            before = standing_for(known, PILKADA_2024)
            after = standing_for(now, PILKADA_2024)
            for village, counts in _changes(before, after):
                cursor.execute(
                    "INSERT INTO tallies VALUES (%s, %s) ON CONFLICT (village) DO UPDATE"
                    " SET counts = ARRAY(SELECT a + b FROM unnest(tallies.counts, excluded.counts)"
                    " AS sums (a, b))",
                    (village, list(counts)),
                )

    def tallies(self) -> dict[str, Counts]:
        """What was counted, by village."""
        with self.datastore.transaction(commit=False) as cursor:
            cursor.execute("SELECT village, counts FROM tallies")
            return {row["village"]: Counts._make(row["counts"]) for row in cursor}


class Tallies(Projection[View]):
    """Hands each event to the view."""

    name = "tallies"

    def process_event(self, domain_event: Any, tracking: Tracking) -> None:
        self.view.fold(domain_event.entry, tracking)


def _logged(entry: dict[str, Any]) -> LoggedFact:
    return logged_fact(
        LogEntry(
            entry["position"],
            datetime.fromisoformat(entry["recorded_at"]),
            entry["type"],
            VERSION,
            entry["time"],
            entry["source"],
            entry["id"],
            UUID(entry["resident_id"]),
            orjson.dumps(entry["data"]).decode(),
        )
    )


def _changes(before: Standing | None, after: Standing | None) -> list[tuple[str, Counts]]:
    if before == after:
        return []
    if before and after and before.village == after.village:
        return [(after.village, subtracted(counts_of(after), counts_of(before)))]
    changes = [(before.village, subtracted(NOTHING, counts_of(before)))] if before else []
    return [*changes, (after.village, added(NOTHING, counts_of(after)))] if after else changes


def _keep(settings: Environment, entries: Sequence[LogEntry]) -> None:
    """Append the entries by the library's own recorder, each resident's with their versions."""
    versions: Counter[UUID] = Counter()
    with Log(settings) as log:
        for n in range(0, len(entries), INSERTED_AT_ONCE):
            stored = []
            for entry in entries[n : n + INSERTED_AT_ONCE]:
                versions[entry.resident_id] += 1
                members = served(entry) | {
                    "recorded_at": entry.recorded_at.isoformat(),
                    "data": orjson.loads(entry.data),
                }
                event = Logged(
                    entry.resident_id, versions[entry.resident_id], entry.recorded_at, members
                )
                stored.append(log.mapper.to_stored_event(event))
            log.recorder.insert_events(stored)


def fold(dsn: str, entries: Sequence[LogEntry]) -> tuple[float, dict[str, Counts]]:
    """Seconds from the runner's start to the last entry counted, and the tallies."""
    settings = environment(dsn, connections=5)
    _keep(settings, entries)
    began_at = time.perf_counter()
    with ProjectionRunner(
        application_class=Log, projection_class=Tallies, view_class=View, env=settings
    ) as runner:
        runner.wait(len(entries), timeout=TIMEOUT_S)
        seconds = time.perf_counter() - began_at
        return seconds, runner.projection.view.tallies()
