# ruff: noqa: S608 - only names of our own are put into statements
"""The tables of generations: the one that is being made, the one that serves, the one before.

A generation is the facts, what is parked of them, and for each election a folding with its tallies
and history. The one in the making has a schema of its own, and so has the one before; a switch
moves the tables from schema to schema, so that nothing is copied and the names stay.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.projections import queries, tables
from services.projections.domain.refold import Row
from services.projections.domain.tally import Delta
from services.projections.queries import Serving
from services.projections.tables import COUNT_COLUMNS, HISTORY_COLUMNS, Parked, history_row
from shared.counts import Counts
from shared.database import driver_of
from shared.elections import Election

NEXT: Final = "projections_next"
BEFORE: Final = "projections_before"

# Arbitrary number of our own: held by a replay from its beginning to its end.
REPLAY_LOCK: Final = 0x6361_6361_6809

# What a replay's foldings give as their cause, and so its changes of persons as their reason.
REPLAYED: Final = "counts.replayed"
UNDONE: Final = "replay.undone"

SORT_MEMORY: Final = "128MB"

# In one process each: those who read wait for a processor too.
_SORTING: Final = (
    f"SET LOCAL work_mem = '{SORT_MEMORY}'",
    "SET LOCAL max_parallel_workers_per_gather = 0",
)

# So long a switch waits for those who read the facts; counting stands still meanwhile.
SWITCH_WAIT_MS: Final = 1_500

FACT_COLUMNS: Final = "resident_id, position, recorded_at, type, version, source, event_id, data"
_PARKED_COLUMNS: Final = "parked_at, partition, position, resident_id, type, why, record"


async def try_lock(connection: AsyncConnection, lock: int) -> bool:
    """Take a lock for as long as the connection lasts; false if somebody else holds it."""
    tried = await connection.execute(text("SELECT pg_try_advisory_lock(:lock)"), {"lock": lock})
    return bool(tried.scalar_one())


async def _run(connection: AsyncConnection, *statements: str) -> None:
    for statement in statements:
        await connection.execute(text(statement))


async def remove_unfinished(connection: AsyncConnection) -> None:
    """Remove what replays that were broken off have left."""
    await _run(
        connection,
        f"DROP SCHEMA IF EXISTS {NEXT} CASCADE",
        "DELETE FROM projections.voter_differences USING projections.folds"
        " WHERE folds.fold = voter_differences.fold"
        f" AND switched_at IS NULL AND cause IN ('{REPLAYED}', '{UNDONE}')",
        "DELETE FROM projections.folds"
        f" WHERE switched_at IS NULL AND cause IN ('{REPLAYED}', '{UNDONE}')",
    )


async def begin(
    connection: AsyncConnection, elections: Iterable[Election], cause: str
) -> dict[str, int]:
    """Make the schema of the next generation; each election's folding in it by number."""
    await _run(
        connection,
        f"CREATE SCHEMA {NEXT}",
        # Autovacuum would hold the switch up for a second; once they serve, it looks after them.
        f"CREATE TABLE {NEXT}.facts (LIKE projections.facts) WITH (autovacuum_enabled = off)",
        f"CREATE TABLE {NEXT}.parked AS SELECT {_PARKED_COLUMNS}, dropped_at"
        " FROM projections.parked WHERE false",
        f"CREATE UNIQUE INDEX ON {NEXT}.parked (position)",
        f"CREATE TABLE {NEXT}.differing"
        " (resident_id uuid PRIMARY KEY, is_compared boolean NOT NULL DEFAULT false)",
    )
    folds = {}
    for election in elections:
        begun = await connection.execute(
            text(
                "INSERT INTO projections.folds (election, cause) VALUES (:election, :cause)"
                " RETURNING fold"
            ),
            {"election": election.id, "cause": cause},
        )
        fold = folds[election.id] = int(begun.scalar_one())
        # The check is what ATTACH PARTITION would otherwise read the whole table for.
        await _run(
            connection,
            f"CREATE TABLE {NEXT}.history_{fold}"
            f" (LIKE projections.history, CONSTRAINT of_one_fold CHECK (fold = {fold}))"
            " WITH (autovacuum_enabled = off)",
        )
    return folds


async def histories_missing(connection: AsyncConnection) -> list[str]:
    """The elections whose history is not whole yet."""
    rows = await connection.execute(
        text("SELECT id FROM projections.elections WHERE history_from > 0 ORDER BY id")
    )
    return [row.id for row in rows]


async def count_log(connection: AsyncConnection, up_to: int) -> int:
    """How many entries the log has up to a position."""
    query = text("SELECT count(*) FROM registry.log WHERE position <= :up_to")
    return int((await connection.execute(query, {"up_to": up_to})).scalar_one())


def history_table(fold: int) -> str:
    """Where the history of a folding is while it is made."""
    return f"{NEXT}.history_{fold}"


def indexing(folds: Iterable[int]) -> Iterator[str]:
    """The statements that make what was loaded ready to be read, with the indexes that a history
    must have to be attached; what is parked is not among the facts that serve."""
    facts = f"{NEXT}.facts"
    yield f"ALTER TABLE {facts} ADD CONSTRAINT facts_pkey PRIMARY KEY (resident_id, position)"
    yield (
        f"DELETE FROM {facts} USING {NEXT}.parked"
        " WHERE parked.resident_id = facts.resident_id AND parked.position = facts.position"
    )
    yield f"CREATE INDEX facts_by_position ON {facts} (position)"
    yield f"ANALYZE {facts}"
    for table in map(history_table, folds):
        yield f"ALTER TABLE {table} ADD PRIMARY KEY (election, fold, village, position)"
        yield f"CREATE INDEX ON {table} (election, fold, position)"
        yield f"ANALYZE {table}"


async def index(connection: AsyncConnection, statement: str, others: int) -> None:
    """Run one of the statements of `indexing`, by so many other processes of PostgreSQL too."""
    await _run(
        connection,
        f"SET LOCAL maintenance_work_mem = '{SORT_MEMORY}'",
        f"SET LOCAL max_parallel_maintenance_workers = {others:d}",
        statement,
    )


async def add_history(
    connection: AsyncConnection, deltas: Iterable[Delta], folds: Mapping[str, int]
) -> None:
    """Keep what events added, in the next generation."""
    rows: dict[int, list[tuple[Any, ...]]] = {}
    for delta in deltas:
        fold = folds[delta.key.election]
        rows.setdefault(fold, []).append(history_row(delta, fold))
    for fold, theirs in rows.items():
        await tables.copy_in(connection, f"history_{fold}", HISTORY_COLUMNS, theirs, NEXT)


async def park(connection: AsyncConnection, parked: Sequence[Parked]) -> None:
    """Set facts of the next generation aside."""
    columns = ("partition", "position", "resident_id", "type", "why", "record")
    rows = [tuple(getattr(item, name) for name in columns) for item in parked]
    await tables.copy_in(connection, "parked", columns, rows, NEXT)


async def note_differing(
    connection: AsyncConnection, folds: Iterable[tuple[int, int]], after: int, up_to: int
) -> None:
    """Note the residents who, by some event between two positions, became or stopped being voters
    otherwise in the generation that serves than in the next.

    `folds` has each election's folding of both. Where people vote by the one that serves is read
    from its history, not folded again: that was told by the rules of its time.
    """
    await _run(connection, *_SORTING)
    driver = await driver_of(connection)
    between = "position > $1 AND position <= $2"
    for serving, following in folds:
        await driver.execute(
            f"INSERT INTO {NEXT}.differing"
            " SELECT DISTINCT resident_id FROM registry.log JOIN ("
            f" SELECT position FROM (SELECT village, position, eligible FROM projections.history"
            f" WHERE fold = {serving:d} AND eligible <> 0 AND {between}) AS old FULL JOIN"
            f" (SELECT village, position, eligible FROM {NEXT}.history_{following:d}"
            f" WHERE eligible <> 0 AND {between}) AS new USING (village, position)"
            " WHERE old.eligible IS DISTINCT FROM new.eligible"
            ") AS otherwise USING (position) ON CONFLICT DO NOTHING",
            after,
            up_to,
        )


async def forget_compared(connection: AsyncConnection, after: int) -> None:
    """Have those of the residents noted who have events beyond a position compared again."""
    await connection.execute(
        text(
            f"UPDATE {NEXT}.differing SET is_compared = false WHERE resident_id IN"
            " (SELECT resident_id FROM registry.log WHERE position > :after)"
        ),
        {"after": after},
    )


async def compare_voters(
    connection: AsyncConnection, folds: Iterable[tuple[int, int]], up_to: int
) -> int:
    """Keep, to be told when the next generation serves, whom it makes a voter of another village
    by the events up to a position: of the residents noted, those that are not compared yet; how
    many there are by now."""
    driver = await driver_of(connection)

    def village_by(history: str) -> str:
        return (
            "SELECT resident_id, village FROM theirs"
            f" JOIN {history} AS history USING (position)"
            " GROUP BY resident_id, village HAVING sum(eligible) > 0"
        )

    waiting = f"SELECT resident_id FROM {NEXT}.differing WHERE NOT is_compared"
    voters = 0
    for serving, following in folds:
        await driver.execute(
            f"DELETE FROM projections.voter_differences WHERE fold = {following:d}"
            f" AND resident_id IN ({waiting})"
        )
        await driver.execute(
            "WITH theirs AS MATERIALIZED (SELECT resident_id, position FROM registry.log"
            f" WHERE resident_id IN ({waiting}) AND position <= $1), old AS ("
            + village_by(f"(SELECT * FROM projections.history WHERE fold = {serving:d})")
            + f"), new AS ({village_by(f'{NEXT}.history_{following:d}')})"
            " INSERT INTO projections.voter_differences (fold, resident_id, to_village)"
            f" SELECT {following:d}, resident_id, new.village"
            " FROM old FULL JOIN new USING (resident_id)"
            " WHERE old.village IS DISTINCT FROM new.village",
            up_to,
        )
        voters += await driver.fetchval(
            f"SELECT count(*) FROM projections.voter_differences WHERE fold = {following:d}"
        )
    await _run(connection, f"UPDATE {NEXT}.differing SET is_compared = true WHERE NOT is_compared")
    return voters


async def lock_tables(connection: AsyncConnection) -> None:
    """Have the tables that a switch exchanges for ourselves, and the place of the generation
    before free. Raises asyncpg.LockNotAvailableError when somebody reads them for long."""
    await _run(connection, f"SET LOCAL lock_timeout = {SWITCH_WAIT_MS}")
    driver = await driver_of(connection)
    await driver.execute("LOCK TABLE projections.facts IN ACCESS EXCLUSIVE MODE")
    await driver.execute("LOCK TABLE ONLY projections.history IN SHARE UPDATE EXCLUSIVE MODE")
    await driver.execute(f"DROP SCHEMA IF EXISTS {BEFORE} CASCADE")
    await _run(connection, "SET LOCAL lock_timeout = 0")


async def keep_before(connection: AsyncConnection) -> None:
    """Make the generation that serves the one before."""
    await _run(
        connection,
        f"CREATE SCHEMA {BEFORE}",
        f"ALTER TABLE projections.facts SET SCHEMA {BEFORE}",
        *(
            f"CREATE TABLE {BEFORE}.{table} AS SELECT * FROM projections.{table}"
            for table in ("tallies", "marks", "elections", "parked")
        ),
        "UPDATE projections.folds SET kept = fold IN (SELECT fold FROM projections.elections)"
        " WHERE kept OR fold IN (SELECT fold FROM projections.elections)",
    )


async def move_in(connection: AsyncConnection, folds: Mapping[str, int]) -> None:
    """Let the next generation's facts, parked ones and histories serve."""
    await _run(
        connection,
        f"ALTER TABLE {NEXT}.facts SET SCHEMA projections",
        "ALTER TABLE projections.facts RESET (autovacuum_enabled)",
        "DELETE FROM projections.parked WHERE position IS NOT NULL AND dropped_at IS NULL"
        f" AND position NOT IN (SELECT position FROM {NEXT}.parked)",
        f"INSERT INTO projections.parked ({_PARKED_COLUMNS})"
        f" SELECT coalesce(parked_at, now()), {_PARKED_COLUMNS.partition(', ')[2]}"
        f" FROM {NEXT}.parked ON CONFLICT DO NOTHING",
    )
    for election_id, fold in folds.items():
        await _run(
            connection,
            f"ALTER TABLE {NEXT}.history_{fold} SET SCHEMA projections",
            f"ALTER TABLE projections.history ATTACH PARTITION projections.history_{fold}"
            f" FOR VALUES IN ({fold})",
            f"ALTER TABLE projections.history_{fold} DROP CONSTRAINT of_one_fold,"
            " RESET (autovacuum_enabled)",
        )
        await connection.execute(
            text("UPDATE projections.elections SET fold = :fold, history_from = 0 WHERE id = :id"),
            {"id": election_id, "fold": fold},
        )
    await _run(connection, f"DROP SCHEMA {NEXT} CASCADE")


async def rows_of(
    connection: AsyncConnection, election_id: str, schema: str = tables.SCHEMA
) -> dict[str, Row]:
    """The tallies of a generation, every village that has a row."""
    driver = await driver_of(connection)
    rows = await driver.fetch(
        f"SELECT village, revision, {', '.join(COUNT_COLUMNS)} FROM {schema}.tallies"
        " WHERE election = $1",
        election_id,
    )
    return {row[0]: Row(row[1], Counts._make(row[2:])) for row in rows}


@dataclass(frozen=True, slots=True)
class Before:
    """The generation before, as it stood when it ceased to serve."""

    serving: list[Serving]
    marks: dict[int, int]


async def before(connection: AsyncConnection) -> Before | None:
    """The generation before, none if there is none."""
    there = await connection.execute(
        text("SELECT to_regclass(:table) IS NOT NULL"), {"table": f"{BEFORE}.facts"}
    )
    if not there.scalar_one():
        return None
    rows = await connection.execute(text(f"SELECT partition, position FROM {BEFORE}.marks"))
    marks = {row.partition: row.position for row in rows}
    return Before(await queries.serving(connection, BEFORE), marks)


async def tallies_before(
    connection: AsyncConnection, known: Before
) -> dict[str, dict[str, Counts]]:
    """The tallies of the generation before, by election."""
    tallies = {}
    for served in known.serving:
        rows = await rows_of(connection, served.election.id, BEFORE)
        tallies[served.election.id] = {village: row.counts for village, row in rows.items()}
    return tallies


async def copy_parked(connection: AsyncConnection) -> None:
    """Bring what was parked in the generation before into the next one."""
    await _run(
        connection,
        f"INSERT INTO {NEXT}.parked ({_PARKED_COLUMNS})"
        f" SELECT {_PARKED_COLUMNS} FROM {BEFORE}.parked WHERE position IS NOT NULL AND position"
        " NOT IN (SELECT position FROM projections.parked WHERE dropped_at IS NOT NULL)",
    )


async def copy_facts(connection: AsyncConnection, first: UUID, last: UUID) -> None:
    """Bring the facts of some residents, from one id to another, of the generation before into
    the next one."""
    driver = await driver_of(connection)
    await driver.execute(
        f"INSERT INTO {NEXT}.facts ({FACT_COLUMNS}) SELECT {FACT_COLUMNS} FROM {BEFORE}.facts"
        " WHERE resident_id BETWEEN $1 AND $2 ORDER BY resident_id, position",
        first,
        last,
    )


async def copy_history(
    connection: AsyncConnection, folds: Iterable[tuple[str, int, int]], after: int, up_to: int
) -> None:
    """Bring what events between two positions added in the generation before into the next one;
    `folds` has each election and its folding of both."""
    driver = await driver_of(connection)
    columns = ", ".join(HISTORY_COLUMNS)
    for election, before, following in folds:
        await driver.execute(
            f"INSERT INTO {NEXT}.history_{following:d} ({columns})"
            f" SELECT {columns.replace('fold', str(following))} FROM projections.history"
            f" WHERE election = $1 AND fold = {before:d} AND position > $2 AND position <= $3",
            election,
            after,
            up_to,
        )
