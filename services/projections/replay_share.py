"""Folding residents of the next generation in a process of its own.

`python -m services.projections.replay_share` reads a job from its input, one line of JSON, then
shares of the residents, each another; it answers each with a line when its history is stored, and
the end of the shares, an empty line, with its tallies. It ends with whoever started it: when its
input is closed.
"""

import asyncio
import gc
import os
import sys
from collections import Counter
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache, lru_cache
from itertools import groupby
from operator import itemgetter
from typing import Any, BinaryIO, Final
from uuid import UUID

import asyncpg
import orjson

from services.projections import queries
from services.projections.domain.refold import tallies_of
from services.projections.domain.retelling import retell
from services.projections.domain.tally import AN_EARLIER_ONE_WAITS, counts_of
from services.projections.generations import FACT_COLUMNS, NEXT
from services.projections.history_copy import copied, history_bytes
from services.projections.tables import HISTORY_COLUMNS
from shared.counts import Counts
from shared.database import plain_dsn
from shared.elections import Election
from shared.events.codec import UnreadableFactError, read_fact
from shared.events.facts import Fact, LoggedFact
from shared.events.records import LogEntry, partition_of, write_event
from shared.topics import PARTITIONS

REMEMBERED_FACTS: Final = 50_000
MOST_LINE_BYTES: Final = 64 * 1024 * 1024

# A life's facts are told apart by their positions; their times only pass through, as they came.
NO_TIME: Final = datetime(1970, 1, 1, tzinfo=UTC)

# The last of them is the data.
READ_COLUMNS: Final = f"{FACT_COLUMNS}::text"
PARKED_COLUMNS: Final = ("partition", "position", "resident_id", "type", "why", "record")


@dataclass(frozen=True, slots=True)
class Row:
    """A fact of the log; `why` it cannot be read, where it cannot. `time` is PostgreSQL's own."""

    logged: LoggedFact | None
    position: int
    time: bytes
    why: str = ""


@lru_cache(REMEMBERED_FACTS)
def _fact(event_type: str, version: int, data: str) -> Fact:
    return read_fact(event_type, orjson.loads(data), version)


def _row(record: Sequence[Any]) -> Row:
    resident_id, position, time, event_type, version, source, event_id, data = record
    try:
        fact = _fact(event_type, version, data)
    except UnreadableFactError as error:
        return Row(None, position, time, str(error))
    return Row(LoggedFact(position, NO_TIME, source, event_id, resident_id, fact), position, time)


async def connect(database_url: str) -> Any:
    """A connection that gives times as they are on the wire: they are only passed on."""
    connection = await asyncpg.connect(plain_dsn(database_url))
    await connection.set_type_codec(
        "timestamptz",
        schema="pg_catalog",
        encoder=bytes,
        decoder=bytes,
        format="binary",
    )
    return connection


def lives(records: Iterable[Sequence[Any]]) -> Iterator[list[Row]]:
    """The facts of one resident after the other, of records sorted by resident and position."""
    for _, theirs in groupby(records, key=itemgetter(0)):
        yield [_row(record) for record in theirs]


@dataclass(slots=True)
class Folder:
    """Folds residents for all elections, and gathers what came of it."""

    elections: list[Election]
    folds: list[int]
    groups: list[Counter[tuple[str, Counts]]] = field(default_factory=list)
    rows: list[list[bytes]] = field(default_factory=list)
    parked: dict[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.groups = [Counter() for _ in self.elections]
        self.rows = [[] for _ in self.elections]

    def fold(self, theirs: Sequence[Row]) -> None:
        """Fold one resident; what cannot be applied, and what follows it, is parked."""
        facts: list[LoggedFact] = []
        why = ""
        for row in theirs:
            if row.logged is None:
                why = row.why
                break
            facts.append(row.logged)
        retold = retell(facts, self.elections)
        stopped_at = len(facts)
        if retold.stopped_at is not None:
            stopped_at, why = retold.stopped_at, retold.why
        for row in theirs[stopped_at:]:
            self.parked[row.position] = why
            why = AN_EARLIER_ONE_WAITS
        for number, village, index, counts in retold.added:
            row, election = theirs[index], self.elections[number]
            self.rows[number].append(
                history_bytes(
                    election.id, village, self.folds[number], row.position, row.time, counts
                )
            )
        for number, standing in enumerate(retold.standings):
            if standing is not None:
                self.groups[number][(standing.village, counts_of(standing))] += 1

    async def store(self, connection: Any) -> None:
        """Store the history so far, and what is parked."""
        for fold, rows in zip(self.folds, self.rows, strict=True):
            if rows:
                await connection.copy_to_table(
                    f"history_{fold}",
                    schema_name=NEXT,
                    columns=HISTORY_COLUMNS,
                    source=_at_once(copied(rows)),
                    format="binary",
                )
                rows.clear()
        if self.parked:
            await _park(connection, self.parked)
            self.parked.clear()


async def _at_once(sent: bytes) -> AsyncIterator[bytes]:
    yield sent


async def _park(connection: Any, parked: Mapping[int, str]) -> None:
    found = await connection.fetch(
        "SELECT position, to_char(recorded_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US')"
        " || '+00:00', type, version, time, source, event_id, resident_id, data::text"
        " FROM registry.log WHERE position = ANY($1)",
        list(parked),
    )
    rows = []
    for position, recorded_at, *others in found:
        entry = LogEntry(position, datetime.fromisoformat(recorded_at), *others)
        partition = partition_of(entry.resident_id, PARTITIONS)
        value = write_event(entry, previous=0)
        why = parked[position]
        rows.append((partition, position, entry.resident_id, entry.type, why, value))
    await connection.copy_records_to_table(
        "parked", schema_name=NEXT, columns=PARKED_COLUMNS, records=rows
    )


async def _take(connection: Any, share: tuple[UUID, UUID], up_to: int) -> list[Any]:
    """Bring a share of the log into the next generation's facts, by resident, as they will be
    read; those facts. An operator has given up what is dropped, and what followed was counted
    without it."""
    # By resident: a share is a small part of the log, but statistics may not know that yet.
    await connection.execute("SET LOCAL enable_seqscan = off")
    taken = await connection.fetch(
        f"INSERT INTO {NEXT}.facts ({FACT_COLUMNS}) SELECT {FACT_COLUMNS} FROM registry.log"  # noqa: S608 - our own tables
        " WHERE resident_id BETWEEN $1 AND $2 AND position <= $3 AND NOT EXISTS ("
        " SELECT FROM projections.parked WHERE parked.resident_id = log.resident_id"
        " AND parked.position = log.position AND dropped_at IS NOT NULL)"
        f" ORDER BY resident_id, position RETURNING {READ_COLUMNS}",
        *share,
        up_to,
    )
    # PostgreSQL does not promise that they come back in the order in which they went in.
    return sorted(taken, key=itemgetter(0, 1))


async def _fold_share(connection: Any, folder: Folder, share: tuple[UUID, UUID], up_to: int) -> int:
    """Fold a share in one transaction: how many facts it has."""
    async with connection.transaction():
        taken = await _take(connection, share, up_to)
        for theirs in lives(taken):
            folder.fold(theirs)
        await folder.store(connection)
    return len(taken)


async def _work(job: Mapping[str, Any], shares: asyncio.StreamReader) -> None:
    elections = [queries.defined(each["id"], each["definition"]) for each in job["elections"]]
    folder = Folder(elections, job["folds"])
    connection = await connect(job["database_url"])
    while line := (await shares.readline()).strip():
        first, last = orjson.loads(line)
        events = await _fold_share(connection, folder, (UUID(first), UUID(last)), job["up_to"])
        answer({"events": events})
    await connection.close()
    answer({"tallies": [listed(tallies_of(groups)) for groups in folder.groups]})


def listed(tallies: Mapping[str, Counts]) -> dict[str, list[int]]:
    """Tallies as they are answered."""
    return {village: list(counts) for village, counts in tallies.items()}


@cache
def _answers() -> BinaryIO:
    """Where answers go: what an operator's rules print must not come between them."""
    ours = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return ours


def answer(body: Mapping[str, Any]) -> None:
    """Write a line to whoever started us."""
    _answers().write(orjson.dumps(body) + b"\n")
    _answers().flush()


async def _input() -> "LinesUntilClosed":
    loop = asyncio.get_running_loop()
    reader = LinesUntilClosed(limit=MOST_LINE_BYTES)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    return reader


class LinesUntilClosed(asyncio.StreamReader):
    """Our input; we end with it, wherever we are."""

    def feed_eof(self) -> None:
        os._exit(1)


Work = Callable[[dict[str, Any], asyncio.StreamReader], Awaitable[None]]


def run(work: Work) -> None:
    """Read the job, and work until the input ends."""
    _answers()
    # Half of the work would be the garbage collector's, which finds nothing.
    gc.disable()
    asyncio.run(_read_and(work))


async def _read_and(work: Work) -> None:
    reader = await _input()
    await work(orjson.loads(await reader.readline()), reader)


if __name__ == "__main__":
    run(_work)
