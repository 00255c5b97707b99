"""Subscriptions in PostgreSQL, as their owners and operators see and change them.

Each change raises the subscription's `version`: a worker that took it over before can write
nothing more and takes it over anew.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final
from uuid import uuid4

import orjson
from sqlalchemy import ARRAY, BigInteger, Text, bindparam, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from services.notifier.signing import Scheme, SecretBox, SigningKey

MOST_FAILING_SHOWN: Final = 1_000


class State(StrEnum):
    """Whether a subscription is delivered to."""

    ACTIVE = "active"
    PAUSED = "paused"
    DISABLED = "disabled"


class Why(StrEnum):
    """Why a subscription was disabled."""

    GONE = "gone"
    FAILING = "failing-for-three-days"
    REVOKED = "token-revoked"
    SECRET = "secret-unreadable"  # noqa: S105, a reason and no secret


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose subscriptions are meant: everybody's, or those that a token made."""

    token_id: int | None
    everybody: bool


@dataclass(frozen=True, slots=True)
class Place:
    """How far an election is delivered, and the end of its feed."""

    election: str
    sequence: int
    last: int
    failing_villages: int


@dataclass(frozen=True, slots=True)
class Subscription:
    """A subscription without its secrets."""

    subscription_id: str
    url: str
    signing: Scheme
    public_key: str | None
    previous_until: datetime | None
    state: State
    why: Why | None
    since: datetime
    created_at: datetime
    places: tuple[Place, ...]


@dataclass(frozen=True, slots=True)
class FailingVillage:
    """A village that waits for its next attempt: its changes from `sequence` on are held."""

    election: str
    village: str
    sequence: int
    attempts: int
    since: datetime
    next_attempt_at: datetime


_SELECT: Final = """
    SELECT CAST(s.subscription_id AS text) AS subscription_id, url, signing, public_key,
        previous_until, state, why, since, created_at,
        (SELECT json_agg(json_build_array(c.election, c.sequence, h.sequence,
            (SELECT count(*) FROM notifier.failing f
                WHERE f.subscription_id = s.subscription_id AND f.election = c.election))
            ORDER BY c.election)
        FROM notifier.cursors c JOIN notifier.heads h USING (election)
        WHERE c.subscription_id = s.subscription_id)::text AS places
    FROM notifier.subscriptions s
"""
_OWNED: Final = "(CAST(:everybody AS boolean) OR token_id = CAST(:token_id AS bigint))"

_LIST = text(f"{_SELECT} WHERE {_OWNED} ORDER BY created_at, s.subscription_id")
_FIND = text(f"{_SELECT} WHERE subscription_id = CAST(:id AS uuid) AND {_OWNED}")

# Of one owner, so that nobody takes the worker for himself.
_COUNT = text(
    "SELECT count(*) FROM notifier.subscriptions"
    " WHERE token_id IS NOT DISTINCT FROM CAST(:token_id AS bigint)"
)

_ADD = text(
    "INSERT INTO notifier.subscriptions (subscription_id, token_id, url, signing, public_key,"
    " secret, state, since, created_at) VALUES (CAST(:id AS uuid), :token_id, :url, :signing,"
    " :public_key, :secret, 'active', :now, :now)"
)
_ADD_CURSORS = text(
    "INSERT INTO notifier.cursors (subscription_id, election, sequence)"
    " SELECT CAST(:id AS uuid), * FROM unnest(:elections, :sequences)"
).bindparams(
    bindparam("elections", type_=ARRAY(Text)), bindparam("sequences", type_=ARRAY(BigInteger))
)

_PAUSE = text(
    "UPDATE notifier.subscriptions SET state = 'paused', why = NULL, since = :now,"
    " version = version + 1 WHERE subscription_id = CAST(:id AS uuid) AND state = 'active'"
)
_RESUME = text(
    "UPDATE notifier.subscriptions SET version = version + 1, why = NULL,"
    " since = CASE WHEN state = 'active' THEN since ELSE :now END, state = 'active'"
    " WHERE subscription_id = CAST(:id AS uuid)"
)
_BEGIN_AGAIN = text(
    "UPDATE notifier.failing SET attempts = 0, since = :now, next_attempt_at = :now,"
    " hastened = false WHERE subscription_id = CAST(:id AS uuid)"
)
_DELETE = text("DELETE FROM notifier.subscriptions WHERE subscription_id = CAST(:id AS uuid)")
_ROTATE = text(
    "UPDATE notifier.subscriptions SET previous_secret = secret, previous_until = :until,"
    " secret = :secret, signing = :signing, public_key = :public_key, version = version + 1"
    " WHERE subscription_id = CAST(:id AS uuid)"
)

_TOUCH = text(
    "UPDATE notifier.subscriptions SET version = version + 1"
    " WHERE subscription_id = CAST(:id AS uuid)"
)
_MOVE_BACK = text(
    "UPDATE notifier.cursors SET sequence = LEAST(sequence, :after)"
    " WHERE subscription_id = CAST(:id AS uuid) AND election = :election"
)
# What these hold back lies behind the cursor again; of the others something before it does not.
_FORGET_FAILING = text(
    "DELETE FROM notifier.failing WHERE subscription_id = CAST(:id AS uuid)"
    " AND election = :election AND sequence > :after"
)

_FAILING = text(
    "SELECT election, village, sequence, attempts, since, next_attempt_at FROM notifier.failing"
    " WHERE subscription_id = CAST(:id AS uuid) ORDER BY election, village LIMIT :limit"
)
_KEYS = text(
    "SELECT secret, previous_secret, previous_until FROM notifier.subscriptions"
    " WHERE subscription_id = CAST(:id AS uuid)"
)


class Subscriptions:
    """Every subscription of every owner."""

    def __init__(self, engine: AsyncEngine, box: SecretBox) -> None:
        self._engine = engine
        self._box = box

    async def count(self, token_id: int | None) -> int:
        """How many a token has."""
        async with self._reading() as connection:
            found: int = await connection.scalar(_COUNT, {"token_id": token_id})
        return found

    async def add(
        self,
        token_id: int | None,
        url: str,
        key: SigningKey,
        cursors: Mapping[str, int],
        now: datetime,
    ) -> str:
        """Keep a new subscription; `cursors` is the sequence to begin after in each election."""
        subscription_id = str(uuid4())
        async with self._engine.begin() as connection:
            arguments = {"id": subscription_id, "token_id": token_id, "url": url, "now": now}
            await connection.execute(_ADD, arguments | self._sealed(key, subscription_id))
            await connection.execute(
                _ADD_CURSORS,
                {
                    "id": subscription_id,
                    "elections": list(cursors),
                    "sequences": list(cursors.values()),
                },
            )
        return subscription_id

    async def all(self, owner: Owner) -> list[Subscription]:
        """The owner's subscriptions, the oldest first."""
        async with self._reading() as connection:
            rows = await connection.execute(_LIST, _owned(owner))
        return [_subscription(row) for row in rows]

    async def find(self, subscription_id: str, owner: Owner) -> Subscription | None:
        """One subscription, none where it is not the owner's."""
        async with self._reading() as connection:
            row = (
                await connection.execute(_FIND, {"id": subscription_id, **_owned(owner)})
            ).first()
        return _subscription(row) if row else None

    async def failing(self, subscription_id: str) -> list[FailingVillage]:
        """The villages that wait for their next attempt, at most 1,000."""
        arguments = {"id": subscription_id, "limit": MOST_FAILING_SHOWN}
        async with self._reading() as connection:
            return [FailingVillage(*row) for row in await connection.execute(_FAILING, arguments)]

    async def keys(self, subscription_id: str, now: datetime) -> list[SigningKey]:
        """The keys that sign at this moment; the one before only if it can be read. Raises
        InvalidTag."""
        async with self._reading() as connection:
            row = (await connection.execute(_KEYS, {"id": subscription_id})).one()
        keys = [self._box.open(row.secret, subscription_id)]
        previous = self._box.open_previous(row.previous_secret, subscription_id)
        if previous is not None and now < row.previous_until:
            keys.append(previous)
        return keys

    async def pause(self, subscription_id: str, now: datetime) -> None:
        """Deliver nothing more until it is resumed."""
        async with self._engine.begin() as connection:
            await connection.execute(_PAUSE, {"id": subscription_id, "now": now})

    async def resume(self, subscription_id: str, now: datetime) -> None:
        """Deliver (again): what failed is due at once, and its three days begin anew."""
        async with self._engine.begin() as connection:
            arguments = {"id": subscription_id, "now": now}
            await connection.execute(_RESUME, arguments)
            await connection.execute(_BEGIN_AGAIN, arguments)

    async def retry_failed(self, subscription_id: str, now: datetime) -> None:
        """What failed is due at once, whatever the state."""
        async with self._engine.begin() as connection:
            await connection.execute(_TOUCH, {"id": subscription_id})
            await connection.execute(_BEGIN_AGAIN, {"id": subscription_id, "now": now})

    async def delete(self, subscription_id: str) -> None:
        """Forget the subscription and its deliveries."""
        async with self._engine.begin() as connection:
            await connection.execute(_DELETE, {"id": subscription_id})

    async def rotate(self, subscription_id: str, key: SigningKey, until: datetime) -> None:
        """Sign with another key, and until a moment with the one before too."""
        arguments = {"id": subscription_id, "until": until}
        async with self._engine.begin() as connection:
            await connection.execute(_ROTATE, arguments | self._sealed(key, subscription_id))

    async def resend(self, subscription_id: str, election: str, after: int) -> None:
        """Go back so that everything after a sequence is sent again; what before it was not
        delivered yet is sent too."""
        arguments = {"id": subscription_id, "election": election, "after": after}
        async with self._engine.begin() as connection:
            await connection.execute(_TOUCH, {"id": subscription_id})
            await connection.execute(_MOVE_BACK, arguments)
            await connection.execute(_FORGET_FAILING, arguments)

    def _sealed(self, key: SigningKey, subscription_id: str) -> dict[str, Any]:
        return {
            "signing": key.scheme.value,
            "public_key": key.public_key(),
            "secret": self._box.seal(key, subscription_id),
        }

    @asynccontextmanager
    async def _reading(self) -> AsyncIterator[AsyncConnection]:
        async with self._engine.connect() as connection:
            yield await connection.execution_options(isolation_level="AUTOCOMMIT")


def _owned(owner: Owner) -> dict[str, Any]:
    return {"everybody": owner.everybody, "token_id": owner.token_id}


def _subscription(row: Any) -> Subscription:
    return Subscription(
        row.subscription_id,
        row.url,
        Scheme(row.signing),
        row.public_key,
        row.previous_until,
        State(row.state),
        Why(row.why) if row.why else None,
        row.since,
        row.created_at,
        tuple(Place(*place) for place in orjson.loads(row.places)),
    )
