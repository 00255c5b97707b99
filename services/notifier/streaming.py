"""The feed as it goes out: kept once a process as ready frames, copied to every client.

A client that is behind the ring reads the database in pages until it has caught up. A slow one
fills its own socket and nobody else's; what it may hold, and when it is cut, is said here and in
`event_stream.py`.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Protocol
from uuid import uuid4

from prometheus_client import Gauge, Histogram

from services.notifier import metrics
from services.notifier.domain.wanted import EVERYTHING, Wanted
from services.notifier.feed import ServedChange
from services.notifier.filtering import STRETCH, Found, look_on
from services.notifier.last_events import LAGGING, REVOKED, Ending, last_event
from services.notifier.numbering import ATTEMPT_S, delays_s
from services.notifier.ring import CHUNK_FRAMES, Frame, Ring, frame
from services.notifier.traced import observe_sent
from shared.database import Woken, listening, wait_for

logger = logging.getLogger(__name__)

RING_FRAMES: Final = 4_096
PAGE_CHANGES: Final = 1_000

POLL_S: Final = 1.0
ANNOUNCED_EVERY_S: Final = 0.05
# Less than what is left between heartbeats of the 15 s that were promised.
READ_S: Final = 3.0
HEARTBEAT_S: Final = 10.0
CLIENT_RETRY_MS: Final = 2_000

# How long a client's changes wait for the answer whether its token still stands.
ASK_S: Final = 1.0

# A client that once had everything, then fell behind the ring, and has kept us waiting for its
# socket for this long since, is cut.
LAGGING_S: Final = 10.0

OPENING: Final = b"retry: %d\n: cacah\n\n" % CLIENT_RETRY_MS
HEARTBEAT: Final = b": heartbeat\n\n"
BLANK: Final = b"\n"


class FeedEnd(Protocol):
    """How far an election's feed goes."""

    @property
    def election(self) -> str: ...

    @property
    def sequence(self) -> int: ...


class SequencedFeed(Protocol):
    """A feed of numbered changes for each election: the villages' or the voters'."""

    async def elections(self) -> Sequence[FeedEnd]: ...

    async def changes(self, election: str, after: int, limit: int) -> list[ServedChange]: ...

    async def wanted_changes(
        self, election: str, wanted: Wanted, after: int, end: int, limit: int
    ) -> list[ServedChange]: ...

    async def announce(self, by: str) -> None: ...


# Whether whoever opened a stream may still read it.
Stands = Callable[[], Awaitable[bool]]


def _nothing() -> None: ...


class Tailer:
    """Follows the feeds of all elections and keeps a ring of each, and calls `on_grown` after one
    has grown.

    What this process numbers is given to it. What others number it reads in the database, when
    they notify `channel` or a poll is due.
    """

    def __init__(
        self,
        feed: SequencedFeed,
        database_url: str,
        channel: str,
        reached: Gauge,
        on_grown: Callable[[], None] = _nothing,
    ) -> None:
        self._feed = feed
        self._database_url = database_url
        self._channel = channel
        self._reached = reached
        self._on_grown = on_grown
        self._rings: dict[str, Ring] = {}
        self._woken: Woken | None = None
        # Tells our own notifications, which say nothing new, from those of others.
        self.name = uuid4().hex

    def ring(self, election: str, sequence: int) -> Ring:
        """The ring of an election whose feed is known to reach `sequence`."""
        if election not in self._rings:
            self._rings[election] = Ring(sequence, RING_FRAMES)
        return self._rings[election]

    def held(self, election: str, after: int, limit: int) -> list[ServedChange] | None:
        """The changes after a sequence, at most `limit`; None where they must be read."""
        ring = self._rings.get(election)
        frames = ring.after(after, limit) if ring is not None else None
        return None if frames is None else [each.change for each in frames]

    def give(self, numbered: Mapping[str, list[ServedChange]]) -> None:
        """Go on with changes that were committed here, by election and in order. Where others'
        changes lie before them, all are read."""
        for election, changes in numbered.items():
            ring = self._rings.get(election)
            if ring is None or changes[0].sequence > ring.last + 1:
                self._wake()
            else:
                self._extend(election, ring, changes)

    def _wake(self) -> None:
        if self._woken is not None:
            self._woken.set()

    def release(self) -> None:
        """Wake every client that waits."""
        for ring in self._rings.values():
            ring.release()

    async def run(self) -> None:
        """Follow until cancelled."""
        waits = delays_s()
        while True:
            try:
                listened = listening(self._database_url, self._channel, self.name)
                async with listened as self._woken:
                    waits = delays_s()
                    await self._follow(self._woken)
            except Exception as error:
                logger.warning("the feed cannot be followed now", extra={"error": repr(error)})
                await self._read_unheard()
                await asyncio.sleep(next(waits))

    async def _read_unheard(self) -> None:
        """Where no connection that listens can be had, those that stand may still be read by."""
        with contextlib.suppress(Exception):
            async with asyncio.timeout(READ_S):
                await self._read_on()

    async def _follow(self, woken: Woken) -> None:
        while not woken.lost:
            # A connection can die without a word; what was read by then stays.
            async with asyncio.timeout(ATTEMPT_S):
                await self._read_on()
            await wait_for(woken, POLL_S)

    async def _read_on(self) -> None:
        for known in await self._feed.elections():
            self._reached.labels(known.election).set(known.sequence)
            ring = self.ring(known.election, known.sequence)
            while ring.last < known.sequence:
                changes = await self._feed.changes(known.election, ring.last, PAGE_CHANGES)
                assert changes, "the feed has a gap"
                self._extend(known.election, ring, changes)

    def _extend(self, election: str, ring: Ring, changes: Sequence[ServedChange]) -> None:
        """Add those of the changes that the ring does not have yet: what is read and what is
        given overlap."""
        new = [frame(change) for change in changes if change.sequence > ring.last]
        if new:
            ring.append(new)
            self._reached.labels(election).set(ring.last)
            self._on_grown()


class Announcer:
    """Tells other processes of new changes, many commits at once; `name` is ours."""

    def __init__(self, feed: SequencedFeed, name: str) -> None:
        self._feed = feed
        self._name = name
        self._due = asyncio.Event()

    def wake(self) -> None:
        self._due.set()

    async def run(self) -> None:
        """Announce until cancelled; what cannot be announced is found by the others' poll."""
        while True:
            await self._due.wait()
            self._due.clear()
            try:
                await self._feed.announce(self._name)
            except Exception as error:
                logger.warning("new changes were not announced", extra={"error": repr(error)})
            await asyncio.sleep(ANNOUNCED_EVERY_S)


class Streams:
    """The streams of all clients of this process; `sent_s` is the measure of how soon a change
    goes out."""

    def __init__(self, feed: SequencedFeed, tailer: Tailer, sent_s: Histogram) -> None:
        self._feed = feed
        self._tailer = tailer
        self.sent_s = sent_s
        self.closing = False

    def close(self) -> None:
        """End every stream: clients come back by themselves and resume."""
        self.closing = True
        self._tailer.release()

    def open(
        self,
        election: str,
        after: int,
        known: int,
        stands: Stands,
        wanted: Wanted = EVERYTHING,
        traced: bool = False,
    ) -> "ClientStream":
        """The stream of a client that has everything up to `after`; `known` is a sequence that
        the feed has reached."""
        ring = self._tailer.ring(election, known)
        return ClientStream(self, ring, election, after, stands, wanted, traced)

    async def next_part(self, ring: Ring, election: str, after: int, wanted: Wanted) -> "Part":
        """What a client gets next: from the ring, or, where it is behind it, of the database."""
        held = ring.after(after)
        if held is not None:
            through = held[-1].sequence if held else after
            if not wanted.all:
                held = [each for each in held if wanted.concerns(each.change.villages)]
            return Part(held, through)
        try:
            async with asyncio.timeout(READ_S):
                found = await self._look_on(ring, election, after, wanted)
        except Exception as error:
            logger.warning("a client waits for the database", extra={"error": repr(error)})
            await asyncio.sleep(POLL_S)
            return Part([], after)
        return Part([frame(change) for change in found.changes], found.through)

    async def _look_on(self, ring: Ring, election: str, after: int, wanted: Wanted) -> Found:
        if not wanted.all:
            return await look_on(self._feed, election, wanted, after, ring.last, CHUNK_FRAMES)
        changes = await self._feed.changes(election, after, CHUNK_FRAMES)
        assert changes, "the feed has a gap"
        return Found(changes, changes[-1].sequence)


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a stream: with it the client has all that it wants up to `through`."""

    frames: list[Frame]
    through: int


class ClientStream:
    """One client's stream.

    The client has all that it wants up to `_after`; the last id that it was given is `_told`,
    which lies before that where what came since was not wanted.
    """

    def __init__(
        self,
        streams: Streams,
        ring: Ring,
        election: str,
        after: int,
        stands: Stands,
        wanted: Wanted,
        traced: bool,
    ) -> None:
        self._streams = streams
        self._ring = ring
        self._election = election
        self._stands = stands
        self._wanted = wanted
        self._traced = traced
        self._after = after
        self._told = after
        # Whether it once had everything, and how long it has kept us waiting since it last had.
        self._live = False
        self._waited_s = 0.0

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """The bytes: every wanted change, then what comes.

        A comment goes out at every heartbeat, between changes too, so that a client can tell a
        quiet feed from a dead one; each time it is looked up whether its token still stands.
        """
        now_s = asyncio.get_running_loop().time
        comment_due_s = now_s() + HEARTBEAT_S
        live_after = self._ring.last
        yield OPENING
        while not self._streams.closing:
            part = await self._next()
            if part.frames:
                began_s = now_s()
                yield self._joined(part.frames)
                self._waited_s += now_s() - began_s
                self._told = part.frames[-1].sequence
                _observe(self._streams.sent_s, self._ring, part.frames, live_after)
            self._after = part.through
            await self._rest(comment_due_s - now_s())
            if now_s() >= comment_due_s:
                yield self._moved_on() + HEARTBEAT
                comment_due_s = now_s() + HEARTBEAT_S
                if await self._is_revoked():
                    yield self._cut("revoked", REVOKED)
                    return
            elif self._after - self._told >= STRETCH:
                yield self._moved_on() + BLANK
            if self._lags():
                yield self._cut("behind", LAGGING)
                return
        yield self._moved_on() + BLANK

    async def _next(self) -> Part:
        return await self._streams.next_part(self._ring, self._election, self._after, self._wanted)

    def _joined(self, frames: list[Frame]) -> bytes:
        if self._traced:
            return b"".join(each.traced() for each in frames)
        return self._ring.joined(frames)

    async def _rest(self, wait_s: float) -> None:
        """Where the client has everything, wait until there is more or the time is over."""
        if self._after >= self._ring.last and not self._streams.closing:
            self._live = True
            self._waited_s = 0.0
            await self._ring.grows(wait_s)

    def _moved_on(self) -> bytes:
        """Moves the client's Last-Event-ID on, where changes were left out, without an event."""
        if self._told == self._after:
            return b""
        self._told = self._after
        return b"id: %d\n" % self._after

    def _lags(self) -> bool:
        """Whether it had everything and then took too little to stay within the ring. Who is on
        the way from further back is not cut: reading pages of the past is what resuming is."""
        return self._live and self._waited_s >= LAGGING_S and self._ring.is_past(self._after)

    async def _is_revoked(self) -> bool:
        try:
            async with asyncio.timeout(ASK_S):
                return not await self._stands()
        except Exception as error:
            # Nothing says that the token was revoked, and a database that is away for a moment
            # would otherwise end every stream, though what it is needed for is not missing yet.
            # The next heartbeat asks again.
            logger.warning("a client's token cannot be asked for", extra={"error": repr(error)})
            return False

    def _cut(self, why: str, ending: Ending) -> bytes:
        metrics.CUT.labels(why).inc()
        return self.last(ending)

    def last(self, ending: Ending) -> bytes:
        """The last event of a client whose stream is ended."""
        return last_event(ending, self._after, self._ring.last)


def _observe(sent_s: Histogram, ring: Ring, frames: list[Frame], live_after: int) -> None:
    """Measure only what the first client was there to wait for, and not what was caught up."""
    now = datetime.now(UTC)
    for sent in frames:
        if sent.sequence > max(ring.streamed, live_after):
            sent_s.observe(max(0.0, (now - sent.change.time).total_seconds()))
            if sent.change.passed is not None:
                observe_sent(sent.change.passed, now)
    ring.streamed = max(ring.streamed, frames[-1].sequence)
