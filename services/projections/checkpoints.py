"""Checkpoints: what a folding's history adds up to at every so many positions.

They are only ever a shortcut: whatever is read with one is read without it too, in more time. So
making them may lag behind, break off or begin again at any point.
"""

from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from services.projections.fold_tables import Fold
from services.projections.tables import SILENCE_MS
from shared.counts import Counts

# Positions from one checkpoint to the next: an as-of sums up to so many deltas. For an area of
# many villages more, so that checkpoints never take more than a fraction of the history's room.
CHECKPOINT_EVERY: Final = 2_000
DELTAS_PER_ROW: Final = 5

# An arbitrary number of our own: who makes checkpoints, and who changes what lies below them.
CHECKPOINTS_LOCK: Final = 0x6361_6361_6816

HISTORY: Final = "projections.history"

_SUMS: Final = ", ".join(f"sum({name})" for name in Counts._fields)
_NAMES: Final = ", ".join(Counts._fields)

_LAST: Final = text(
    "SELECT coalesce(max(position), 0) FROM projections.checkpoints"
    " WHERE election = :election AND fold = :fold"
)
_NEXT_DELTA: Final = (
    "SELECT min(position) FROM {history}"
    " WHERE election = :election AND fold = :fold AND position > :last"
)
_VILLAGES: Final = text("SELECT count(*) FROM projections.tallies WHERE election = :election")
# Zeros too: each checkpoint has at least the rows of the one before it, and so is found as the
# last one.
_MAKE: Final = (
    f"INSERT INTO projections.checkpoints (election, fold, position, village, {_NAMES})"  # noqa: S608 - our own columns
    f" SELECT :election, :fold, CAST(:position AS bigint), village, {_SUMS} FROM ("
    f" SELECT village, {_NAMES} FROM projections.checkpoints"
    " WHERE election = :election AND fold = :fold AND position = :last"
    f" UNION ALL SELECT village, {_NAMES} FROM {{history}}"
    " WHERE election = :election AND fold = :fold AND position > :last"
    " AND position <= CAST(:position AS bigint)) AS parts GROUP BY village"
)
_FORGET: Final = text(
    "DELETE FROM projections.checkpoints USING projections.folds"
    " WHERE checkpoints.election = folds.election AND checkpoints.fold = folds.fold"
    " AND checkpoints.position >= :position"
)


async def _lock(connection: AsyncConnection) -> None:
    await connection.execute(
        text(
            "SELECT set_config('idle_in_transaction_session_timeout', :silence, true),"
            " pg_advisory_xact_lock(:lock)"
        ),
        {"silence": str(SILENCE_MS), "lock": CHECKPOINTS_LOCK},
    )


async def make_checkpoint(
    connection: AsyncConnection, fold: Fold, up_to: int, history: str = HISTORY
) -> int | None:
    """Make the next checkpoint of a folding whose history is whole up to a position: where it
    is, none if that lies beyond the position or there is nothing to add up.

    `history` is the table that holds it, where it is not among those that serve yet.
    """
    await _lock(connection)
    named = {"election": fold.election, "fold": fold.fold}
    last = (await connection.execute(_LAST, named)).scalar_one()
    first = (
        await connection.execute(text(_NEXT_DELTA.format(history=history)), named | {"last": last})
    ).scalar_one()
    if first is None or first > up_to:
        return None
    villages = (await connection.execute(_VILLAGES, named)).scalar_one()
    every = max(CHECKPOINT_EVERY, villages * DELTAS_PER_ROW)
    position = -(-first // every) * every
    if position > up_to:
        return None
    make = text(_MAKE.format(history=history))
    await connection.execute(make, named | {"last": last, "position": position})
    return int(position)


async def make_checkpoints(engine: AsyncEngine, fold: Fold, up_to: int) -> int:
    """Make all checkpoints of a folding whose history is whole up to a position, each in a
    transaction of its own: how many there were to make."""
    made = 0
    while True:
        async with engine.begin() as connection:
            if await make_checkpoint(connection, fold, up_to) is None:
                return made
        made += 1


async def forget_checkpoints(connection: AsyncConnection, position: int) -> None:
    """Forget those at a position and after it, of every folding: its history changes there.

    In the transaction that changes it, which holds off the making of others until it ends.
    """
    await _lock(connection)
    await connection.execute(_FORGET, {"position": position})
