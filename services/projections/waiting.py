"""Readers who wait until a position is counted, with one query for all of them."""

import asyncio
import contextlib
from typing import Final

from sqlalchemy.ext.asyncio import AsyncEngine

from services.projections import metrics, queries
from shared.database import wait_for

# While somebody waits: for what other processes count; else for the metric alone.
POLL_WAITING_S: Final = 0.1
POLL_IDLE_S: Final = 1.0


class CutWatch:
    """Knows how far everything is counted."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._woken = asyncio.Event()
        self._cut = 0
        self._waiting: dict[asyncio.Future[None], int] = {}

    def wake(self) -> None:
        """Something was counted: look, if anybody waits."""
        if self._waiting:
            self._woken.set()

    async def reaches(self, position: int, timeout_s: float) -> bool:
        """Wait until everything up to a position is counted; false if it is not in time."""
        if position <= self._cut:
            return True
        counted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[counted] = position
        self._woken.set()
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await counted
        finally:
            del self._waiting[counted]
        return position <= self._cut

    async def run(self) -> None:
        """Look again and again, for ever."""
        while True:
            async with self._engine.connect() as connection:
                self._cut = max(self._cut, await queries.cut(connection))
            metrics.CUT.set(self._cut)
            for counted, position in self._waiting.items():
                if position <= self._cut and not counted.done():
                    counted.set_result(None)
            await wait_for(self._woken, POLL_WAITING_S if self._waiting else POLL_IDLE_S)
