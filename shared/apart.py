"""Work on many things apart from the event loop, which must go on meanwhile."""

import asyncio
from collections.abc import Callable
from typing import Final, TypeVar

Result = TypeVar("Result")

# A kabupaten has some hundred villages, which are a millisecond's work; a thread would wait longer
# than that for the interpreter's lock wherever the loop is busy.
FEW: Final = 1_000


async def apart(things: int, work: Callable[[], Result]) -> Result:
    """What work on so many things comes to: on few of them done at once, on many in a thread."""
    return work() if things <= FEW else await asyncio.to_thread(work)
