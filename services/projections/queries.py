"""Reading projections' tables: elections, the cut, and the tallies that stand at it."""

from dataclasses import dataclass
from datetime import date
from typing import Any, Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.projections.domain.tally import Counts
from shared.elections import Election, Stage

_ELECTIONS: Final = (
    "SELECT id, polling_day, area, minimum_age, first_time_since, stages FROM projections.elections"
)


def _election(row: Any) -> Election:
    stages = tuple(Stage(s["name"], date.fromisoformat(s["from"])) for s in row.stages)
    return Election(
        row.id, row.polling_day, row.area, row.minimum_age, row.first_time_since, stages
    )


async def elections(connection: AsyncConnection) -> list[Election]:
    """All elections, sorted by id."""
    rows = await connection.execute(text(_ELECTIONS + " ORDER BY id"))
    return [_election(row) for row in rows]


async def election(connection: AsyncConnection, election_id: str) -> Election | None:
    """The election with an id, none if there is none."""
    row = (
        await connection.execute(
            text(_ELECTIONS + " WHERE id = :id"),
            {"id": election_id},
        )
    ).first()
    return _election(row) if row else None


async def cut(connection: AsyncConnection) -> int:
    """The position up to which every partition is counted: the one that answers reflect."""
    row = await connection.execute(text("SELECT min(position) FROM projections.marks"))
    return int(row.scalar_one())


@dataclass(frozen=True, slots=True)
class Reading:
    """The tallies of some villages, sorted by code, exactly as they stand at a position."""

    position: int
    villages: dict[str, Counts]


_COUNTS: Final = Counts._fields
# Partitions advance apart from each other, so the tallies hold some events after the cut: what
# those added is taken off again. No event lies after the furthest mark; that bound is said for
# the planner, which then expects few rows and takes the index on (election, position).
_TALLIES_AT_THE_CUT: Final = f"""
    WITH later AS (
        SELECT village, {", ".join(f"sum({name}) AS {name}" for name in _COUNTS)}
        FROM projections.history
        WHERE election = :election
            AND position > (SELECT min(position) FROM projections.marks)
            AND position <= (SELECT max(position) FROM projections.marks)
        GROUP BY village
    )
    SELECT (SELECT min(position) FROM projections.marks) AS cut, tallies.village,
        {", ".join(f"tallies.{name} - coalesce(later.{name}, 0) AS {name}" for name in _COUNTS)}
    FROM projections.tallies LEFT JOIN later USING (village)
    WHERE tallies.election = :election
        AND (CAST(:within AS text) IS NULL OR tallies.village LIKE :within)
    ORDER BY tallies.village
"""  # noqa: S608 - only the names of our own columns


async def tallies(
    connection: AsyncConnection, election_id: str, area: str | None = None
) -> Reading:
    """The tallies of an election's villages at the cut, those of an area (a code) alone if one
    is given: one statement, so one state of the tables."""
    rows = (
        await connection.execute(
            text(_TALLIES_AT_THE_CUT),
            {"election": election_id, "within": None if area is None else f"{area}%"},
        )
    ).all()
    return Reading(
        position=rows[0].cut if rows else 0,
        villages={row.village: Counts._make(map(int, row[2:])) for row in rows},
    )
