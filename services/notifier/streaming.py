"""The feed as it goes out: read once a process, kept as ready frames, copied to every client.

A client that is behind the ring reads the database in pages until it has caught up, and a slow
one fills its own socket and nobody else's.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Protocol

from prometheus_client import Gauge

from services.notifier import metrics
from services.notifier.feed import ServedChange
from services.notifier.numbering import delays_s
from shared.database import Woken, listening, wait_for

logger = logging.getLogger(__name__)

RING_FRAMES: Final = 4_096

# What a client is given at once; a slow one holds about this much in its buffers (200 kB).
CHUNK_FRAMES: Final = 256
PAGE_CHANGES: Final = 1_000

POLL_S: Final = 1.0
HEARTBEAT_S: Final = 10.0
CLIENT_RETRY_MS: Final = 2_000

OPENING: Final = b"retry: %d\n: cacah\n\n" % CLIENT_RETRY_MS
HEARTBEAT: Final = b": heartbeat\n\n"


@dataclass(frozen=True, slots=True)
class Frame:
    """A change as a server-sent event."""

    sequence: int
    time: datetime
    sent: bytes


def frame(change: ServedChange) -> Frame:
    """The server-sent event of a change: its id is the sequence, so that a client can resume."""
    event = b"id: %d\nevent: change\ndata: %s\n\n" % (change.sequence, change.body)
    return Frame(change.sequence, change.time, event)


class Ring:
    """The last frames of one feed. Everything up to `last` that it no longer holds, or never
    held, is in the database."""

    def __init__(self, last: int, size: int = RING_FRAMES) -> None:
        self._frames: list[Frame | None] = [None] * size
        self._first = last + 1
        self._grown = asyncio.Event()
        self.last = last
        self.streamed = last

    def append(self, frames: list[Frame]) -> None:
        """Add the frames that follow, and wake whoever waits for them."""
        for added in frames:
            assert added.sequence == self.last + 1, "the feed has a gap"
            self._frames[added.sequence % len(self._frames)] = added
            self.last = added.sequence
        self._first = max(self._first, self.last - len(self._frames) + 1)
        self._grown.set()
        self._grown = asyncio.Event()

    def after(self, sequence: int) -> list[Frame] | None:
        """The next frames after a sequence; None where they have left the ring."""
        if sequence + 1 < self._first:
            return None
        end = min(self.last, sequence + CHUNK_FRAMES)
        held = (self._frames[i % len(self._frames)] for i in range(sequence + 1, end + 1))
        return [found for found in held if found is not None]

    def release(self) -> None:
        """Wake whoever waits, though nothing was added."""
        self.append([])

    async def grows(self, wait_s: float) -> None:
        """Return when frames are added or the time is over."""
        try:
            async with asyncio.timeout(wait_s):
                await self._grown.wait()
        except TimeoutError:
            return


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

    async def announce(self) -> None: ...


class Tailer:
    """Follows the feeds of all elections and keeps a ring of each; `channel` is notified when
    another process has numbered changes."""

    def __init__(
        self, feed: SequencedFeed, database_url: str, channel: str, reached: Gauge
    ) -> None:
        self._feed = feed
        self._database_url = database_url
        self._channel = channel
        self._reached = reached
        self._rings: dict[str, Ring] = {}
        self._woken: Woken | None = None

    def ring(self, election: str, sequence: int) -> Ring:
        """The ring of an election whose feed is known to reach `sequence`."""
        return self._rings.setdefault(election, Ring(sequence))

    def wake(self) -> None:
        """There are new changes: look now."""
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
                async with listening(self._database_url, self._channel) as self._woken:
                    waits = delays_s()
                    await self._follow(self._woken)
            except Exception as error:
                logger.warning("the feed cannot be followed now", extra={"error": repr(error)})
                await asyncio.sleep(next(waits))

    async def _follow(self, woken: Woken) -> None:
        while not woken.lost:
            await self._read_on()
            await wait_for(woken, POLL_S)

    async def _read_on(self) -> None:
        for known in await self._feed.elections():
            self._reached.labels(known.election).set(known.sequence)
            ring = self.ring(known.election, known.sequence)
            while ring.last < known.sequence:
                changes = await self._feed.changes(known.election, ring.last, PAGE_CHANGES)
                assert changes, "the feed has a gap"
                ring.append([frame(change) for change in changes])


class Announcer:
    """Tells other processes of new changes, many commits at once."""

    def __init__(self, feed: SequencedFeed) -> None:
        self._feed = feed
        self._due = asyncio.Event()

    def wake(self) -> None:
        self._due.set()

    async def run(self) -> None:
        """Announce until cancelled; what cannot be announced is found by the others' poll."""
        while True:
            await self._due.wait()
            self._due.clear()
            try:
                await self._feed.announce()
            except Exception as error:
                logger.warning("new changes were not announced", extra={"error": repr(error)})


class Streams:
    """The streams of all clients of this process."""

    def __init__(
        self, feed: SequencedFeed, tailer: Tailer, heartbeat_s: float = HEARTBEAT_S
    ) -> None:
        self._feed = feed
        self._tailer = tailer
        self._heartbeat_s = heartbeat_s
        self._closing = False

    def close(self) -> None:
        """End every stream: clients come back by themselves and resume."""
        self._closing = True
        self._tailer.release()

    async def stream(self, election: str, after: int, known: int) -> AsyncIterator[bytes]:
        """The bytes of a client's stream: every change after a sequence, then what comes.

        `known` is a sequence that the feed has reached. A comment goes out at every heartbeat,
        between changes too, so that a client can tell a quiet feed from a dead one.
        """
        ring = self._tailer.ring(election, known)
        live_after = ring.last
        now_s = asyncio.get_running_loop().time
        comment_due_s = now_s() + self._heartbeat_s
        yield OPENING
        while not self._closing:
            frames = await self._next(ring, election, after)
            if frames:
                yield b"".join(frame.sent for frame in frames)
                after = frames[-1].sequence
                _observe(ring, frames, live_after)
            elif not self._closing:
                await ring.grows(comment_due_s - now_s())
            if now_s() >= comment_due_s:
                yield HEARTBEAT
                comment_due_s = now_s() + self._heartbeat_s

    async def _next(self, ring: Ring, election: str, after: int) -> list[Frame]:
        held = ring.after(after)
        if held is not None:
            return held
        try:
            changes = await self._feed.changes(election, after, CHUNK_FRAMES)
        except Exception as error:
            logger.warning("a client waits for the database", extra={"error": repr(error)})
            await asyncio.sleep(POLL_S)
            return []
        return [frame(change) for change in changes]


def _observe(ring: Ring, frames: list[Frame], live_after: int) -> None:
    """Measure only what the first client was there to wait for, and not what was caught up."""
    now = datetime.now(UTC)
    for sent in frames:
        if sent.sequence > max(ring.streamed, live_after):
            metrics.STREAMED_S.observe(max(0.0, (now - sent.time).total_seconds()))
    ring.streamed = max(ring.streamed, frames[-1].sequence)
