"""The tallies exactly as they stood: the last checkpoint, and what came between it and then."""

from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.projections import queries
from services.projections.queries import Reading


class HistoryNotWholeError(Exception):
    """What lies before a position is still being filled in, for a definition put of late."""


_POSITION: Final = "CAST(:position AS bigint)"
_CHECKPOINT: Final = (
    "(SELECT coalesce(max(position), 0) FROM projections.checkpoints"  # noqa: S608 - as below
    " WHERE election = :election AND fold = (SELECT fold FROM serving)"
    f" AND position <= {_POSITION})"
)
# Right without any checkpoint too, only slower.
_TALLIES_AS_OF: Final = queries.tallies_of(
    _POSITION,
    queries.ZEROS,
    f"SELECT village, {queries.COUNTS} FROM projections.checkpoints"  # noqa: S608 - our own columns
    " WHERE election = :election AND fold = (SELECT fold FROM serving)"
    f" AND position = {_CHECKPOINT}",
    f"SELECT village, {queries.COUNTS} FROM projections.history"  # noqa: S608 - our own columns
    " WHERE election = :election AND fold = (SELECT fold FROM serving)"
    f" AND position > {_CHECKPOINT} AND position <= {_POSITION}",
)
_TALLIES_BACK_TO: Final = queries.tallies_back_to(_POSITION)


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
