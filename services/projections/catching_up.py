"""Taking a folding from some marks to later ones: only residents of whom something came between."""

from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from services.projections import fold_tables, tables
from services.projections.domain.refold import Marks, Redefinition, catch_up, plus
from services.projections.domain.resident import Resident
from shared.counts import Counts

# Residents caught up at once: the counting in the same process waits so long.
ADVANCED_AT_ONCE: Final = 250


@dataclass(slots=True)
class Advanced:
    """What it adds to the tallies, and the residents of whom something came."""

    tallies: dict[str, Counts] = field(default_factory=dict)
    later: dict[UUID, Resident] = field(default_factory=dict)


async def advance(
    connection: AsyncConnection,
    fold: int,
    redefinition: Redefinition,
    before: Marks,
    after: Marks,
    first: UUID = fold_tables.NOBODY,
    last: UUID = fold_tables.LAST_ID,
) -> Advanced:
    """Take a folding's residents, from one id to another, to later marks; the differences of
    those who changed are kept anew."""
    ids = await fold_tables.residents_with_facts_after(
        connection, min(before.values()), first, last
    )
    advanced = Advanced()
    for n in range(0, len(ids), ADVANCED_AT_ONCE):
        found = await tables.residents(connection, ids[n : n + ADVANCED_AT_ONCE])
        caught_up = catch_up(found.residents, redefinition, before, after)
        plus(advanced.tallies, caught_up.tallies)
        await fold_tables.forget_differences(connection, fold, caught_up.touched)
        await fold_tables.add_differences(connection, fold, caught_up.differences)
        advanced.later |= found.residents
    return advanced
