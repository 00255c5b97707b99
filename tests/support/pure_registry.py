"""The registry's pure core, driven in memory: what `appending` does, without a database."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from services.registry.domain.decide import Circumstances, may_move_by_time
from services.registry.domain.deciding import (
    Answer,
    Claim,
    Entry,
    Received,
    Waiting,
    World,
    decide_all,
)
from services.registry.domain.submissions import Arrival, WellFormed, arrive
from shared.events.facts import EventRetracted
from shared.regions import village_codes


def identities() -> Iterator[UUID]:
    """Resident ids in a plain order, so that a failure reads the same each time."""
    number = 0
    while True:
        number += 1
        yield UUID(int=number)


class PureRegistry:
    """Submits parsed events to the rules; keeps the log in a list.

    The rules are shown of what is parked only what the registry would load.
    """

    def __init__(self) -> None:
        self.world = World(0, 0)
        self.log: list[Entry] = []
        self._identities = identities()
        self._tried_at = datetime.fromtimestamp(0, UTC)

    def submit(self, events: Sequence[Any], now: datetime) -> list[Answer]:
        """The answers to these events, sent together; unreadable ones are answered None."""
        received = [
            Received(arrived, arrived.content, "test", now)
            for event in events
            if isinstance(arrived := arrive(event, True, str.encode), Arrival)
        ]
        everything = self.world.parked
        self.world.parked = self._loaded(received, now)
        minutes = decide_all(
            received, self.world, Circumstances(now, village_codes()), self._identities
        )
        self.world.parked = everything | self.world.parked
        self.log.extend(minutes.entries)
        if minutes.entries:
            self._tried_at = now
        return minutes.answers

    def _loaded(self, received: Sequence[Received], now: datetime) -> dict[bytes, list[Waiting]]:
        """What is parked of the subjects that `ledger` would load."""
        subjects = {
            each.arrived.checked.subject
            for each in received
            if isinstance(each.arrived.checked, WellFormed)
        } | {claim.subject for claim in map(self._retracted, received) if claim}
        if may_move_by_time(self._tried_at, now):
            subjects |= {
                s for s, waiting in self.world.parked.items() if any(map(self._ahead, waiting))
            }
        return {s: waiting for s, waiting in self.world.parked.items() if s in subjects}

    def _retracted(self, received: Received) -> Claim | None:
        checked = received.arrived.checked
        if isinstance(checked, WellFormed) and isinstance(checked.fact, EventRetracted):
            return self.world.claims.get((checked.fact.source, checked.fact.id))
        return None

    def _ahead(self, waiting: Waiting) -> bool:
        return "clock-ahead" in self.world.claims[waiting.key].warnings
