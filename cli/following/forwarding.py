"""Posts changes to a receiver that somebody develops, in the form in which webhooks come.

In order within a village, many villages at once, as the notifier delivers; what fails is tried
again at once and then ever more slowly, for as long as it takes, and holds back its village alone.
Nothing is kept: the next run begins where it is told to.
"""

import asyncio
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import orjson

from cli.following.changes import Change
from cli.following.subscribing import delay_after
from services.notifier.courier import EVENT_TYPE, event_body, message_id, post_signed
from services.notifier.posting import Outcome, Poster
from services.notifier.signing import SigningKey

# As many as the notifier sends at once, and so many changes more are read ahead of them.
REQUESTS_AT_ONCE: Final = 24
MOST_WAITING: Final = 512
FIRST_DELAY_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Delivered:
    """One attempt; `again_s` is when the next one comes, where it failed."""

    change: Change
    attempt: int
    outcome: Outcome
    again_s: float | None


class Forwarder:
    """Delivers what it is given; `told` hears of every attempt."""

    def __init__(
        self,
        poster: Poster,
        key: SigningKey,
        group: asyncio.TaskGroup,
        told: Callable[[Delivered], None],
    ) -> None:
        self._poster = poster
        self._key = key
        self._group = group
        self._told = told
        self._waiting: dict[str, deque[Change]] = {}
        self._room = asyncio.Semaphore(MOST_WAITING)
        self._requests = asyncio.Semaphore(REQUESTS_AT_ONCE)

    async def take(self, changes: Sequence[Change]) -> None:
        """Deliver them in time; returns late where too many wait already."""
        for change in changes:
            await self._room.acquire()
            if change.key in self._waiting:
                self._waiting[change.key].append(change)
            else:
                self._waiting[change.key] = deque([change])
                self._group.create_task(self._deliver_village(change.key))

    async def _deliver_village(self, village: str) -> None:
        waiting = self._waiting[village]
        while waiting:
            await self._deliver(waiting.popleft())
            self._room.release()
        del self._waiting[village]

    async def _deliver(self, change: Change) -> None:
        attempt = 0
        while True:
            attempt += 1
            outcome = await self._attempt(change)
            if outcome.delivered:
                self._told(Delivered(change, attempt, outcome, None))
                return
            again_s = delay_after(attempt, FIRST_DELAY_S, random.random())  # noqa: S311
            self._told(Delivered(change, attempt, outcome, again_s))
            await asyncio.sleep(again_s)

    async def _attempt(self, change: Change) -> Outcome:
        time = datetime.fromisoformat(change.members["time"])
        body = event_body(EVENT_TYPE, time, orjson.dumps(change.members))
        identity = message_id(change.election, change.sequence)
        async with self._requests:
            now = datetime.now(UTC)
            return await post_signed(self._poster, [self._key], identity, body, now)
