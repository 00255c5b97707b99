"""The worker that delivers to all subscriptions: one in the whole office at a time.

It holds an advisory lock by a connection of its own. Should that connection die unnoticed while
another process takes over, this one's couriers can write nothing any more (see `deliveries`): a
change may then arrive twice, and none is passed over.
"""

import asyncio
import contextlib
import logging
import random
import ssl
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Any, Final

import asyncpg
from cryptography.exceptions import InvalidTag

from services.notifier import metrics
from services.notifier.addresses import Addresses, Network, Resolve, read_url
from services.notifier.courier import (
    Clock,
    Courier,
    DeliveredFeed,
    DisablingError,
    Keys,
    LostError,
)
from services.notifier.deliveries import Deliveries, TakenOver
from services.notifier.numbering import delays_s
from services.notifier.posting import ANSWER_TIMEOUT_S, Poster
from services.notifier.signing import SecretBox
from services.notifier.subscriptions import Why
from shared.database import Woken, connect, wait_for

logger = logging.getLogger(__name__)

# An arbitrary number of our own for pg_try_advisory_lock.
DELIVERING_LOCK: Final = 0x6361_6361_6831
LOCK_POLL_S: Final = 1.0
POLL_S: Final = 1.0
TRIM_EVERY_S: Final = 600.0
ALIVE_TIMEOUT_S: Final = 5.0


class Receivers:
    """How receivers are reached: which addresses they may have, and whom TLS trusts."""

    def __init__(
        self,
        allowed: Iterable[Network],
        resolve: Resolve,
        timeout_s: float = ANSWER_TIMEOUT_S,
    ) -> None:
        self.addresses = Addresses(allowed, resolve)
        self._tls = ssl.create_default_context()
        self._timeout_s = timeout_s

    def poster(self, url: str) -> Poster:
        """What posts to one receiver. Raises UnusableUrlError."""
        return Poster(read_url(url), self.addresses, self._tls, self._timeout_s)


@dataclass(slots=True)
class _Running:
    """A subscription's task; its version and courier once it has been taken over."""

    task: asyncio.Task[None] | None = None
    version: int | None = None
    courier: Courier | None = None


class Delivering:
    """Keeps a courier for each active subscription."""

    def __init__(
        self,
        deliveries: Deliveries,
        feed: DeliveredFeed,
        box: SecretBox,
        receivers: Receivers,
        database_url: str,
        clock: Clock,
        chance: random.Random,
    ) -> None:
        self._deliveries = deliveries
        self._feed = feed
        self._box = box
        self._receivers = receivers
        self._database_url = database_url
        self._clock = clock
        self._chance = chance
        self._running: dict[str, _Running] = {}
        self._woken: Woken | None = None
        self._look_at_s = 0.0
        self._trim_at_s = 0.0

    def wake(self) -> None:
        """There are new changes."""
        for running in self._running.values():
            if running.courier is not None:
                running.courier.wake()

    def changed(self) -> None:
        """A subscription was made or changed: look now."""
        self._look_at_s = 0.0
        if self._woken is not None:
            self._woken.set()

    async def run(self) -> None:
        """Deliver, whenever it is this process's turn, until cancelled."""
        waits_s = delays_s()
        while True:
            try:
                async with self._turn() as (connection, self._woken):
                    waits_s = delays_s()
                    try:
                        await self._supervise(connection, self._woken)
                    finally:
                        await self._stop(list(self._running))
            except Exception as error:
                logger.warning("webhooks cannot be delivered now", extra={"error": repr(error)})
                await asyncio.sleep(next(waits_s))

    @contextlib.asynccontextmanager
    async def _turn(self) -> AsyncIterator[tuple["asyncpg.Connection[Any]", Woken]]:
        woken = Woken()
        connection = await connect(self._database_url)
        try:
            connection.add_termination_listener(lambda *_: woken.lose())
            while not await connection.fetchval("SELECT pg_try_advisory_lock($1)", DELIVERING_LOCK):
                await asyncio.sleep(LOCK_POLL_S)
            yield connection, woken
        finally:
            with contextlib.suppress(Exception):
                await connection.close(timeout=2)

    async def _supervise(self, connection: "asyncpg.Connection[Any]", woken: Woken) -> None:
        self._look_at_s = self._trim_at_s = 0.0
        now_s = asyncio.get_running_loop().time
        while not woken.lost:
            if now_s() >= self._look_at_s:
                self._look_at_s = now_s() + POLL_S
                await connection.execute("SELECT 1", timeout=ALIVE_TIMEOUT_S)
                await self._look()
            if now_s() >= self._trim_at_s:
                self._trim_at_s = now_s() + TRIM_EVERY_S
                await self._deliveries.trim(self._clock.now())
            self.wake()
            await wait_for(woken, POLL_S)

    async def _look(self) -> None:
        for disabled in await self._deliveries.disable_revoked(self._clock.now()):
            _tell(disabled, Why.REVOKED)
        active = await self._deliveries.active()
        ended = [
            subscription_id
            for subscription_id, running in self._running.items()
            if _is_over(running, active.get(subscription_id))
        ]
        await self._stop(ended)
        for subscription_id in active.keys() - self._running.keys():
            running = self._running[subscription_id] = _Running()
            running.task = asyncio.create_task(self._serve(subscription_id, running))
        metrics.WEBHOOKS_ACTIVE.set(len(self._running))

    async def _stop(self, subscription_ids: list[str]) -> None:
        stopped = [self._running.pop(subscription_id) for subscription_id in subscription_ids]
        tasks = [running.task for running in stopped if running.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, subscription_id: str, running: _Running) -> None:
        """Deliver one subscription; what goes wrong is logged and, after a while, tried again."""
        try:
            taken = await self._deliveries.take_over(subscription_id)
            if taken is None:
                return
            running.version = taken.version
            if (why := await self._deliver(taken, running)) is not None:
                await self._disable(taken, why)
        except LostError:
            logger.info("a subscription was changed", extra={"subscription": subscription_id})
        except Exception:
            logger.warning(
                "a subscription cannot be delivered now",
                exc_info=True,
                extra={"subscription": subscription_id},
            )

    async def _deliver(self, taken: TakenOver, running: _Running) -> Why | None:
        """Deliver until cancelled; else why the subscription is to be disabled."""
        try:
            keys = self._keys(taken)
        except InvalidTag:
            return Why.SECRET
        poster = self._receivers.poster(taken.url)
        running.courier = Courier(
            self._deliveries, self._feed, taken, keys, poster, self._clock, self._chance.random
        )
        try:
            await running.courier.run()
        except DisablingError as disabling:
            return disabling.why
        finally:
            running.courier = None
            await poster.close()
        return None

    def _keys(self, taken: TakenOver) -> Keys:
        identity = taken.subscription_id
        previous = self._box.open_previous(taken.previous_secret, identity)
        return Keys(self._box.open(taken.secret, identity), previous, taken.previous_until)

    async def _disable(self, taken: TakenOver, why: Why) -> None:
        identity = taken.subscription_id
        if await self._deliveries.disable(identity, taken.version, why, self._clock.now()):
            _tell(identity, why)


def _is_over(running: _Running, version: int | None) -> bool:
    """Whether the task has ended, or the subscription is not what was taken over."""
    if version is None or running.task is None or running.task.done():
        return True
    return running.version is not None and version > running.version


def _tell(subscription_id: str, why: Why) -> None:
    metrics.WEBHOOKS_DISABLED.labels(why.value).inc()
    logger.warning(
        "a subscription was disabled; GET /v1/subscriptions/{id} says why, its resume goes on",
        extra={"subscription": subscription_id, "why": why.value},
    )
