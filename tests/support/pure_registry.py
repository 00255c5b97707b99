"""The registry's pure core, driven in memory: what `appending` does, without a database."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from services.registry.domain.decide import Circumstances
from services.registry.domain.deciding import (
    Answer,
    Entry,
    Received,
    World,
    decide_all,
)
from services.registry.domain.submissions import Arrival, arrive
from shared.regions import village_codes


def identities() -> Iterator[UUID]:
    """Resident ids in a plain order, so that a failure reads the same each time."""
    number = 0
    while True:
        number += 1
        yield UUID(int=number)


class PureRegistry:
    """Submits parsed events to the rules; keeps the log in a list."""

    def __init__(self) -> None:
        self.world = World(0, 0)
        self.log: list[Entry] = []
        self._identities = identities()

    def submit(self, events: Sequence[Any], now: datetime) -> list[Answer]:
        """The answers to these events, sent together; unreadable ones are answered None."""
        received = [
            Received(arrived, arrived.content, "test")
            for event in events
            if isinstance(arrived := arrive(event, True, str.encode), Arrival)
        ]
        minutes = decide_all(
            received, self.world, Circumstances(now, village_codes()), self._identities
        )
        self.log.extend(minutes.entries)
        return minutes.answers
