"""Takes a feed over into a target until it is stopped, whatever fails on the way."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import httpx

from cli.following.changes import Change, Feed, snapshot_row
from cli.following.door import Door, NotifierAwayError, ask, election_path
from cli.following.scene import Scene
from cli.following.standing import Standing
from cli.following.subscribing import FIRST_DELAY_S, Subscription, delay_after
from cli.following.target import Target, TargetAwayError
from cli.projections import CannotAskError

SHOW_EVERY_S: Final = 0.25


@dataclass(frozen=True, slots=True)
class Order:
    """What is followed; `snapshot` begins a new target with it and not with the first change."""

    election: str
    feed: Feed
    snapshot: bool


class Follower:
    """Moves changes from the notifier to a target.

    `show` draws the scene or does nothing, `say` tells in a line what happens to the connections.
    """

    def __init__(
        self,
        door: Door,
        order: Order,
        target: Target,
        show: Callable[[Scene], None],
        say: Callable[[str], None],
    ) -> None:
        self._door = door
        self._order = order
        self._target = target
        self._show = show
        self._say = say
        self._opened = False
        self.scene = Scene(Standing(order.election, order.feed), target.shown)

    async def run(self) -> None:
        """Follow until cancelled. Raises CannotAskError, FeedFault and TargetError, and
        TargetAwayError where the target does not answer at the very beginning."""
        async with self._door.client() as client:
            tasks = [
                asyncio.create_task(self._follow(client)),
                asyncio.create_task(self._show_on()),
            ]
            try:
                ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in ended:
                    task.result()
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _follow(self, client: httpx.AsyncClient) -> None:
        failures = 0
        while True:
            taken = self.scene.taken
            try:
                await self._once(client)
            except TargetAwayError as error:
                if not self._opened:
                    raise
                failures = 1 if self.scene.taken > taken else failures + 1
                self._tell(f"{error}; going on as soon as it is back", True)
            finally:
                await self._target.close()
            await asyncio.sleep(delay_after(failures, FIRST_DELAY_S, 1.0))

    async def _once(self, client: httpx.AsyncClient) -> None:
        """Open the target, which says where to go on, and follow until something fails."""
        standing = await self._target.open()
        if standing is None:
            standing = await self._begin(client)
        self._opened = True
        self.scene.standing = standing
        after = (
            f"after change {standing.sequence}" if standing.sequence else "from the first change"
        )
        self._say(f"following the {standing.feed} of {standing.election} {after}")
        await Subscription(client, standing, self._tell).follow(self._take)

    async def _begin(self, client: httpx.AsyncClient) -> Standing:
        standing, rows = Standing(self._order.election, self._order.feed), list[Change]()
        if self._order.snapshot:
            rows = await self._snapshot(client)
            standing.sequence = rows[0].sequence if rows else 0
            for row in rows:
                standing.put(row.key, row.after)
        await self._target.begin(standing, rows)
        return standing

    async def _snapshot(self, client: httpx.AsyncClient) -> list[Change]:
        election = self._order.election
        while True:
            try:
                taken = await ask(client, f"{election_path(election)}/snapshot")
                break
            except NotifierAwayError as error:
                self._tell(str(error), True)
                await asyncio.sleep(max(error.wait_s, FIRST_DELAY_S))
        try:
            place = taken["sequence"], taken["position"]
            return [snapshot_row(election, *place, row) for row in taken["villages"]]
        except (KeyError, TypeError):
            raise CannotAskError(
                f"{client.base_url} sends no snapshot that is known here"
            ) from None

    async def _take(self, changes: Sequence[Change]) -> None:
        await self._target.append(changes)
        self.scene.take(changes)

    def _tell(self, what: str, hinders: bool) -> None:
        self.scene.notice = what if hinders else ""
        self._say(what)

    async def _show_on(self) -> None:
        while True:
            self._show(self.scene)
            await asyncio.sleep(SHOW_EVERY_S)


class PlainLines:
    """A line at times about what was taken over, for an output that is no terminal."""

    EVERY_S: Final = 5.0

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._told = 0
        self._next_s = 0.0

    def show(self, scene: Scene) -> None:
        """Say how far it is, if something came and the last line is some seconds old."""
        if scene.taken == self._told or time.monotonic() < self._next_s:
            return
        self._told = scene.taken
        self._next_s = time.monotonic() + self.EVERY_S
        self._say(f"up to change {scene.standing.sequence}: {scene.taken} taken over in this run")
