"""How far KPU says that it has taken the feeds over: kept for each of its tokens, forward only."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from services.notifier import metrics

logger = logging.getLogger(__name__)

LOOK_S: Final = 5.0

# The operator's token of the settings has no row, and so no number, among the tokens.
SETTINGS_TOKEN: Final = 0

# Nothing is written, and no row comes back, where more was acknowledged before.
_ACKNOWLEDGE = text(
    "INSERT INTO notifier.acknowledged AS held (election, feed, token_id, sequence,"
    " acknowledged_at) VALUES (:election, :feed, :token_id, :sequence, :now)"
    " ON CONFLICT (election, feed, token_id) DO UPDATE"
    " SET sequence = excluded.sequence, acknowledged_at = excluded.acknowledged_at"
    " WHERE held.sequence <= excluded.sequence RETURNING 1"
)

# Those of tokens that were revoked are of nobody.
_HELD: Final = """
    SELECT election, feed, token_id, coalesce(tokens.name, 'operator') AS name,
        held.sequence, acknowledged_at,
        coalesce(CASE feed WHEN 'villages' THEN heads.sequence ELSE voter_heads.sequence END, 0)
            AS last
    FROM notifier.acknowledged AS held
        LEFT JOIN notifier.heads USING (election)
        LEFT JOIN notifier.voter_heads USING (election)
        LEFT JOIN access.tokens USING (token_id)
    WHERE tokens.revoked_at IS NULL {which}
    ORDER BY election, feed, token_id
"""
_ALL = text(_HELD.format(which=""))
_OF_TOKEN = text(_HELD.format(which="AND token_id = :token_id"))


class FeedName(StrEnum):
    """Which of an election's two feeds."""

    VILLAGES = "villages"
    VOTERS = "voters"


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """What the holder of a token has taken over of a feed, and how far that feed goes now."""

    election: str
    feed: FeedName
    token_id: int
    name: str
    sequence: int
    acknowledged_at: datetime
    last: int

    @property
    def behind(self) -> int:
        """How many changes it has not taken over yet."""
        return self.last - self.sequence


class Acknowledgements:
    """The acknowledgements of every token."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def acknowledge(
        self, election: str, feed: FeedName, token_id: int, sequence: int, now: datetime
    ) -> bool:
        """Keep it; false, and nothing is changed, where more was acknowledged before."""
        stated = {
            "election": election,
            "feed": feed.value,
            "token_id": token_id,
            "sequence": sequence,
            "now": now,
        }
        async with self._connected() as connection:
            return (await connection.execute(_ACKNOWLEDGE, stated)).first() is not None

    async def all(self) -> list[Acknowledged]:
        """Those of all tokens in force."""
        async with self._connected() as connection:
            return [_read(row) for row in await connection.execute(_ALL)]

    async def of(self, token_id: int) -> list[Acknowledged]:
        """Those of one token."""
        async with self._connected() as connection:
            rows = await connection.execute(_OF_TOKEN, {"token_id": token_id})
            return [_read(row) for row in rows]

    async def measure(self) -> None:
        """Keep the metric of how far each is behind, until cancelled."""
        while True:
            try:
                _measure(await self.all())
            except Exception as error:
                logger.warning(
                    "what KPU acknowledged cannot be read now", extra={"error": repr(error)}
                )
            await asyncio.sleep(LOOK_S)

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[AsyncConnection]:
        async with self._engine.connect() as connection:
            yield await connection.execution_options(isolation_level="AUTOCOMMIT")


def _read(row: Any) -> Acknowledged:
    election, feed, *rest = row
    return Acknowledged(election, FeedName(feed), *rest)


def _measure(held: list[Acknowledged]) -> None:
    # Without those that were measured before and are no more.
    metrics.UNACKNOWLEDGED.clear()
    for each in held:
        # By its number alone: /metrics is read without a token, and a name says who somebody is.
        labels = (each.election, each.feed.value, str(each.token_id))
        metrics.UNACKNOWLEDGED.labels(*labels).set(each.behind)
