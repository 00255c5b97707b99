"""Reading projections' tables: elections, the cut, and the tallies that stand at it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.apart import apart
from shared.counts import Counts
from shared.elections import Election, Stage
from shared.region_codes import COUNTRY


@dataclass(frozen=True, slots=True)
class Serving:
    """An election as it is counted now: by which definition, and which folding of it."""

    election: Election
    fold: int
    put_number: int


@dataclass(frozen=True, slots=True)
class Put:
    """The definition last put of an election, and how many were before it."""

    election: Election
    number: int


@dataclass(frozen=True, slots=True)
class Known:
    """What there is of an election: what serves, what was put last, or both."""

    serving: Serving | None
    put: Put | None

    @property
    def is_pending(self) -> bool:
        """Whether what was put last does not serve yet."""
        served = self.serving.put_number if self.serving else 0
        return self.put is not None and served < self.put.number

    @property
    def wanted(self) -> Election:
        """The definition that serves, or will in a moment."""
        if self.put is not None and (self.is_pending or self.serving is None):
            return self.put.election
        assert self.serving is not None
        return self.serving.election

    @property
    def shown(self) -> Election:
        """The definition that the counts are by; without counts yet, the one that was put."""
        return self.serving.election if self.serving else self.wanted


_SERVING: Final = (
    "SELECT id, polling_day, area, minimum_age, first_time_since, stages, fold, put_number"
    " FROM {schema}.elections ORDER BY id"
)
# Whether somebody may still be waiting for an election that was put to serve. Not for long: one
# that cannot be brought to serve must not hold up what waits for this to end.
IS_AWAITED: Final = (
    "EXISTS (SELECT FROM projections.puts LEFT JOIN projections.elections ON id = puts.election"
    " WHERE number > coalesce(put_number, 0) AND put_at > now() - interval '1 minute')"
)
# One statement: what was put never seems to serve before it does.
_KNOWN: Final = (
    "SELECT coalesce(served.id, puts.election) AS id, polling_day, area, minimum_age,"
    " first_time_since, stages, fold, put_number, puts.number, puts.definition"
    " FROM projections.elections AS served"
    " FULL JOIN projections.puts ON puts.election = served.id"
)


def _stages(written: Iterable[Mapping[str, str]]) -> tuple[Stage, ...]:
    return tuple(Stage(s["name"], date.fromisoformat(s["from"])) for s in written)


def _serving(row: Any) -> Serving:
    election = Election(
        *(row.id, row.polling_day, row.area, row.minimum_age, row.first_time_since),
        _stages(row.stages),
    )
    return Serving(election, row.fold, row.put_number)


def defined(election_id: str, definition: Mapping[str, Any]) -> Election:
    """The election that a definition, as it is kept, defines."""
    return Election(
        election_id,
        date.fromisoformat(definition["polling_day"]),
        definition["area"],
        definition["minimum_age"],
        date.fromisoformat(definition["first_time_since"]),
        _stages(definition["stages"]),
    )


def _known(row: Any) -> Known:
    put = None if row.number is None else Put(defined(row.id, row.definition), row.number)
    return Known(None if row.fold is None else _serving(row), put)


async def is_awaited(connection: AsyncConnection) -> bool:
    """Whether somebody may be waiting for an election to be folded, which work that nobody waits
    for must not slow down."""
    return bool((await connection.execute(text(f"SELECT {IS_AWAITED}"))).scalar_one())


async def serving(connection: AsyncConnection, schema: str = "projections") -> list[Serving]:
    """All elections that are counted, sorted by id; `schema` is that of the generation, where it
    is not the one that serves."""
    rows = await connection.execute(text(_SERVING.format(schema=schema)))
    return [_serving(row) for row in rows]


async def elections(connection: AsyncConnection) -> list[Known]:
    """All elections, sorted by id, those that are not counted yet too."""
    rows = await connection.execute(text(_KNOWN + " ORDER BY 1"))
    return [_known(row) for row in rows]


async def election(connection: AsyncConnection, election_id: str) -> Known | None:
    """What there is of an election, none if nothing is."""
    row = (
        await connection.execute(
            text(_KNOWN + " WHERE coalesce(served.id, puts.election) = :id"), {"id": election_id}
        )
    ).first()
    return _known(row) if row else None


async def marks(connection: AsyncConnection) -> dict[int, int]:
    """How far each partition is counted."""
    rows = await connection.execute(text("SELECT partition, position FROM projections.marks"))
    return {row.partition: row.position for row in rows}


async def cut(connection: AsyncConnection) -> int:
    """The position up to which every partition is counted: the one that answers reflect."""
    row = await connection.execute(text("SELECT min(position) FROM projections.marks"))
    return int(row.scalar_one())


@dataclass(frozen=True, slots=True)
class Reading:
    """The tallies of some villages, sorted by code, exactly as they stand at a position."""

    position: int
    villages: dict[str, Counts]


_SUMS: Final = ", ".join(f"sum({name}) AS {name}" for name in Counts._fields)

# What the statements for tallies take of a row: its counts, the opposite, or nothing.
COUNTS: Final = ", ".join(Counts._fields)
NEGATED: Final = ", ".join(f"-{name} AS {name}" for name in Counts._fields)
ZEROS: Final = ", ".join(f"0 AS {name}" for name in Counts._fields)


def tallies_of(position: str, counts: str, *others: str) -> str:
    """A statement for the tallies of the villages of an election's area at a position.

    `counts` is what is taken of a village's row in the tallies, `others` are selects of a village
    and its counts, added to it; they may use `serving`, the row of the election. One statement: one
    state of the tables and one definition. Everything is added up and nothing joined: a table that
    grew of late is not known to the planner, and a join of it could take minutes.
    """
    parts = "".join(f" UNION ALL {other}" for other in others)
    return f"""
    WITH serving AS (
        SELECT fold, area, history_from FROM projections.elections WHERE id = :election
    )
    SELECT {position} AS position, (SELECT history_from FROM serving) AS history_from, village,
        {_SUMS}
    FROM (
        SELECT village, {counts}
        FROM projections.tallies CROSS JOIN serving
        WHERE election = :election
            AND (area = '{COUNTRY}' OR village = area OR starts_with(village, area || '.'))
        {parts}
    ) AS parts
    WHERE CAST(:within AS text) IS NULL OR village LIKE :within
    GROUP BY village ORDER BY village
    """  # noqa: S608 - only the names of our own columns


def tallies_back_to(position: str) -> str:
    """A statement for the tallies at a position (an expression of our own) from which on the
    history is whole: those that stand, less what later events added.

    No event lies after the furthest mark; that bound is said for the planner, which then expects
    few rows and takes the index on the position.
    """
    return tallies_of(
        position,
        COUNTS,
        f"SELECT village, {NEGATED} FROM projections.history"  # noqa: S608 - our own columns
        " WHERE election = :election AND fold = (SELECT fold FROM serving)"
        f" AND position > {position} AND position <= (SELECT max(position) FROM projections.marks)",
    )


# Partitions advance apart from each other, so the tallies hold some events after the cut: what
# those added is taken off again.
_TALLIES_AT_THE_CUT: Final = tallies_back_to("(SELECT min(position) FROM projections.marks)")


async def tallies(
    connection: AsyncConnection, election_id: str, area: str | None = None
) -> Reading:
    """The tallies of an election's villages at the cut, those of an area (a code) alone if one
    is given."""
    found = await connection.execute(text(_TALLIES_AT_THE_CUT), named(election_id, area))
    rows = found.all()
    return Reading(
        position=rows[0].position if rows else await cut(connection),
        villages=await villages_of(rows),
    )


def named(election_id: str, area: str | None) -> dict[str, Any]:
    """The parameters of the statements for tallies."""
    return {"election": election_id, "within": None if area is None else f"{area}%"}


async def villages_of(rows: Sequence[Any]) -> dict[str, Counts]:
    """The counts by village of rows that end with the village and its counts."""
    return await apart(
        len(rows), lambda: {row.village: Counts._make(map(int, row[3:])) for row in rows}
    )
