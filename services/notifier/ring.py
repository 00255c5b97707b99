"""The last frames of a feed, ready to be sent: what all its clients copy from."""

import asyncio
from dataclasses import dataclass
from typing import Final

from services.notifier.feed import ServedChange
from services.notifier.traced import with_trace

# What a client is given at once (60 kB). The server holds up to 64 KiB and one such piece more of
# what a client has not taken; beyond that the client is waited for.
CHUNK_FRAMES: Final = 64
END: Final = b"\n\n"


@dataclass(frozen=True, slots=True)
class Frame:
    """A change, and the bytes of it as a server-sent event."""

    change: ServedChange
    sent: bytes

    @property
    def sequence(self) -> int:
        return self.change.sequence

    def traced(self) -> bytes:
        """The bytes to send where the change's trace is asked for."""
        if self.change.passed is None:
            return self.sent
        return with_trace(self.sent.removesuffix(END), self.change.passed) + END


def frame(change: ServedChange) -> Frame:
    """The server-sent event of a change: its id is the sequence, so that a client can resume."""
    event = b"id: %d\nevent: change\ndata: %s" % (change.sequence, change.body)
    return Frame(change, event + END)


class Ring:
    """The last frames of one feed. Everything up to `last` that it no longer holds, or never
    held, is in the database."""

    def __init__(self, last: int, size: int) -> None:
        self._frames: list[Frame | None] = [None] * size
        self._first = last + 1
        self._grown = asyncio.Event()
        self._joined: tuple[int, int, bytes] = (0, 0, b"")
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

    def after(self, sequence: int, limit: int = CHUNK_FRAMES) -> list[Frame] | None:
        """The next frames after a sequence; None where they have left the ring."""
        if self.is_past(sequence):
            return None
        end = min(self.last, sequence + limit)
        held = (self._frames[i % len(self._frames)] for i in range(sequence + 1, end + 1))
        return [found for found in held if found is not None]

    def is_past(self, sequence: int) -> bool:
        """Whether what follows a sequence has left the ring, or never was in it."""
        return sequence + 1 < self._first

    def joined(self, frames: list[Frame]) -> bytes:
        """The bytes of frames: one object for all clients that get the same."""
        first, last = frames[0].sequence, frames[-1].sequence
        if last - first + 1 != len(frames):
            return b"".join(each.sent for each in frames)
        if self._joined[:2] != (first, last):
            self._joined = first, last, b"".join(each.sent for each in frames)
        return self._joined[2]

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
