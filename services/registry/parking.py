"""Parked submissions as operators look at them, try them again, and give them up."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

import orjson
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from services.registry import log, parked_rows
from services.registry.domain.deciding import Outcome
from services.registry.ledger import Ledger
from services.registry.parked_rows import OnceParked

# What one append of a retry begins with; the head is free between two of them.
TRIED_AT_ONCE: Final = 500
MOVED_SHOWN: Final = 1_000

PERSONAL: Final = frozenset({"nik", "name"})


class WaitsFor(StrEnum):
    """What a parked event waits for."""

    REGISTRATION = "registration"
    RECORDING = "recording"


@dataclass(frozen=True, slots=True)
class Shown:
    """A submission that is or was parked, as an operator may see it.

    `event` is what was sent, empty once its person was erased; `waits_for` is None for what is
    parked no more, and for what nobody can open.
    """

    row: OnceParked
    event: Mapping[str, Any]
    waits_for: WaitsFor | None

    @property
    def data(self) -> dict[str, Any]:
        """What was sent less NIK and name."""
        told: dict[str, Any] = self.event.get("data", {})
        return {member: value for member, value in told.items() if member not in PERSONAL}


@dataclass(slots=True)
class Retried:
    """What trying again led to; `moved` are the first of those that moved."""

    tried: int = 0
    accepted: int = 0
    rejected: int = 0
    moved: list[Shown] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Parking:
    """`on_append` is called after a commit that added to the log."""

    engine: AsyncEngine
    ledger: Ledger
    on_append: Callable[[], None]

    async def waiting(self, after: int, limit: int) -> list[Shown]:
        """What is parked beyond a number of arrival, in the order of arrival."""
        async with self.engine.connect() as connection:
            return await self._shown(
                connection, await parked_rows.read_waiting(connection, after, limit)
            )

    async def find(self, arrival: int) -> Shown | None:
        """A submission that is or was parked."""
        async with self.engine.connect() as connection:
            found = await self._shown(
                connection, await parked_rows.read_once_parked(connection, [arrival])
            )
        return found[0] if found else None

    async def retry(self) -> Retried:
        """Try all that is parked again as if sent now, in the order of arrival, bite by bite."""
        retried, after = Retried(), 0
        while bite := await self._subjects(after):
            after = bite[-1][0]
            retried.tried += len(bite)
            await self._retry([subject for _, subject in bite], retried)
        return retried

    async def drop(self, arrival: int, by: str, reason: str) -> bool:
        """Give a parked submission up; false if it is not parked."""
        async with self.engine.begin() as connection:
            return await self.ledger.drop(connection, arrival, by, reason)

    async def _subjects(self, after: int) -> list[tuple[int, bytes]]:
        async with self.engine.connect() as connection:
            return await parked_rows.read_subjects(connection, after, TRIED_AT_ONCE)

    async def _retry(self, subjects: Sequence[bytes], retried: Retried) -> None:
        async with self.engine.begin() as connection:
            minutes = await self.ledger.try_again(connection, subjects)
            room = MOVED_SHOWN - len(retried.moved)
            arrivals = sorted(claim.arrival for claim in minutes.moved)[:room]
            rows = await parked_rows.read_once_parked(connection, arrivals)
            retried.moved += await self._shown(connection, rows)
        if minutes.entries:
            self.on_append()
        retried.accepted += len(minutes.entries)
        retried.rejected += len(minutes.moved) - len(minutes.entries)

    async def _shown(self, connection: AsyncConnection, rows: Sequence[OnceParked]) -> list[Shown]:
        residents = await log.read_residents(connection, [row.subject for row in rows])
        return [
            Shown(row, event := self._event(row), _waits_for(row, event, residents)) for row in rows
        ]

    def _event(self, row: OnceParked) -> Mapping[str, Any]:
        if row.wrapped_key is None:
            return {}
        vault = self.ledger.vault
        key = vault.unwrap(row.wrapped_key, row.subject)
        event: Mapping[str, Any] = orjson.loads(vault.open(row.content, key))
        return event


def _waits_for(
    row: OnceParked, event: Mapping[str, Any], residents: Mapping[bytes, object]
) -> WaitsFor | None:
    if row.outcome != Outcome.PARKED or not event:
        return None
    is_registered = residents.get(row.subject) is not None
    return WaitsFor.RECORDING if is_registered else WaitsFor.REGISTRATION
