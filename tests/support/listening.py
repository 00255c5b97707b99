"""A client of one of KPU's feeds that comes back by itself and believes nothing."""

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import Final

import httpx

from tests.support.differences import require
from tests.support.reading import Row, get, server_sent

PAUSE_S: Final = 0.05
TOLD_WITHIN_S: Final = 30.0
PAGE: Final = 997

VILLAGES: Final = ""
VOTERS: Final = "/voters"


@dataclass
class Listener:
    """Listens to a stream from after a sequence on, and resumes whenever it breaks off.

    `feed` is VILLAGES or VOTERS. A gap, a repeat or a step back is a difference that ends it.
    """

    election: str
    feed: str = VILLAGES
    after: int = 0
    told: list[Row] = field(default_factory=list)
    streams: int = 0

    @property
    def resumed(self) -> int:
        """How often it had to come back."""
        return max(0, self.streams - 1)

    @property
    def path(self) -> str:
        """Where the feed is."""
        return f"/v1/elections/{self.election}{self.feed}"

    @property
    def last(self) -> int:
        """The last sequence that was told."""
        return self.after + len(self.told)

    async def follow(self, notifier: httpx.AsyncClient) -> None:
        """Listen until cancelled; an election that is not there yet is asked for again."""
        while True:
            last = {"Last-Event-ID": str(self.last)}
            with contextlib.suppress(httpx.TransportError):
                async with notifier.stream("GET", f"{self.path}/stream", headers=last) as response:
                    if response.status_code == 200:
                        self.streams += 1
                        await self._listen(response)
            await asyncio.sleep(PAUSE_S)

    async def _listen(self, response: httpx.Response) -> None:
        async with contextlib.aclosing(server_sent(response)) as events:
            async for identity, data in events:
                self.see(identity, data)

    def see(self, identity: int, change: Row) -> None:
        """Take the next change, which must be the next one."""
        right = identity == change["sequence"] == self.last + 1
        require(right, f"{self.path}: after {self.last} came {identity}: {change}")
        self.told.append(change)

    async def read(self, notifier: httpx.AsyncClient) -> list[Row]:
        """The pages of the feed from where we began, to their end."""
        changes: list[Row] = []
        while True:
            after = self.after + len(changes)
            answer = await get(notifier, f"{self.path}/changes", after=after, limit=PAGE)
            if not answer["changes"]:
                require(answer["last"] == after, f"{self.path}: the end after {after} is {answer}")
                return changes
            changes += answer["changes"]

    async def agree(self, notifier: httpx.AsyncClient) -> None:
        """Wait until all there is was told; it is what the pages say."""
        changes = await self.read(notifier)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(TOLD_WITHIN_S):
                while len(self.told) < len(changes):
                    await asyncio.sleep(PAUSE_S)
        about = f"{self.path}: the stream told {len(self.told)} changes, the pages {len(changes)}"
        require(self.told == changes, about)
