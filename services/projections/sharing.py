"""Processes that work through shares of the residents, as many as there are processors."""

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, Final

import orjson

from services.projections.folding import FoldingFailedError, Share

MOST_PROCESSES: Final = 4

# From their first instruction on, behind all that serves: somebody waits for those answers.
NICENESS: Final = 15
MOST_ANSWER_BYTES: Final = 64 * 1024 * 1024

Answer = dict[str, Any]


def processes() -> int:
    """How many work at once."""
    return min(MOST_PROCESSES, os.cpu_count() or 1)


async def work_through(
    module: str,
    job: Mapping[str, Any],
    shares: Sequence[Share],
    on_answer: Callable[[Answer], None],
) -> list[Answer]:
    """Have processes that run a module work through shares, each the next when it has done one;
    their last words. Raises FoldingFailedError."""
    waiting = list(reversed(shares))
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(_worker(module, job, waiting, on_answer))
                for _ in range(processes())
            ]
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None
    return [task.result() for task in tasks]


async def _worker(
    module: str,
    job: Mapping[str, Any],
    waiting: list[Share],
    on_answer: Callable[[Answer], None],
) -> Answer:
    async with _process(module) as process:
        assert process.stdin is not None
        process.stdin.write(orjson.dumps(job) + b"\n")
        while waiting:
            share = waiting.pop()
            process.stdin.write(orjson.dumps([str(share.first), str(share.last)]) + b"\n")
            on_answer(await _answer(process))
        process.stdin.write(b"\n")
        return await _answer(process)


@contextlib.asynccontextmanager
async def _process(module: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *("nice", "-n", str(NICENESS), sys.executable, "-m", module),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=MOST_ANSWER_BYTES,
        # Ctrl-C is for us; they end with us.
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _answer(process: asyncio.subprocess.Process) -> Answer:
    assert process.stdout is not None
    line = await process.stdout.readline()
    if not line.endswith(b"\n"):
        raise FoldingFailedError("a process that folds residents ended before its work")
    answer: Answer = orjson.loads(line)
    return answer
