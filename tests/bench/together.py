"""Clients spread over processes that begin together, as several processes of a service would."""

import multiprocessing
import time
from collections.abc import Callable, Sequence
from multiprocessing.queues import SimpleQueue
from multiprocessing.synchronize import Barrier
from typing import Final

PROCESSES: Final = 2
START_WITHIN_S: Final = 120.0

Queues = Sequence[Sequence[Sequence[bytes]]]
Send = Callable[[str, Queues], object]


def rate(send: Send, url: str, queues: Queues) -> float:
    """Events a second, from the first that begins to the last that ends."""
    spawned = multiprocessing.get_context("spawn")
    barrier, spans = spawned.Barrier(PROCESSES), spawned.SimpleQueue()
    running = [
        spawned.Process(target=_send, args=(send, url, queues[n::PROCESSES], barrier, spans))
        for n in range(PROCESSES)
    ]
    for process in running:
        process.start()
    for process in running:
        process.join()
        assert process.exitcode == 0, "a process of the benchmark failed"
    found: list[tuple[float, float]] = [spans.get() for _ in running]
    events = sum(len(batch) for queue in queues for batch in queue)
    return events / (max(ended for _, ended in found) - min(began for began, _ in found))


def _send(
    send: Send,
    url: str,
    queues: Queues,
    barrier: Barrier,
    spans: "SimpleQueue[tuple[float, float]]",
) -> None:
    barrier.wait(START_WITHIN_S)
    began = time.monotonic()
    send(url, queues)
    spans.put((began, time.monotonic()))
