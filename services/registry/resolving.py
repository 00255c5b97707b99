"""From NIK to `resident_id`, for KPU's own list: each NIK asked for leaves a row in the audit.

Only the registry can tell which resident a NIK belongs to, so a list by NIK is compared at the
notifier after it passed here, and without a NIK.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from services.registry.vault import Vault
from shared.access import Principal

# A NIK whose registration was retracted may have been registered anew: the last one counts. Whose
# key was erased is nobody any more.
_RESIDENTS = text(
    "SELECT DISTINCT ON (r.subject) r.subject, r.resident_id"
    " FROM registry.residents r JOIN registry.log l ON l.resident_id = r.resident_id"
    " JOIN registry.vault_keys k ON k.subject = r.subject AND k.wrapped_key IS NOT NULL"
    " WHERE r.subject = ANY(CAST(:subjects AS bytea[]))"
    " AND l.type = 'id.dukcapil.resident.registered'"
    " ORDER BY r.subject, l.position DESC"
)

_NOTE = text(
    "INSERT INTO registry.lookups (token_id, role, name, purpose, resident_ids, asked_for)"
    " SELECT :token_id, :role, :name, :purpose,"
    " CASE WHEN resident IS NULL THEN '{}' ELSE ARRAY[resident] END, 'resident_id'"
    " FROM unnest(CAST(:residents AS uuid[])) AS asked (resident)"
)


@dataclass(frozen=True, slots=True)
class Resolving:
    """Finds residents by NIK, leaving a trace each time."""

    engine: AsyncEngine
    vault: Vault

    async def resolve(
        self, principal: Principal, purpose: str, niks: Sequence[str]
    ) -> list[UUID | None]:
        """The resident of each NIK, None where nobody has it; in the order asked.

        The audit is committed before anything is answered.
        """
        subjects = [self.vault.subject_of(nik) for nik in niks]
        async with self.engine.begin() as connection:
            known = await _residents(connection, subjects)
            found = [known.get(subject) for subject in subjects]
            await connection.execute(
                _NOTE,
                {
                    "token_id": principal.token_id,
                    "role": principal.role.value,
                    "name": principal.name,
                    "purpose": purpose,
                    "residents": found,
                },
            )
        return found


async def _residents(connection: AsyncConnection, subjects: Sequence[bytes]) -> dict[bytes, UUID]:
    rows = await connection.execute(_RESIDENTS, {"subjects": list(subjects)})
    return {row.subject: UUID(str(row.resident_id)) for row in rows}
