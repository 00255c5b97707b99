"""Processes that work through shares of the residents, as many as there are processors; while
events arrive one at a time, and it rests as long as it has worked."""

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, Final

import orjson
from sqlalchemy.ext.asyncio import AsyncEngine

from services.projections.folding import FoldingFailedError, Share
from shared.database import create_engine
from shared.event_log import last_position

MOST_PROCESSES: Final = 4

# From their first instruction on, behind all that serves: somebody waits for those answers.
NICENESS: Final = 15
MOST_ANSWER_BYTES: Final = 64 * 1024 * 1024

# Whether events arrive is looked at so often.
LOOK_EVERY_S: Final = 0.5

Answer = dict[str, Any]


def processes() -> int:
    """How many work at once."""
    return min(MOST_PROCESSES, os.cpu_count() or 1)


class Room:
    """Room for what serves. However far behind our processes stand, PostgreSQL's that work for
    them stand beside those that count and answer."""

    def __init__(self, events_arrive: bool) -> None:
        self.events_arrive = events_arrive
        self._alone = asyncio.Lock()

    async def watch(self, engine: AsyncEngine, known: int) -> None:
        """Look at the log's head until cancelled; `known` is where it was."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            head = await _head(engine)
            self.events_arrive, known = head != known, head

    @contextlib.asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """While a share is worked on."""
        if not self.events_arrive:
            yield
            return
        async with self._alone:
            began_s = time.monotonic()
            yield
            await asyncio.sleep(time.monotonic() - began_s)


async def _head(engine: AsyncEngine) -> int:
    async with engine.connect() as connection:
        return await last_position(connection)


async def work_through(
    module: str,
    job: Mapping[str, Any],
    shares: Sequence[Share],
    on_answer: Callable[[Answer], None],
) -> list[Answer]:
    """Have processes that run a module work through shares, each the next when it has done one;
    their last words. The job has the `database_url` and `up_to`, the last position of the log that
    is folded. Raises FoldingFailedError."""
    waiting = list(reversed(shares))
    engine = create_engine(job["database_url"], pool_size=1)
    try:
        head = await _head(engine)
        room = Room(events_arrive=head != job["up_to"])
        async with asyncio.TaskGroup() as group:
            watching = group.create_task(room.watch(engine, head))
            working = [
                group.create_task(_worker(module, job, waiting, room, on_answer))
                for _ in range(processes())
            ]
            answers = await asyncio.gather(*working)
            watching.cancel()
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None
    finally:
        await engine.dispose()
    return answers


async def _worker(
    module: str,
    job: Mapping[str, Any],
    waiting: list[Share],
    room: Room,
    on_answer: Callable[[Answer], None],
) -> Answer:
    async with _process(module) as process:
        assert process.stdin is not None
        process.stdin.write(orjson.dumps(job) + b"\n")
        while waiting:
            async with room.turn():
                if waiting:
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
