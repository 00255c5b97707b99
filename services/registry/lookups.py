"""KPU's look-ups of voters: who a resident is, told once the audit has it.

The audit, `registry.lookups`, is appended to alone: PostgreSQL refuses everything else.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import orjson
from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from services.registry import log
from services.registry.domain.naming import Person, Told, person
from services.registry.vault import Vault
from shared.access import Principal
from shared.events.facts import EventRetracted

# What tells or untells a name.
_HISTORIES = text(
    f"SELECT {log.LOG_SELECTED}, r.subject, s.content, k.wrapped_key"  # noqa: S608 - constants
    " FROM registry.log l JOIN registry.residents r ON r.resident_id = l.resident_id"
    " JOIN registry.vault_keys k ON k.subject = r.subject AND k.wrapped_key IS NOT NULL"
    " JOIN registry.submissions s"
    " ON s.source = l.source AND s.event_id = l.event_id AND s.claims"
    " WHERE l.resident_id = ANY(CAST(:residents AS uuid[])) AND l.type IN"
    " ('id.dukcapil.resident.registered', 'id.dukcapil.biodata.corrected',"
    " 'id.dukcapil.event.retracted') ORDER BY l.position"
)
_NOTE = text(
    "INSERT INTO registry.lookups (token_id, role, name, purpose, resident_ids)"
    " VALUES (:token_id, :role, :name, :purpose, CAST(:residents AS uuid[]))"
)
_AUDIT = text(
    "SELECT lookup_id, at, token_id, role, name, purpose, resident_ids, asked_for"
    " FROM registry.lookups"
    " WHERE lookup_id > :after ORDER BY lookup_id LIMIT :limit"
)

AUDIT_PAGE: Final = 1_000


@dataclass(frozen=True, slots=True)
class LookUp:
    """One look-up as the audit has it; `token_id` is None for the operator of the settings.

    `asked_for` is `name` where residents were to be named, and `resident_id` where a NIK's resident
    was to be found; of one that nobody has, `resident_ids` is empty.
    """

    lookup_id: int
    at: datetime
    token_id: int | None
    role: str
    name: str
    purpose: str
    resident_ids: tuple[UUID, ...]
    asked_for: str


@dataclass(frozen=True, slots=True)
class LookUps:
    """Looks voters up, leaving a trace each time."""

    engine: AsyncEngine
    vault: Vault

    async def look_up(
        self, principal: Principal, purpose: str, residents: Sequence[UUID]
    ) -> dict[UUID, Person]:
        """Who these residents are; those whom nobody can name any more, or ever, are left out.

        The look-up is in the audit, committed, before anything is answered.
        """
        async with self.engine.begin() as connection:
            await connection.execute(
                _NOTE,
                {
                    "token_id": principal.token_id,
                    "role": principal.role.value,
                    "name": principal.name,
                    "purpose": purpose,
                    "residents": list(residents),
                },
            )
            return await self._persons(connection, residents)

    async def _persons(
        self, connection: AsyncConnection, residents: Sequence[UUID]
    ) -> dict[UUID, Person]:
        histories: dict[UUID, list[Told]] = {}
        for row in await connection.execute(_HISTORIES, {"residents": list(residents)}):
            told = self._told(row)
            histories.setdefault(UUID(str(row.resident_id)), []).append(told)
        found = {resident: person(history) for resident, history in histories.items()}
        return {resident: someone for resident, someone in found.items() if someone is not None}

    def _told(self, row: Row[Any]) -> Told:
        logged = log.logged(row)
        if isinstance(logged.fact, EventRetracted):
            return Told(logged)
        key = self.vault.unwrap(row.wrapped_key, row.subject)
        data = orjson.loads(self.vault.open(row.content, key))["data"]
        return Told(logged, data["nik"], data.get("name"))


async def read_audit(connection: AsyncConnection, after: int, limit: int) -> list[LookUp]:
    """The look-ups beyond a number, the oldest first."""
    rows = await connection.execute(_AUDIT, {"after": after, "limit": limit})
    return [
        LookUp(
            row.lookup_id,
            row.at,
            row.token_id,
            row.role,
            row.name,
            row.purpose,
            tuple(row.resident_ids),
            row.asked_for,
        )
        for row in rows
    ]
