"""The tallies exactly as they stood: the last checkpoint, and what came between it and then."""

from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.projections import queries
from services.projections.queries import Reading
from shared.counts import Counts
from shared.region_codes import COUNTRY


class HistoryNotWholeError(Exception):
    """What lies before a position is still being filled in, for a definition put of late."""


_SUMS: Final = ", ".join(f"sum({name}) AS {name}" for name in Counts._fields)
_NAMES: Final = ", ".join(Counts._fields)

# One statement: one state of the tables, so one definition, and a checkpoint that its history has
# not outrun. Without a checkpoint it is as right, and slower.
_TALLIES_AS_OF: Final = f"""
    WITH serving AS (
        SELECT fold, area, history_from FROM projections.elections WHERE id = :election
    ),
    checkpoint AS (
        SELECT coalesce(max(position), 0) AS position FROM projections.checkpoints
        WHERE election = :election AND fold = (SELECT fold FROM serving)
            AND position <= CAST(:position AS bigint)
    ),
    stood AS (
        SELECT village, {_SUMS}
        FROM (
            SELECT village, {_NAMES} FROM projections.checkpoints
            WHERE election = :election AND fold = (SELECT fold FROM serving)
                AND position = (SELECT position FROM checkpoint)
            UNION ALL
            SELECT village, {_NAMES} FROM projections.history
            WHERE election = :election AND fold = (SELECT fold FROM serving)
                AND position > (SELECT position FROM checkpoint)
                AND position <= CAST(:position AS bigint)
        ) AS parts
        WHERE CAST(:within AS text) IS NULL OR village LIKE :within
        GROUP BY village
    )
    SELECT CAST(:position AS bigint) AS position, history_from, tallies.village,
        {", ".join(f"coalesce(stood.{name}, 0) AS {name}" for name in Counts._fields)}
    FROM projections.tallies CROSS JOIN serving LEFT JOIN stood USING (village)
    WHERE tallies.election = :election
        AND (area = '{COUNTRY}' OR village = area OR starts_with(village, area || '.'))
        AND (CAST(:within AS text) IS NULL OR tallies.village LIKE :within)
    ORDER BY tallies.village
"""  # noqa: S608 - only the names of our own columns

_TALLIES_BACK_TO: Final = queries.tallies_at("CAST(:position AS bigint)")


async def tallies_as_of(
    connection: AsyncConnection, election_id: str, position: int, area: str | None = None
) -> Reading:
    """The tallies of an election's villages, or of an area's (a code) alone, as they stood at a
    position that is counted, by the definition that serves.

    Raises HistoryNotWholeError where that part of the history is not filled in yet.
    """
    parameters = queries.named(election_id, area) | {"position": position}
    rows = (await connection.execute(text(_TALLIES_AS_OF), parameters)).all()
    if rows and rows[0].history_from > 0:
        # Whole from a position on: from the end backwards it is whole enough.
        rows = (await connection.execute(text(_TALLIES_BACK_TO), parameters)).all()
        if rows and rows[0].history_from > position:
            raise HistoryNotWholeError
    return Reading(position, await queries.villages_of(rows))
