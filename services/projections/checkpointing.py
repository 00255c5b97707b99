"""Making checkpoints behind the counting: one process at a time, and one after another."""

import asyncio
import time
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.projections import fold_tables, queries
from services.projections.checkpoints import make_checkpoint
from services.projections.fold_tables import Fold

# An arbitrary number of our own: for the lock of who makes checkpoints.
CHECKPOINTER_LOCK: Final = 0x6361_6361_6817

POLL_S: Final = 1.0

# After each it rests, so many times as long as it worked: counting goes first.
REST: Final = 2


class Checkpointer:
    """Makes the checkpoints of what serves, as far as everything is counted."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def run(self) -> None:
        """Work until something fails; what was begun is begun anew by calling again."""
        async with fold_tables.alone(self._engine, CHECKPOINTER_LOCK) as still_alone:
            while True:
                await still_alone()
                began_s = time.monotonic()
                made = [await self._make_one(fold) for fold in await self._whole()]
                await asyncio.sleep(REST * (time.monotonic() - began_s) if any(made) else POLL_S)

    async def _whole(self) -> list[Fold]:
        """The foldings that serve and whose history is whole."""
        async with self._engine.connect() as connection:
            rows = await connection.execute(
                text("SELECT id, fold FROM projections.elections WHERE history_from = 0")
            )
            return [Fold(row.id, row.fold) for row in rows]

    async def _make_one(self, fold: Fold) -> bool:
        async with self._engine.begin() as connection:
            cut = await queries.cut(connection)
            return await make_checkpoint(connection, fold, cut) is not None
