"""Writing the tables of elections: what is put, what serves, and foldings on their way to serve."""

import asyncio
import contextlib
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Iterable,
    Mapping,
    Sequence,
)
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, Final
from uuid import UUID

import orjson
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from services.projections import queries
from services.projections.domain.definitions import written_definition
from services.projections.domain.refold import Row
from services.projections.domain.resident import Resident
from services.projections.domain.tally import Delta, TallyChange
from services.projections.queries import Known
from services.projections.tables import COUNT_COLUMNS, HISTORY_COLUMNS, copy_in, history_row
from shared.counts import Counts
from shared.database import driver_of
from shared.elections import Election
from shared.events.codec import read_fact
from shared.events.facts import TYPE_PREFIX, Fact, LoggedFact

# Arbitrary numbers of our own: for the lock of who folds elections, of who fills histories,
# and of who tells of everybody again; the second key of an election's lock is its id.
FOLDER_LOCK: Final = 0x6361_6361_6804
BACKFILLER_LOCK: Final = 0x6361_6361_6805
RETELLER_LOCK: Final = 0x6361_6361_6808
PUTS_LOCK: Final = 0x6361_6805

# Held by whoever makes what is to serve out of the facts, or a whole new generation out of the
# log: one at a time.
GENERATION_LOCK: Final = 0x6361_6361_6807

# Whether another process still holds a lock is asked so often.
LOCK_POLL_S: Final = 1.0

# Residents of a bulk read that are held at once, and facts whose values are remembered: of most
# there are few values, and of registrations hardly two alike.
CURSOR_ROWS: Final = 5_000
REMEMBERED_FACTS: Final = 4_096

RETRACTION: Final = f"{TYPE_PREFIX}event.retracted"

# So long the removal of a history may wait for those who read, and others behind it.
REMOVAL_WAIT_MS: Final = 100

NOBODY: Final = UUID(int=0)
LAST_ID: Final = UUID(int=2**128 - 1)


@contextlib.asynccontextmanager
async def alone(engine: AsyncEngine, lock: int) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """Wait until no other process holds a lock, and hold it; what is given raises when the
    connection that holds it is gone."""
    async with engine.connect() as connection:
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        try:
            while not await _locks(connection, lock):
                await asyncio.sleep(LOCK_POLL_S)

            async def still_alone() -> None:
                await connection.execute(text("SELECT 1"))

            yield still_alone
        finally:
            # The lock is the session's: with the connection it goes, and not back into the pool.
            await connection.invalidate()


async def _locks(connection: AsyncConnection, lock: int) -> bool:
    tried = await connection.execute(text("SELECT pg_try_advisory_lock(:lock)"), {"lock": lock})
    return bool(tried.scalar_one())


def _parameters(election: Election) -> dict[str, Any]:
    definition = written_definition(election)
    stages = orjson.dumps(definition["stages"]).decode()
    return {"id": election.id} | definition | {"stages": stages}


async def put(connection: AsyncConnection, election: Election) -> tuple[Known, bool]:
    """Put a definition, unless it is the one that is wanted already: what there is of the
    election afterwards, and whether it is new."""
    await connection.execute(
        text("SELECT pg_advisory_xact_lock(:lock, hashtext(:id))"),
        {"lock": PUTS_LOCK, "id": election.id},
    )
    before = await queries.election(connection, election.id)
    if before is not None and before.wanted == election:
        return before, False
    await connection.execute(
        text(
            "INSERT INTO projections.puts (election, number, definition)"
            " VALUES (:id, 1, :definition) ON CONFLICT (election) DO UPDATE"
            " SET number = puts.number + 1, definition = excluded.definition, put_at = now()"
        ),
        {"id": election.id, "definition": orjson.dumps(written_definition(election)).decode()},
    )
    after = await queries.election(connection, election.id)
    assert after is not None
    return after, before is None


async def pending(connection: AsyncConnection) -> list[str]:
    """The elections whose last definition does not serve yet, the one put first before the
    others."""
    rows = await connection.execute(
        text(
            "SELECT puts.election FROM projections.puts"
            " LEFT JOIN projections.elections ON elections.id = puts.election"
            " WHERE puts.number > coalesce(elections.put_number, 0) ORDER BY put_at"
        )
    )
    return [row.election for row in rows]


async def restage(connection: AsyncConnection, election: Election, put_number: int) -> None:
    """Let a definition serve that counts everybody as before: only its stages may differ."""
    await connection.execute(
        text(
            "UPDATE projections.elections SET stages = :stages, put_number = :put_number"
            " WHERE id = :id"
        ),
        _parameters(election) | {"put_number": put_number},
    )


async def begin_fold(connection: AsyncConnection, election_id: str) -> int:
    """The number of a new folding of an election; what others left unfinished is removed."""
    unfinished = {"election": election_id}
    await connection.execute(
        text(
            "DELETE FROM projections.voter_differences USING projections.folds"
            " WHERE folds.fold = voter_differences.fold AND switched_at IS NULL"
            " AND election = :election"
        ),
        unfinished,
    )
    await connection.execute(
        text("DELETE FROM projections.folds WHERE election = :election AND switched_at IS NULL"),
        unfinished,
    )
    begun = await connection.execute(
        text("INSERT INTO projections.folds (election) VALUES (:election) RETURNING fold"),
        unfinished,
    )
    return int(begun.scalar_one())


async def add_villages(
    connection: AsyncConnection, election_id: str, villages: Collection[str], revision: int = 0
) -> None:
    """Add a tally of zeros for each of some villages; what is there stays.

    Where a row may have been lost, its new `revision` must be beyond all that it had. It rose with
    an event or a fold, so it was never above the log's position and the fold's number together.
    """
    await connection.execute(
        text(
            "INSERT INTO projections.tallies (election, village, revision)"
            " SELECT :election, village, :revision"
            " FROM unnest(CAST(:villages AS text[])) AS village ON CONFLICT DO NOTHING"
        ),
        {"election": election_id, "villages": sorted(villages), "revision": revision},
    )


async def remove_villages(
    connection: AsyncConnection, election_id: str, but: Collection[str]
) -> None:
    """Remove the villages of which nothing was ever told, but some: they left the area."""
    await connection.execute(
        text(
            "DELETE FROM projections.tallies WHERE election = :election AND revision = 0"
            " AND village <> ALL(CAST(:villages AS text[]))"
        ),
        {"election": election_id, "villages": sorted(but)},
    )


async def kept_tallies(connection: AsyncConnection, election_id: str) -> dict[str, Row]:
    """The tallies of the villages of which something was ever told."""
    driver = await driver_of(connection)
    rows = await driver.fetch(
        f"SELECT village, revision, {', '.join(COUNT_COLUMNS)} FROM projections.tallies"  # noqa: S608 - our own columns
        " WHERE election = $1 AND revision > 0",
        election_id,
    )
    return {row[0]: Row(row[1], Counts._make(row[2:])) for row in rows}


_SET_TYPES: Final = (
    *("text", "text", "bigint", "bigint", "timestamptz"),
    *["integer"] * len(COUNT_COLUMNS),
)
_SET_COLUMNS: Final = ("election", "village", "revision", "position", "recorded_at", *COUNT_COLUMNS)
_SET_TALLIES: Final = f"""
    INSERT INTO projections.tallies ({", ".join(_SET_COLUMNS)})
    SELECT * FROM unnest({
    ", ".join(f"${n}::{kind}[]" for n, kind in enumerate(_SET_TYPES, 1))
}) ON CONFLICT (election, village) DO UPDATE SET
        {", ".join(f"{name} = excluded.{name}" for name in _SET_COLUMNS[2:])}
"""  # noqa: S608 - only the names of our own columns


async def set_tallies(connection: AsyncConnection, changes: Sequence[TallyChange]) -> None:
    """Let tallies be what changes take them to."""
    if not changes:
        return
    driver = await driver_of(connection)
    rows = [
        (*change.key, change.revision, change.position, change.recorded_at, *change.after)
        for change in changes
    ]
    await driver.execute(_SET_TALLIES, *map(list, zip(*rows, strict=True)))


async def switch(
    connection: AsyncConnection, election: Election, put_number: int, fold: int, history_from: int
) -> bool:
    """Let a folding serve; false if a later one does already."""
    switched = await connection.execute(
        text(
            "INSERT INTO projections.elections AS served"
            " (id, polling_day, area, minimum_age, first_time_since, stages,"
            " put_number, fold, history_from)"
            " VALUES (:id, :polling_day, :area, :minimum_age, :first_time_since, :stages,"
            " :put_number, :fold, :history_from)"
            " ON CONFLICT (id) DO UPDATE SET polling_day = excluded.polling_day,"
            " area = excluded.area, minimum_age = excluded.minimum_age,"
            " first_time_since = excluded.first_time_since, stages = excluded.stages,"
            " put_number = excluded.put_number, fold = excluded.fold,"
            " history_from = excluded.history_from WHERE served.fold < excluded.fold"
        ),
        _parameters(election)
        | {"put_number": put_number, "fold": fold, "history_from": history_from},
    )
    return switched.rowcount == 1


async def add_history_table(connection: AsyncConnection, fold: int) -> None:
    """Make the table of a folding's history."""
    driver = await driver_of(connection)
    table = f"projections.history_{fold:d}"
    # Not as PARTITION OF: that would lock the histories that are being read.
    await driver.execute(f"CREATE TABLE {table} (LIKE projections.history)")
    await driver.execute(
        f"ALTER TABLE projections.history ATTACH PARTITION {table} FOR VALUES IN ({fold:d})"
    )


async def finish_fold(
    connection: AsyncConnection, fold: int, moment: datetime, position: int, stage: str | None
) -> None:
    """Say when a folding came to serve, and up to where everything was folded."""
    await connection.execute(
        text(
            "UPDATE projections.folds SET switched_at = :moment, position = :position,"
            " stage = :stage WHERE fold = :fold"
        ),
        {"fold": fold, "moment": moment, "position": position, "stage": stage},
    )


async def add_differences(
    connection: AsyncConnection, fold: int, differences: Mapping[UUID, str | None]
) -> None:
    """Keep whom a folding makes a voter elsewhere."""
    rows = [(fold, resident_id, village) for resident_id, village in differences.items()]
    await copy_in(connection, "voter_differences", ("fold", "resident_id", "to_village"), rows)


async def forget_differences(
    connection: AsyncConnection, fold: int, residents: Collection[UUID]
) -> None:
    """Take back what was kept of some residents."""
    await connection.execute(
        text(
            "DELETE FROM projections.voter_differences WHERE fold = :fold"
            " AND resident_id = ANY(CAST(:residents AS uuid[]))"
        ),
        {"fold": fold, "residents": list(residents)},
    )


async def residents_with_facts_after(
    connection: AsyncConnection, position: int, first: UUID = NOBODY, last: UUID = LAST_ID
) -> list[UUID]:
    """The residents, from one id to another, of whom something became known beyond a position."""
    driver = await driver_of(connection)
    rows = await driver.fetch(
        "SELECT DISTINCT resident_id FROM projections.facts WHERE position > $1"
        " AND resident_id BETWEEN $2 AND $3",
        position,
        first,
        last,
    )
    return [row[0] for row in rows]


@lru_cache(REMEMBERED_FACTS)
def _fact(event_type: str, version: int, data: str) -> Fact:
    return read_fact(event_type, orjson.loads(data), version)


@lru_cache(REMEMBERED_FACTS)
def _written_fact(written: str) -> Fact:
    """A fact as a bulk read has it: its type, version and data in one text."""
    event_type, version, data = written.split(" ", 2)
    return read_fact(event_type, orjson.loads(data), int(version))


def forget_facts() -> None:
    """Give back the memory of the facts that a bulk read remembered."""
    _written_fact.cache_clear()


_FACT_COLUMNS: Final = (
    "resident_id, position, recorded_at, type, version, source, event_id, data::text"
)


def _residents(rows: Iterable[Any]) -> dict[UUID, list[LoggedFact]]:
    """The facts by resident, in their order. Nobody is left out silently: a fact that cannot be
    read was never kept."""
    facts: dict[UUID, list[LoggedFact]] = {}
    for resident_id, position, recorded_at, event_type, version, source, event_id, data in rows:
        fact = _fact(event_type, version, data)
        logged = LoggedFact(position, recorded_at, source, event_id, resident_id, fact)
        facts.setdefault(resident_id, []).append(logged)
    return facts


async def prepare_bulk_read(connection: AsyncConnection) -> None:
    """Let this transaction sort a share of the residents in memory."""
    await connection.execute(text("SET LOCAL work_mem = '64MB'"))


@dataclass(slots=True)
class BulkRead:
    """The facts of residents, in their order; and those who must be read by themselves, because
    they have a retraction or a fact beyond the position."""

    facts: list[tuple[UUID, list[Fact]]]
    others: list[UUID]


async def facts_between(
    connection: AsyncConnection, first: UUID, last: UUID, position: int
) -> AsyncIterator[BulkRead]:
    """The facts up to a position of all residents from one id to another, some thousands of
    residents at a time: as little of each as will do for most."""
    driver = await driver_of(connection)
    cursor = await driver.cursor(
        "SELECT resident_id, max(position) > $3 OR bool_or(type = $4),"
        " array_agg(type || ' ' || version || ' ' || data::text ORDER BY position)"
        " FROM projections.facts WHERE resident_id BETWEEN $1 AND $2 GROUP BY resident_id",
        first,
        last,
        position,
        RETRACTION,
    )
    while rows := await cursor.fetch(CURSOR_ROWS):
        yield BulkRead(
            [(row[0], [_written_fact(each) for each in row[2]]) for row in rows if not row[1]],
            [row[0] for row in rows if row[1]],
        )


async def residents_after(
    connection: AsyncConnection, resident_id: UUID, limit: int
) -> dict[UUID, Resident]:
    """The next residents after one, in the order of their ids."""
    driver = await driver_of(connection)
    rows = await driver.fetch(
        f"SELECT {_FACT_COLUMNS} FROM projections.facts WHERE resident_id IN"  # noqa: S608 - our own columns
        " (SELECT DISTINCT resident_id FROM projections.facts WHERE resident_id > $1"
        " ORDER BY resident_id LIMIT $2) ORDER BY resident_id, position",
        resident_id,
        limit,
    )
    return {known: Resident(tuple(facts)) for known, facts in _residents(rows).items()}


async def serves(connection: AsyncConnection, election_id: str, fold: int) -> bool:
    """Whether a folding is the one that serves."""
    row = await connection.execute(
        text("SELECT 1 FROM projections.elections WHERE id = :id AND fold = :fold"),
        {"id": election_id, "fold": fold},
    )
    return row.first() is not None


async def fill_history(connection: AsyncConnection, deltas: Iterable[Delta], fold: int) -> None:
    """Add to a folding's history what is not there yet."""
    await connection.execute(
        text(
            "CREATE TEMPORARY TABLE IF NOT EXISTS filling"
            " (LIKE projections.history) ON COMMIT DELETE ROWS"
        )
    )
    driver = await driver_of(connection)
    await driver.copy_records_to_table(
        "filling", columns=HISTORY_COLUMNS, records=[history_row(delta, fold) for delta in deltas]
    )
    names = ", ".join(HISTORY_COLUMNS)
    await driver.execute(
        f"INSERT INTO projections.history ({names}) SELECT {names} FROM filling"  # noqa: S608 - our own columns
        " ON CONFLICT DO NOTHING"
    )


@dataclass(frozen=True, slots=True)
class Fold:
    """A folding of an election by its number."""

    election: str
    fold: int


async def fold_without_history(connection: AsyncConnection) -> Fold | None:
    """An election's folding that serves without its whole history, none if there is none; it
    waits for what is still to be told of persons."""
    row = (
        await connection.execute(
            text(
                "SELECT id, fold FROM projections.elections WHERE history_from > 0"
                " AND NOT EXISTS (SELECT FROM projections.voter_differences)"
                " ORDER BY fold LIMIT 1"
            )
        )
    ).first()
    return Fold(row.id, row.fold) if row else None


async def finish_history(connection: AsyncConnection, election_id: str, fold: int) -> None:
    """Say that a folding's history is whole."""
    await connection.execute(
        text("UPDATE projections.elections SET history_from = 0 WHERE id = :id AND fold = :fold"),
        {"id": election_id, "fold": fold},
    )


async def past_fold(connection: AsyncConnection) -> Fold | None:
    """A folding that served once and has nothing left to tell, none if there is none."""
    row = (
        await connection.execute(
            text(
                "SELECT folds.election, folds.fold FROM projections.folds"
                " JOIN projections.elections ON elections.id = folds.election"
                " WHERE switched_at IS NOT NULL AND folds.fold < elections.fold AND NOT kept"
                " AND NOT EXISTS (SELECT FROM projections.voter_differences AS waiting"
                " WHERE waiting.fold = folds.fold) ORDER BY folds.fold LIMIT 1"
            )
        )
    ).first()
    return Fold(row.election, row.fold) if row else None


async def remove_history(connection: AsyncConnection, past: Fold) -> None:
    """Remove a past folding and its history. Raises asyncpg.LockNotAvailableError when somebody
    reads for long: whoever waits for the table holds up everybody after them."""
    driver = await driver_of(connection)
    await driver.execute(f"SET LOCAL lock_timeout = {REMOVAL_WAIT_MS:d}")
    await driver.execute(f"DROP TABLE IF EXISTS projections.history_{past.fold:d}")
    await driver.execute("DELETE FROM projections.folds WHERE fold = $1", past.fold)
