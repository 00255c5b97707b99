"""How many rows the workers have read, for the progress that is shown."""

import gc
import multiprocessing
import os
import threading
from multiprocessing.context import SpawnContext
from typing import Any, Final

# Spawned and not forked: a fork would share the event loop and the connections.
PROCESSES: Final[SpawnContext] = multiprocessing.get_context("spawn")

_read: Any = None


def begin(read: Any) -> None:
    """Called first in each worker, with the number that they all add to."""
    global _read
    _read = read
    # Half of the work would be the garbage collector's, which finds nothing.
    gc.disable()
    threading.Thread(target=_end_with_the_parent, daemon=True).start()


def _end_with_the_parent() -> None:
    """A worker whose parent was killed would wait for work for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def add(rows: int) -> None:
    """Some more rows are read."""
    if _read is not None:
        with _read.get_lock():
            _read.value += rows
