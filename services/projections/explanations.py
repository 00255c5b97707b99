"""The events that made the difference of a village's tally between two positions."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.projections.as_of import tallies_as_of
from services.projections.domain.explaining import Effect, effect_of, in_words
from shared.counts import Counts


@dataclass(frozen=True, slots=True)
class Cause:
    """An event, and what it alone added to a village's counts.

    `other_village` is where somebody who arrived was counted before, or where somebody who left
    is counted now; none where that is not known, or lies outside the election's area.
    """

    position: int
    recorded_at: datetime
    type: str
    resident_id: UUID
    added: Counts
    other_village: str | None

    @property
    def effect(self) -> Effect:
        return effect_of(self.type, self.added)

    @property
    def in_words(self) -> str:
        return in_words(self.type, self.effect)


@dataclass(frozen=True, slots=True)
class Defined:
    """The definition that the figures are by: its fold, and when and where it came to serve;
    none for one that served from the start."""

    fold: int
    moment: datetime | None
    position: int


@dataclass(frozen=True, slots=True)
class Explained:
    """A village's tally before and after, and causes in order; `next` is the position to go on
    after, none when these were all."""

    defined: Defined
    before: Counts
    after: Counts
    causes: list[Cause]
    next: int | None


# An event changes the tallies of two villages at most.
_CAUSES: Final = f"""
    SELECT position, history.recorded_at, facts.type, facts.resident_id,
        coalesce(
            (
                SELECT village FROM projections.history AS other
                WHERE other.election = history.election AND other.fold = history.fold
                    AND other.position = history.position AND other.village <> history.village
            ),
            CASE WHEN history.residents < 0 THEN facts.data->>'to_village' END
        ) AS other_village,
        {", ".join(f"history.{name}" for name in Counts._fields)}
    FROM projections.history JOIN projections.facts USING (position)
    WHERE history.election = :election AND history.fold = :fold AND history.village = :village
        AND position > :after AND position <= :up_to
    ORDER BY position LIMIT :limit
"""  # noqa: S608 - only the names of our own columns
_DEFINED: Final = text(
    "SELECT fold, switched_at, position FROM projections.folds"
    " JOIN projections.elections USING (fold) WHERE elections.id = :election"
)


async def explained(
    connection: AsyncConnection, election_id: str, village: str, after: int, up_to: int, limit: int
) -> Explained | None:
    """What changed a village's tally after one position up to another, at most `limit` events;
    none where the village is not in the election's area.

    The connection must be in a transaction that sees one state of the tables. Raises
    HistoryNotWholeError.
    """
    before = await tallies_as_of(connection, election_id, after, village)
    after_all = await tallies_as_of(connection, election_id, up_to, village)
    if village not in before.villages:
        return None
    row = (await connection.execute(_DEFINED, {"election": election_id})).one()
    defined = Defined(row.fold, row.switched_at if row.fold else None, row.position or 0)
    wanted = {
        "election": election_id,
        "fold": defined.fold,
        "village": village,
        "after": after,
        "up_to": up_to,
        "limit": limit + 1,
    }
    causes = [_cause(row) for row in await connection.execute(text(_CAUSES), wanted)]
    is_all = len(causes) <= limit
    return Explained(
        defined,
        before.villages[village],
        after_all.villages[village],
        causes[:limit],
        None if is_all else causes[limit - 1].position,
    )


def _cause(row: Any) -> Cause:
    return Cause(
        row.position,
        row.recorded_at,
        row.type,
        row.resident_id,
        Counts._make(row[5:]),
        row.other_village,
    )
