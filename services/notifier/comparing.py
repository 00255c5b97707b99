"""Comparing a list with the feeds in PostgreSQL: set against set, and each difference explained.

A list goes into a temporary table and never further. A sequence is chosen first, and what the feed
told up to there never changes, so every statement below speaks of the same voters.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

import orjson
from sqlalchemy import ARRAY, Integer, Text, bindparam, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from services.notifier.domain.comparing import CountDifference, Pair
from shared.as_of import Moment
from shared.counts import Counts
from shared.database import driver_of
from shared.event_log import require_reached
from shared.region_codes import COUNTRY

# The joins of a regency's voters fit into it.
_ROOM = text("SET LOCAL work_mem = '64MB'")

_LISTED = text(
    "CREATE TEMPORARY TABLE listed (row integer, voter uuid, village text) ON COMMIT DROP"
)
_ANALYZE = text("ANALYZE listed")
_DIFFERING = text(
    "CREATE TEMPORARY TABLE differing (row integer, voter uuid, listed text, told text)"
    " ON COMMIT DROP"
)

_TWICE = text(
    "SELECT min(row) AS first, (array_agg(row ORDER BY row))[2] AS row FROM listed"
    " GROUP BY voter HAVING count(*) > 1 ORDER BY row LIMIT :limit"
)

# Who votes where at a sequence: as told now, taken back to before the first later change.
VOTERS_AT: Final = """
    SELECT voter,
        CASE WHEN later.voter IS NULL THEN voters.village ELSE later.from_village END AS village
    FROM notifier.voters LEFT JOIN (
        SELECT DISTINCT ON (voter) voter, from_village FROM notifier.voter_changes
        WHERE election = :election AND sequence > :sequence ORDER BY voter, sequence
    ) AS later USING (voter)
    WHERE voters.election = :election
"""

# A list of one area also finds who is listed there and votes elsewhere.
_FIND = text(
    f"""
    INSERT INTO differing (row, voter, listed, told)
    SELECT listed.row, voter, listed.village, told.village
    FROM listed FULL JOIN (
        SELECT voter, village FROM ({VOTERS_AT}) AS told WHERE village IS NOT NULL
    ) AS told USING (voter)
    WHERE listed.village IS DISTINCT FROM told.village
        AND (listed.voter IS NOT NULL OR starts_with(told.village, :prefix))
    """  # noqa: S608 - constants
)

_VILLAGES = text("SELECT village, count(*) AS persons FROM listed GROUP BY village")
_PAIRS = text("SELECT listed, told, count(*) AS persons FROM differing GROUP BY listed, told")

# The change that made a difference is the first one after the person last stood as listed.
_EXPLAINED = text(
    """
    WITH shown AS (
        SELECT row, voter, listed, told FROM differing
        ORDER BY coalesce(listed, told), voter LIMIT :limit
    ), lived AS (
        SELECT shown.voter, changes.sequence, kind, reason, from_village, to_village, position,
            time, stage,
            max(sequence) FILTER (WHERE to_village IS NOT DISTINCT FROM listed)
                OVER (PARTITION BY shown.voter) AS agreed
        FROM shown JOIN notifier.voter_changes AS changes
            ON election = :election AND changes.voter = shown.voter AND sequence <= :sequence
    ), since AS (
        SELECT DISTINCT ON (voter) *, count(*) OVER (PARTITION BY voter) - 1 AS later
        FROM lived WHERE sequence > coalesce(agreed, 0) ORDER BY voter, sequence
    )
    SELECT row, voter::text AS voter, listed, told, sequence, kind, reason, from_village,
        to_village, position, time, stage, later
    FROM shown LEFT JOIN since USING (voter) ORDER BY coalesce(listed, told), voter
    """
)

_HEAD = text("SELECT sequence FROM notifier.voter_heads WHERE election = :election")
_BEFORE: Final = (
    "SELECT min(sequence) - 1 AS sequence FROM notifier.voter_changes"
    " WHERE election = :election AND {rising} > :bound"
)
_BEFORE_TIME = text(_BEFORE.format(rising="numbered_at"))
_BEFORE_POSITION = text(_BEFORE.format(rising="position"))

_COUNTS_AT = text(
    "SELECT DISTINCT ON (village) village, after::text AS counts FROM notifier.changes"
    " WHERE election = :election AND sequence <= :sequence ORDER BY village, sequence DESC"
)

_COUNTS_EXPLAINED = text(
    """
    WITH lived AS (
        SELECT asked.village, asked.name, changes.sequence, position, time, stage,
            CAST(before ->> name AS integer) AS before, CAST(after ->> name AS integer) AS after,
            coalesce(
                max(sequence) FILTER (WHERE CAST(after ->> name AS integer) = listed)
                    OVER (PARTITION BY asked.village, name),
                CASE WHEN listed = 0 THEN 0 END
            ) AS agreed
        FROM unnest(:villages, :names, :listed) AS asked (village, name, listed)
        JOIN notifier.changes AS changes
            ON election = :election AND changes.village = asked.village AND sequence <= :sequence
            AND before ->> name <> after ->> name
    )
    SELECT DISTINCT ON (village, name) *,
        count(*) OVER (PARTITION BY village, name) - 1 AS later
    FROM lived WHERE sequence > agreed ORDER BY village, name, sequence
    """
).bindparams(
    bindparam("villages", type_=ARRAY(Text)),
    bindparam("names", type_=ARRAY(Text)),
    bindparam("listed", type_=ARRAY(Integer)),
)


@dataclass(frozen=True, slots=True)
class Twice:
    """A resident of whom the list has a second row."""

    row: int
    first: int


@dataclass(frozen=True, slots=True)
class PersonDifference:
    """A person who differs; `change` is what made it so, none where the feed never told of them,
    and `later_changes` how many came after it."""

    row: int | None
    voter: str
    listed: str | None
    told: str | None
    change: dict[str, Any] | None
    later_changes: int


@dataclass(frozen=True, slots=True)
class PersonsCompared:
    """A list of persons beside the voters at a sequence."""

    sequence: int
    listed: dict[str, int]
    pairs: list[Pair]
    differences: list[PersonDifference]


@dataclass(frozen=True, slots=True)
class CountExplained:
    """The change that made a count differ, and how many more changed it since."""

    change: dict[str, Any]
    later_changes: int


class Comparing:
    """Compares lists with what was told."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def voters_end(self, election: str, moment: Moment | None) -> int | None:
        """The last sequence of the voters' feed that a moment means, as the villages' snapshot
        reads it; of none the end. None where there is no feed of voters.

        Raises BeyondTheLogError.
        """
        statement = _BEFORE_POSITION if isinstance(moment, int) else _BEFORE_TIME
        async with self._reading() as connection:
            head = (await connection.execute(_HEAD, {"election": election})).scalar()
            if head is None or moment is None:
                return head
            await require_reached(connection, moment)
            asked = {"election": election, "bound": moment}
            found = (await connection.execute(statement, asked)).scalar()
        return head if found is None else int(found)

    async def doubles(self, connection: AsyncConnection, limit: int) -> list[Twice]:
        """Residents of whom there is more than one row, by the second row."""
        rows = await connection.execute(_TWICE, {"limit": limit})
        return [Twice(row.row, row.first) for row in rows]

    @asynccontextmanager
    async def listing(self, persons: BinaryIO) -> AsyncIterator[AsyncConnection]:
        """A transaction in which the rows of a list are a temporary table."""
        async with self._engine.begin() as connection:
            await connection.execute(_ROOM)
            await connection.execute(_LISTED)
            driver = await driver_of(connection)
            await driver.copy_to_table("listed", source=persons)
            await connection.execute(_ANALYZE)
            yield connection

    async def persons(
        self, connection: AsyncConnection, election: str, sequence: int, area: str, limit: int
    ) -> PersonsCompared:
        """The listed persons beside the voters at a sequence; the first `limit` differences."""
        prefix = "" if area == COUNTRY else area
        at = {"election": election, "sequence": sequence}
        await connection.execute(_DIFFERING)
        await connection.execute(_FIND, at | {"prefix": prefix})
        villages = await connection.execute(_VILLAGES)
        listed = {row.village: row.persons for row in villages}
        pairs = [Pair(*row) for row in await connection.execute(_PAIRS)]
        rows = await connection.execute(_EXPLAINED, at | {"limit": limit})
        differences = [_difference(dict(row)) for row in rows.mappings()]
        return PersonsCompared(sequence, listed, pairs, differences)

    async def counts_at(self, election: str, sequence: int) -> dict[str, Counts]:
        """The tallies as told up to a sequence of the villages' feed."""
        async with self._reading() as connection:
            rows = await connection.execute(
                _COUNTS_AT, {"election": election, "sequence": sequence}
            )
            return {row.village: Counts(**orjson.loads(row.counts)) for row in rows}

    async def explain_counts(
        self, election: str, sequence: int, differences: Sequence[CountDifference]
    ) -> dict[tuple[str, str], CountExplained]:
        """By village and count, what made it differ; left out where it never stood as listed."""
        asked = {
            "election": election,
            "sequence": sequence,
            "villages": [each.village for each in differences],
            "names": [each.count for each in differences],
            "listed": [each.listed or 0 for each in differences],
        }
        async with self._reading() as connection:
            rows = (await connection.execute(_COUNTS_EXPLAINED, asked)).mappings().all()
        return {(row["village"], row["name"]): _count_explained(row) for row in rows}

    @asynccontextmanager
    async def _reading(self) -> AsyncIterator[AsyncConnection]:
        async with self._engine.connect() as connection:
            yield await connection.execution_options(isolation_level="AUTOCOMMIT")


_CHANGE: Final = (
    *("sequence", "kind", "reason", "from_village", "to_village", "position", "time", "stage"),
)
_COUNT_CHANGE: Final = ("sequence", "position", "time", "stage", "before", "after")


def _difference(row: dict[str, Any]) -> PersonDifference:
    is_told_of = row["sequence"] is not None
    return PersonDifference(
        row["row"],
        row["voter"],
        row["listed"],
        row["told"],
        {name: row[name] for name in _CHANGE} if is_told_of else None,
        row["later"] if is_told_of else 0,
    )


def _count_explained(row: Any) -> CountExplained:
    return CountExplained({name: row[name] for name in _COUNT_CHANGE}, row["later"])
