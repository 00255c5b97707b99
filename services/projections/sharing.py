"""Processes that work through shares of the residents, as many as there are processors; while
events arrive one at a time, and it rests twice as long as it has worked."""

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import orjson
from sqlalchemy.ext.asyncio import AsyncEngine

from services.projections.folding import FoldingFailedError, Share
from shared.database import create_engine
from shared.event_log import last_position, recorded_at

MOST_PROCESSES: Final = 4

# From their first instruction on, behind all that serves: somebody waits for those answers.
NICENESS: Final = 15
MOST_ANSWER_BYTES: Final = 64 * 1024 * 1024

# Whether events arrive is looked at so often; at first, whether one has come of late.
LOOK_EVERY_S: Final = 0.5
OF_LATE: Final = timedelta(seconds=2)

# A rest is so many times as long as the work before it. With one, the slowest of a hundred reads
# took more than twice the usual in some runs of `tests/e2e/replaying.py`.
REST: Final = 2

Answer = dict[str, Any]


def processes() -> int:
    """How many work at once."""
    return min(MOST_PROCESSES, os.cpu_count() or 1)


class Room:
    """Room for what serves. However far behind our processes stand, PostgreSQL's that work for
    them stand beside those that count and answer, and what they write is on the same disk."""

    def __init__(self, events_arrive: bool) -> None:
        self.events_arrive = events_arrive
        self._alone = asyncio.Lock()

    @contextlib.asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """While a piece of the work is done."""
        if not self.events_arrive:
            yield
            return
        async with self._alone:
            began_s = time.monotonic()
            yield
            await asyncio.sleep(REST * (time.monotonic() - began_s))


@contextlib.asynccontextmanager
async def room_beside(database_url: str) -> AsyncIterator[Room]:
    """Room for as long as events arrive: when the last of the log was recorded of late, and then
    while its head moves."""
    engine = create_engine(database_url, pool_size=1)
    try:
        async with engine.connect() as connection:
            head = await last_position(connection)
            recorded = (await recorded_at(connection, head)).get(head)
        room = Room(recorded is not None and datetime.now(UTC) - recorded < OF_LATE)
        watching = asyncio.create_task(_watch(engine, head, room))
        try:
            yield room
        finally:
            watching.cancel()
            # Where it could not look, whoever worked met the same.
            await asyncio.gather(watching, return_exceptions=True)
    finally:
        await engine.dispose()


async def _watch(engine: AsyncEngine, known: int, room: Room) -> None:
    while True:
        await asyncio.sleep(LOOK_EVERY_S)
        async with engine.connect() as connection:
            head = await last_position(connection)
        room.events_arrive, known = head != known, head


async def work_through(
    module: str,
    job: Mapping[str, Any],
    shares: Sequence[Share],
    room: Room,
    on_answer: Callable[[Answer], None],
) -> list[Answer]:
    """Have processes that run a module work through shares, each the next when it has done one;
    their last words. Raises FoldingFailedError."""
    waiting = list(reversed(shares))
    try:
        async with asyncio.TaskGroup() as group:
            working = [
                group.create_task(_worker(module, job, waiting, room, on_answer, is_first=n == 0))
                for n in range(processes())
            ]
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None
    return [answer for worker in working if (answer := worker.result()) is not None]


async def _worker(
    module: str,
    job: Mapping[str, Any],
    waiting: list[Share],
    room: Room,
    on_answer: Callable[[Answer], None],
    is_first: bool,
) -> Answer | None:
    # To start another that only waits for its turn would take a second of a processor.
    while not is_first and waiting and room.events_arrive:
        await asyncio.sleep(LOOK_EVERY_S)
    if not is_first and not waiting:
        return None
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
    _stand_behind(process.pid)
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def _stand_behind(pid: int) -> None:
    """Have a process give way at once to whatever wakes: the nicest one still ends its slice."""
    # Linux alone has this; elsewhere niceness must do.
    if hasattr(os, "SCHED_IDLE"):
        with contextlib.suppress(OSError):
            os.sched_setscheduler(pid, os.SCHED_IDLE, os.sched_param(0))


async def _answer(process: asyncio.subprocess.Process) -> Answer:
    assert process.stdout is not None
    line = await process.stdout.readline()
    if not line.endswith(b"\n"):
        raise FoldingFailedError("a process that folds residents ended before its work")
    answer: Answer = orjson.loads(line)
    return answer
