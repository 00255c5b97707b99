"""The book that KPU keeps in the demo: every change received over SSE, added up."""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Final

import httpx
import orjson

from cli.counting import COUNTS, Tally

LATEST_KEPT: Final = 12
FAULTS_KEPT: Final = 5
RECONNECT_S: Final = 0.3
# The notifier sends a comment at least every 15 s; a longer silence is a dead connection.
SILENCE_S: Final = 20.0

Change = dict[str, Any]


@dataclass(slots=True)
class Book:
    """The tallies as the changes give them, and what was wrong with the changes if anything was."""

    tallies: dict[str, Tally] = field(default_factory=dict)
    sequence: int = 0
    position: int = 0
    reconnections: int = 0
    latest: deque[Change] = field(default_factory=lambda: deque(maxlen=LATEST_KEPT))
    faults: list[str] = field(default_factory=list)

    def enter(self, change: Change) -> None:
        """Add a change, and note it where it does not follow from the one before."""
        village, sequence = change["village"], change["sequence"]
        if sequence != self.sequence + 1:
            self._note(f"change {sequence} came after change {self.sequence}")
        before = self.tallies.get(village, dict.fromkeys(COUNTS, 0))
        if change["before"] != before:
            self._note(f"change {sequence}: `before` is not the previous `after` of {village}")
        self.tallies[village] = _added(before, change)
        self.sequence = sequence
        self.position = max(self.position, change["position"])
        self.latest.appendleft(change)

    def _note(self, fault: str) -> None:
        if len(self.faults) < FAULTS_KEPT:
            self.faults.append(fault)

    def equals(self, tallies: dict[str, Tally]) -> bool:
        """Whether the changes add up to these tallies; an untold village counts as zeros."""
        zeros = dict.fromkeys(COUNTS, 0)
        return self.tallies.keys() <= tallies.keys() and all(
            self.tallies.get(village, zeros) == tally for village, tally in tallies.items()
        )


def _added(tally: Tally, change: Change) -> Tally:
    before, after = change["before"], change["after"]
    return {name: tally[name] + after[name] - before[name] for name in COUNTS}


async def keep(book: Book, client: httpx.AsyncClient, election: str) -> None:
    """Receive changes for ever, resuming after the last one whenever the connection ends."""
    while True:
        with contextlib.suppress(httpx.TransportError):
            async for change in _stream(client, election, book.sequence):
                book.enter(change)
        book.reconnections += 1
        await asyncio.sleep(RECONNECT_S)


async def _stream(client: httpx.AsyncClient, election: str, after: int) -> AsyncIterator[Change]:
    request = client.stream(
        "GET",
        f"/v1/elections/{election}/stream",
        params={"after": 0} if after == 0 else None,
        headers={"Accept": "text/event-stream"} | ({"Last-Event-ID": str(after)} if after else {}),
        timeout=httpx.Timeout(10.0, read=SILENCE_S),
    )
    async with request as answer:
        if answer.status_code != httpx.codes.OK:
            return
        async for message in _messages(answer):
            lines = message.splitlines()
            if b"event: change" not in lines:
                continue
            for line in lines:
                if line.startswith(b"data:"):
                    yield orjson.loads(line.removeprefix(b"data:"))


async def _messages(answer: httpx.Response) -> AsyncIterator[bytes]:
    """The messages of a stream: what stands between empty lines."""
    rest = b""
    async for chunk in answer.aiter_bytes():
        *whole, rest = (rest + chunk).split(b"\n\n")
        for message in whole:
            yield message
