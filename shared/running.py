"""What a service does beside answering: its parts, each begun anew whenever it ends or fails.

Servers come and go, and a part waits for them. However it fails, nobody would notice one that was
gone: readiness and health ask the servers, not the parts.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from typing import Final

logger = logging.getLogger(__name__)

Part = Callable[[], Awaitable[None]]

# What failed, and how.
Tell = Callable[[str, BaseException], None]

RETRY_S: Final = 1.0

# What has been told to end closes what it holds in less, and is told so again after that.
ENDING_S: Final = 3.0


def _tell(what: str, error: BaseException) -> None:
    logger.error("%s failed and is begun anew", what, exc_info=error)


@contextlib.asynccontextmanager
async def running(parts: Mapping[str, Part], tell: Tell = _tell) -> AsyncIterator[None]:
    """Keep parts running, by what they do, until the context is left; then all have ended."""
    ending = asyncio.Event()
    tasks = [
        asyncio.create_task(_keep(what, part, tell, ending), name=what)
        for what, part in parts.items()
    ]
    try:
        yield
    finally:
        ending.set()
        await _end(tasks)


def after(event: asyncio.Event, part: Part) -> Part:
    """A part that waits for an event whenever it begins."""

    async def wait_and_run() -> None:
        await event.wait()
        await part()

    return wait_and_run


async def for_ever() -> None:
    """Wait until cancelled."""
    await asyncio.Event().wait()


async def _keep(what: str, part: Part, tell: Tell, ending: asyncio.Event) -> None:
    while True:
        try:
            await part()
        except Exception as error:
            if ending.is_set():
                # What failed while it was being ended must not keep it from ending.
                return
            tell(what, error)
        except asyncio.CancelledError as error:
            # Of something within, which nobody caught; `Task.cancelling` cannot tell, because a
            # TaskGroup that fails leaves it raised (CPython before 3.13).
            if ending.is_set():
                raise
            tell(what, error)
        await asyncio.sleep(RETRY_S)


async def _end(tasks: Collection[asyncio.Task[None]]) -> None:
    """Cancel tasks until they have ended: a driver that catches its own cancelling at that moment
    catches ours with it."""
    while not all(task.done() for task in tasks):
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=ENDING_S)
