"""The notifier, killed at a chosen place: `CACAH_TEST_DIES` is the place and how many times it
is passed before, as in `before-ack:2`."""

import os
import signal
import sys
from typing import Any

from aiokafka import AIOKafkaConsumer
from sqlalchemy import event
from sqlalchemy.engine import Engine

from services.notifier.__main__ import main


class Fuse:
    """Burns down by one each time and takes the process with it at the end."""

    def __init__(self, length: int) -> None:
        self._left = length

    def burn(self, *_: Any) -> None:
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
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
    where, _, length = os.environ["CACAH_TEST_DIES"].partition(":")
    lay(where, Fuse(int(length)))
    sys.exit(main())
