"""A subscription to one of KPU's feeds by server-sent events, which comes back by itself.

Fault model: the notifier may be restarted, killed, or cut a client off that was too slow; the
connection may die unnoticed, which a silence longer than the heartbeat tells. In each case the
stream is resumed after the last change that was taken. Events of kinds that are not known here are
passed over.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import httpx

from cli.following.changes import Change, UnreadableChangeError, read_change
from cli.following.door import NotifierAwayError, election_path, require_success, said
from cli.following.event_stream import EventReader, EventTooLargeError, ServerSent
from cli.following.standing import FeedFault, Standing
from cli.projections import CannotAskError

CHANGE: Final = "change"
EVENT_STREAM: Final = "text/event-stream"

FIRST_DELAY_S: Final = 1.0
LONGEST_DELAY_S: Final = 30.0
# A connection that held so long has nothing to do with the trouble before it.
LASTING_S: Final = 30.0

Take = Callable[[Sequence[Change]], Awaitable[None]]
# What happened, and whether it hinders.
Tell = Callable[[str, bool], None]


class Subscription:
    """Follows a feed; `tell` hears when the notifier is away and when it is back."""

    def __init__(self, client: httpx.AsyncClient, standing: Standing, tell: Tell) -> None:
        self._client = client
        self._standing = standing
        self._feed = standing.feed
        self._url = f"{election_path(standing.election)}{self._feed.path}/stream"
        self._tell = tell
        self._retry_s = FIRST_DELAY_S
        self._failures = 0
        self._away = False

    async def follow(self, take: Take) -> None:
        """Take all changes after the standing, those that came together together, until cancelled.

        The standing is moved on before they are taken. Raises CannotAskError and FeedFault, and
        whatever `take` raises.
        """
        while True:
            began, asked_s = time.monotonic(), 0.0
            try:
                await self._stream(take)
                why = "the notifier ended the stream"
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                why = f"no notifier answers at {self._client.base_url} ({type(error).__name__})"
            except httpx.TransportError as error:
                why = f"the connection broke ({type(error).__name__})"
            except NotifierAwayError as error:
                why, asked_s = str(error), error.wait_s
            if time.monotonic() - began > LASTING_S:
                self._failures = 0
            await asyncio.sleep(self._wait_s(why, asked_s))

    async def _stream(self, take: Take) -> None:
        headers = {"Accept": EVENT_STREAM, "Last-Event-ID": str(self._standing.sequence)}
        async with self._client.stream("GET", self._url, headers=headers) as answer:
            if answer.status_code == httpx.codes.BAD_REQUEST:
                await answer.aread()
                raise FeedFault(f"{said(answer)} {self._standing.advice()}")
            await require_success(answer)
            if not answer.headers.get("content-type", "").startswith(EVENT_STREAM):
                raise CannotAskError(f"{answer.url} is no stream; is it the notifier's address?")
            await self._read(answer, take)

    async def _read(self, answer: httpx.Response, take: Take) -> None:
        reader = EventReader()
        async for chunk in answer.aiter_bytes():
            try:
                changes = [self._change(e) for e in reader.read(chunk) if e.kind == CHANGE]
            except EventTooLargeError as error:
                raise CannotAskError(f"{answer.url} sends {error}: is it a feed?") from None
            self._is_back(reader)
            if changes:
                await self._take(changes, take)

    async def _take(self, changes: Sequence[Change], take: Take) -> None:
        for change in changes:
            self._standing.enter(change)
        await take(changes)
        self._failures = 0

    def _change(self, event: ServerSent) -> Change:
        try:
            change = read_change(self._feed, event.data)
        except UnreadableChangeError as error:
            raise FeedFault(
                f"event {event.last_id or 'without an id'} is no change of the {self._feed}"
                f" ({error}): a newer cacah may be needed here"
            ) from None
        if event.last_id != str(change.sequence):
            raise FeedFault(
                f"event {event.last_id or 'without an id'} holds change {change.sequence}; see"
                " whether the notifier's address is right, and tell the office"
            )
        return change

    def _is_back(self, reader: EventReader) -> None:
        if reader.retry_ms is not None:
            self._retry_s = reader.retry_ms / 1000
        if self._away:
            self._tell("the notifier is back", False)
            self._away = False

    def _wait_s(self, why: str, asked_s: float) -> float:
        self._failures += 1
        if not self._away:
            after = self._standing.sequence
            self._tell(f"{why}; going on after change {after} as soon as it is back", True)
            self._away = True
        chance = random.random()  # noqa: S311
        return max(asked_s, delay_after(self._failures, self._retry_s, chance))


def delay_after(failures: int, first_s: float, chance: float) -> float:
    """How long to wait after so many failures (from 1): twice as long each time up to half a
    minute, and by `chance` (0 to 1) between half and the whole of it."""
    whole_s = min(first_s * 2 ** min(failures - 1, 10), LONGEST_DELAY_S)
    return float(whole_s * (0.5 + chance / 2))
