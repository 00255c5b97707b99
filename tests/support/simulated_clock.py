"""A clock that stands still until a test moves it on."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Final

LOOK_S: Final = 0.01
QUIET_LOOKS: Final = 4
SETTLED_WITHIN: Final = 30


class SimulatedClock:
    """Waiting in it takes no time beyond what the clock is moved on."""

    def __init__(self) -> None:
        # Signatures are verified against the machine's clock, so it begins there.
        self._now = datetime.now(UTC)
        self._waiting: dict[object, tuple[datetime, asyncio.Event]] = {}

    def now(self) -> datetime:
        return self._now

    async def wait(self, woken: asyncio.Event, until: datetime | None) -> None:
        if until is not None and until <= self._now:
            return
        mark = object()
        if until is not None:
            self._waiting[mark] = (until, woken)
        try:
            await woken.wait()
        finally:
            self._waiting.pop(mark, None)

    def next_due(self) -> datetime | None:
        """The earliest moment that somebody waits for."""
        return min((until for until, _ in self._waiting.values()), default=None)

    def move_to(self, moment: datetime) -> None:
        """Move on, and wake those whose moment has come."""
        self._now = max(self._now, moment)
        for until, woken in list(self._waiting.values()):
            if until <= self._now:
                woken.set()

    async def pass_by(self, span: timedelta) -> None:
        """Let a span pass, from one moment that somebody waits for to the next; in between all
        that is due is done in real time."""
        end = self._now + span
        while (due := await self._settled()) is not None and due <= end:
            self.move_to(due)
        self.move_to(end)
        await self._settled()

    async def _settled(self) -> datetime | None:
        """The next moment that somebody waits for, once it has stayed the same for a while; None
        where nobody waits for one."""
        due, quiet = self.next_due(), 0
        for _ in range(SETTLED_WITHIN):
            await asyncio.sleep(LOOK_S)
            before, due = due, self.next_due()
            quiet = quiet + 1 if due == before and due is not None else 0
            if quiet >= QUIET_LOOKS:
                break
        return due
