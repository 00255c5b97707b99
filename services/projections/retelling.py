"""Telling of everybody again, once the topic `voter.persons` was lost.

The tables have no more of persons than their facts: these are folded once more, in a process of
its own and some hundred residents at a time, so that counting goes on. What is gathered waits in
the outbox like anything else. A crash, or an election that is folded anew meanwhile, begins again.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from sqlalchemy.ext.asyncio import AsyncEngine

from services.projections import announced, fold_tables, queries
from services.projections.folding import retell_voters
from shared.database import wait_for

logger = logging.getLogger(__name__)

# Behind the waking, for what another process noticed.
POLL_S: Final = 1.0


class Reteller:
    """Gathers everybody's present vote whenever it is asked for; one process at a time does."""

    def __init__(
        self, engine: AsyncEngine, database_url: str, on_gathered: Callable[[], None]
    ) -> None:
        self._engine = engine
        self._database_url = database_url
        self._on_gathered = on_gathered
        self.woken = asyncio.Event()

    async def run(self) -> None:
        """Work until something fails; what was begun is begun anew by calling again."""
        async with fold_tables.alone(self._engine, fold_tables.RETELLER_LOCK) as still_alone:
            while True:
                await still_alone()
                async with self._engine.connect() as connection:
                    asked = await announced.retelling_asked(connection)
                if asked is None or not await self._retell(asked):
                    await wait_for(self.woken, POLL_S)

    async def _retell(self, asked: int) -> bool:
        """Gather everybody, election by election; false if an election was folded anew."""
        async with self._engine.connect() as connection:
            serving = await queries.serving(connection)
        for each in serving:
            if not await retell_voters(self._database_url, each.fold, each.election):
                return False
            self._on_gathered()
        async with self._engine.begin() as connection:
            now = await queries.serving(connection)
            if [each.fold for each in now] != [each.fold for each in serving]:
                return False
            await announced.finish_retelling(connection, asked)
        logger.warning("everybody's vote is gathered to be told again")
        return True
