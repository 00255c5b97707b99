"""Long work in short pieces, between which the event loop goes on."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Final, TypeVar

Thing = TypeVar("Thing")
Result = TypeVar("Result")

# Half a millisecond of what costs an event most.
PIECE: Final = 25


async def in_pieces(work: Callable[[Thing], Result], things: Iterable[Thing]) -> list[Result]:
    """What work on each of these things comes to, in their order."""
    done: list[Result] = []
    for number, thing in enumerate(things, start=1):
        done.append(work(thing))
        if number % PIECE == 0:
            await asyncio.sleep(0)
    return done


async def meanwhile(
    waiting: Coroutine[Any, Any, object], work: Coroutine[Any, Any, Result]
) -> Result:
    """What `work` comes to, done while `waiting` waits for somebody else.

    Neither goes on once this returns or raises: a connection that `waiting` holds is free again.
    """
    held = asyncio.ensure_future(waiting)
    try:
        done = await work
    except BaseException:
        held.cancel()
        await asyncio.gather(held, return_exceptions=True)
        raise
    await held
    return done
