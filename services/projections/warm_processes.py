"""Processes that fold, started before there is anything to fold and kept between foldings.

Starting one takes a second of a core, which an operator who waits for a PUT would pay, and those
whose changes are counted meanwhile.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from services.projections.folding import do, end_process, start_process


class WarmProcess:
    """One process, which does one job after another; another is started for one that is gone."""

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None

    async def warm(self) -> asyncio.subprocess.Process:
        """Start a process, unless there is one."""
        if self._process is None or self._process.returncode is not None:
            self._process = await start_process()
        return self._process

    async def do(self, job: Mapping[str, Any]) -> dict[str, Any]:
        """Do a job; a process whose job is broken off goes with it. Raises FoldingFailedError."""
        process = await self.warm()
        try:
            return await do(process, job)
        except BaseException:
            await self.end()
            raise

    async def end(self) -> None:
        """End the process at once."""
        process, self._process = self._process, None
        if process is not None:
            await end_process(process)


@contextlib.asynccontextmanager
async def warm_processes(number: int) -> AsyncIterator[Sequence[WarmProcess]]:
    """So many processes, which end with the context."""
    processes = [WarmProcess() for _ in range(number)]
    try:
        yield processes
    finally:
        for process in processes:
            await process.end()
