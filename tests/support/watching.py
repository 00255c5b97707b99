"""Watches a system while it works: the log and KPU's stream as they grow, read only forwards."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Final

import httpx

from tests.support.reading import ELECTION, Row, get, read_changes, server_sent
from tests.support.system import System

PAUSE_S: Final = 0.05
TOLD_WITHIN_S: Final = 30.0


@dataclass
class Watch:
    """What a reader of the log and a client of the stream have seen since they began."""

    log_from: int
    feed_from: int
    log: list[Row] = field(default_factory=list)
    feed: list[Row] = field(default_factory=list)
    resumed: int = 0

    async def follow_log(self, registry: httpx.AsyncClient) -> None:
        """Ask for what comes after the last position seen; what is seen once never changes."""
        while True:
            after = self.log_from + len(self.log)
            with contextlib.suppress(httpx.TransportError):
                response = await registry.get("/v1/log", params={"after": after, "limit": 1000})
                if response.status_code == 200:
                    self._see(response.json()["events"])
            await asyncio.sleep(PAUSE_S)

    def _see(self, entries: list[Row]) -> None:
        for entry in entries:
            self.log.append(entry)
            assert entry["position"] == self.log_from + len(self.log), f"a gap before {entry}"

    async def follow_feed(self, notifier: httpx.AsyncClient) -> None:
        """Listen, and go on after the last sequence seen whenever the stream breaks off."""
        while True:
            last = {"Last-Event-ID": str(self.feed_from + len(self.feed))}
            with contextlib.suppress(httpx.TransportError):
                async with notifier.stream("GET", f"{ELECTION}/stream", headers=last) as response:
                    if response.status_code == 200:
                        await self._listen(response)
            self.resumed += 1
            await asyncio.sleep(PAUSE_S)

    async def _listen(self, response: httpx.Response) -> None:
        async with contextlib.aclosing(server_sent(response)) as events:
            async for identity, data in events:
                self.feed.append(data)
                assert identity == data["sequence"] == self.feed_from + len(self.feed), data

    async def agree(self, system: System) -> None:
        """Wait until both have seen all there is; it is what the doors answer now."""
        assert self.log == system.ledger.log[self.log_from :][: len(self.log)]
        changes = await read_changes(system.notifier, self.feed_from)
        async with asyncio.timeout(TOLD_WITHIN_S):
            while len(self.feed) < len(changes):
                await asyncio.sleep(PAUSE_S)
        assert self.feed == changes, "the stream told something else than the pages"


@contextlib.asynccontextmanager
async def watching(system: System) -> AsyncIterator[Watch]:
    """Watch as long as the block runs; a fault seen on the way is raised at its end."""
    log_from = (await get(system.registry, "/v1/log", limit=1))["last"]
    feed_from = (await get(system.notifier, f"{ELECTION}/changes", limit=1))["last"]
    watch = Watch(log_from, feed_from)
    followers = [
        asyncio.create_task(watch.follow_log(system.registry)),
        asyncio.create_task(watch.follow_feed(system.notifier)),
    ]
    try:
        yield watch
    finally:
        for follower in followers:
            follower.cancel()
        ends = await asyncio.gather(*followers, return_exceptions=True)
    for end in ends:
        if not isinstance(end, asyncio.CancelledError):
            raise AssertionError("a watcher saw a fault") from end
