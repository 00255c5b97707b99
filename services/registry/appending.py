"""One appender decides: what arrives within a few milliseconds is decided and committed together.

Several registry processes stay correct, because each transaction holds the head of the log.
Fault model: the database may go away at any point. A request whose commit was not seen is told
so and sends again; its events are then duplicates, or new, but never both.
"""

import asyncio
import logging
from collections import Counter as Counted
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import Final

import asyncpg
from prometheus_client import Counter, Histogram
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from services.registry.domain.deciding import Answer, Minutes, Received
from services.registry.domain.submissions import Arrival
from services.registry.ledger import Ledger
from shared import latency
from shared.latency import Leg

logger = logging.getLogger(__name__)

# From the first submission that waits, never from the last: a slow trickle must not wait for ever.
# Where some have come during the last transaction more are on their way, and the next one takes
# those of as long as that lasted: half as many transactions cost half as much.
GATHERING_WINDOW_S: Final = 0.002
LONGEST_WINDOW_S: Final = 0.01
MAX_GATHERED: Final = 2_000
MAX_WAITING: Final = 30_000

SUBMISSIONS = Counter("registry_submissions", "Submissions by outcome", ["outcome"])
TRANSACTION_SECONDS = Histogram(
    "registry_append_seconds",
    "One append transaction",
    buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5),
)
GATHERED = Histogram(
    "registry_append_submissions",
    "Submissions decided in one transaction",
    buckets=(1, 5, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000),
)

_DATABASE_AWAY: Final = (
    DBAPIError,
    asyncpg.InterfaceError,
    asyncpg.PostgresConnectionError,
    OSError,
    TimeoutError,
)


class TooMuchWaitingError(Exception):
    """More submissions wait to be decided than this process takes on."""


class NotCommittedError(Exception):
    """The database did not confirm; the same submissions may be sent again."""


@dataclass(slots=True)
class _Request:
    """What one HTTP request brought, in its order, and where its answers go."""

    received: list[Received]
    answers: asyncio.Future[list[Answer]]


@dataclass(slots=True)
class Appender:
    """Gathers submissions and appends them; `on_append` is called after each commit."""

    engine: AsyncEngine
    ledger: Ledger
    on_append: Callable[[], None]
    _requests: list[_Request] = field(default_factory=list)
    _waiting: int = 0
    _arrived: asyncio.Event = field(default_factory=asyncio.Event)

    async def submit(
        self, arrivals: Sequence[Arrival], sender: str, received_at: datetime
    ) -> list[Answer]:
        """Decide and commit; the answers in the order of the arrivals.

        `received_at` is when the request had come whole.
        Raises TooMuchWaitingError or NotCommittedError.
        """
        if self._waiting + len(arrivals) > MAX_WAITING:
            raise TooMuchWaitingError
        received = [
            Received(one, self.ledger.vault.fingerprint(one.content), sender, received_at)
            for one in arrivals
        ]
        request = _Request(received, asyncio.get_running_loop().create_future())
        self._requests.append(request)
        self._waiting += len(received)
        self._arrived.set()
        return await request.answers

    async def run(self) -> None:
        """Append until cancelled."""
        now_s = asyncio.get_running_loop().time
        window_s = GATHERING_WINDOW_S
        while True:
            await self._arrived.wait()
            if self._waiting < MAX_GATHERED:
                await asyncio.sleep(window_s)
            began_s = now_s()
            gathered = self._gather()
            if gathered:
                await self._append_or_refuse(gathered)
            took_s = now_s() - began_s if self._requests else 0.0
            window_s = min(max(took_s, GATHERING_WINDOW_S), LONGEST_WINDOW_S)

    def _gather(self) -> list[_Request]:
        gathered: list[_Request] = []
        size = 0
        while self._requests and (not gathered or size < MAX_GATHERED):
            request = self._requests.pop(0)
            size += len(request.received)
            gathered.append(request)
        self._waiting -= size
        if not self._requests:
            self._arrived.clear()
        return gathered

    async def _append_or_refuse(self, gathered: list[_Request]) -> None:
        """One request's trouble must not become another's: after a fault, each goes alone."""
        try:
            await self._append(gathered)
        except _DATABASE_AWAY as error:
            logger.warning("append failed", extra={"error": type(error).__name__})
            for request in gathered:
                _fail(request, NotCommittedError())
        except Exception:
            logger.exception("append failed", extra={"requests": len(gathered)})
            if len(gathered) == 1:
                _fail(gathered[0], NotCommittedError())
                return
            for request in gathered:
                await self._append_or_refuse([request])

    async def _append(self, gathered: list[_Request]) -> None:
        received = [one for request in gathered for one in request.received]
        with TRANSACTION_SECONDS.time():
            async with self.engine.begin() as connection:
                minutes = await self.ledger.take(connection, received)
        GATHERED.observe(len(received))
        self.on_append()
        _measure(minutes)
        for outcome, count in Counted(answer.outcome for answer in minutes.answers).items():
            SUBMISSIONS.labels(outcome).inc(count)
        answers = iter(minutes.answers)
        for request in gathered:
            mine = list(islice(answers, len(request.received)))
            if not request.answers.done():
                request.answers.set_result(mine)


def _measure(minutes: Minutes) -> None:
    for entry in minutes.entries:
        if entry.received_at is not None:
            latency.observe(Leg.COMMITTED, entry.received_at, entry.logged.recorded_at)


def _fail(request: _Request, error: Exception) -> None:
    if not request.answers.done():
        request.answers.set_exception(error)
