"""The notifier, killed at a chosen place: `CACAH_TEST_DIES` is the place and how many times it
is passed before, as in `before-ack:2`; with `:SIGSTOP` it falls silent there, as a host does that
died or lost its network."""

import os
import signal
import sys
from typing import Any

from aiokafka import AIOKafkaConsumer
from sqlalchemy import event
from sqlalchemy.engine import Engine

from services.notifier.__main__ import main


class Fuse:
    """Burns down by one each time and takes the process with it at the end, or stops it there."""

    def __init__(self, length: int, end: signal.Signals = signal.SIGKILL) -> None:
        self._left = length
        self._end = end

    def burn(self, *_: Any) -> None:
        if self._left == 0:
            os.kill(os.getpid(), self._end)
        self._left -= 1


def lay(place: str, fuse: Fuse) -> None:
    if place == "before-commit":
        event.listen(Engine, "commit", fuse.burn)
        return
    assert place == "before-ack"
    acknowledge = AIOKafkaConsumer.commit

    async def commit(consumer: Any, offsets: Any = None) -> None:
        fuse.burn()
        await acknowledge(consumer, offsets)

    AIOKafkaConsumer.commit = commit


if __name__ == "__main__":
    where, length, *ending = os.environ["CACAH_TEST_DIES"].split(":")
    lay(where, Fuse(int(length), signal.Signals[ending[0] if ending else "SIGKILL"]))
    sys.exit(main())
