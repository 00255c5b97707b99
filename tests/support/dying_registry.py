"""The registry, killed at a chosen place: `CACAH_TEST_DIES` is the place and how many times it
is passed before, as in `after-commit:2`.

Its places are those where a commit and an acknowledgement part: before and after the commit of
an append (after it, nobody has been answered), after records were handed to Kafka, and after
Kafka acknowledged them but before the relay's mark.
"""

import os
from typing import Any, Final

from aiokafka import AIOKafkaProducer
from sqlalchemy import event
from sqlalchemy.engine import Engine

from services.registry.__main__ import main
from services.registry.appending import Appender
from services.registry.relay import Relay
from tests.support.dying_notifier import Fuse

PLACES: Final = ("before-commit", "after-commit", "after-send", "before-mark")


def lay(place: str, fuse: Fuse) -> None:
    """Have the process end at a place."""
    match place:
        case "before-commit":
            event.listen(Engine, "commit", fuse.burn)
        case "after-commit":
            _before_own(Appender, "on_append", fuse)
        case "after-send":
            _after(AIOKafkaProducer, "send_batch", fuse)
        case "before-mark":
            _before(Relay, "_mark", fuse)
        case _:
            raise ValueError(place)


def _before_own(kind: Any, name: str, fuse: Fuse) -> None:
    """Burn when an object's own callable is called, before it is."""
    make = kind.__init__

    def made(self: Any, *arguments: Any, **named: Any) -> None:
        make(self, *arguments, **named)
        call = getattr(self, name)

        def called() -> None:
            fuse.burn()
            call()

        setattr(self, name, called)

    kind.__init__ = made


def _before(kind: Any, name: str, fuse: Fuse) -> None:
    method = getattr(kind, name)

    async def called(*arguments: Any) -> Any:
        fuse.burn()
        return await method(*arguments)

    setattr(kind, name, called)


def _after(kind: Any, name: str, fuse: Fuse) -> None:
    method = getattr(kind, name)

    async def called(*arguments: Any, **named: Any) -> Any:
        done = await method(*arguments, **named)
        fuse.burn()
        return done

    setattr(kind, name, called)


if __name__ == "__main__":
    where, _, length = os.environ["CACAH_TEST_DIES"].partition(":")
    lay(where, Fuse(int(length)))
    main()
