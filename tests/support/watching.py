"""Watches a system while it works: the log and KPU's streams as they grow, read only forwards."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import httpx

from tests.support.differences import agree, require
from tests.support.listening import Listener
from tests.support.reading import ELECTION_ID, Row, get
from tests.support.system import System

PAUSE_S: Final = 0.05


@dataclass
class Watch:
    """What a reader of the log and clients of the streams have seen since they began."""

    log_from: int
    listeners: Sequence[Listener]
    log: list[Row] = field(default_factory=list)

    @property
    def resumed(self) -> int:
        """How often a stream broke off and was resumed."""
        return sum(listener.resumed for listener in self.listeners)

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
            here = self.log_from + len(self.log)
            require(entry["position"] == here, f"the log has no {here}, but {entry}")

    async def agree(self, system: System) -> None:
        """Wait until all have seen all there is; it is what the doors answer now."""
        seen = system.ledger.log[self.log_from :][: len(self.log)]
        agree(seen, self.log, "the log as it was seen growing")
        for listener in self.listeners:
            await listener.agree(system.notifier)


@contextlib.asynccontextmanager
async def watching(system: System, others: Sequence[Listener] = ()) -> AsyncIterator[Watch]:
    """Watch as long as the block runs; a fault seen on the way is raised at its end.

    The villages' feed of the election there is from the start is listened to in any case.
    """
    log_from = (await get(system.registry, "/v1/log", limit=1))["last"]
    first = Listener(ELECTION_ID)
    first.after = (await get(system.notifier, f"{first.path}/changes", limit=1))["last"]
    watch = Watch(log_from, [first, *others])
    followers = [
        asyncio.create_task(watch.follow_log(system.registry)),
        *(asyncio.create_task(each.follow(system.notifier)) for each in watch.listeners),
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
