"""Who may do what: tokens, kept only as hashes, and the principals that they stand for."""

import hashlib
import secrets
import time
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from fastapi import Request
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.problems import Problem, ProblemError, ProblemType
from shared.stations import SOURCE_PREFIX

# A revoked token is refused everywhere after at most this long.
CACHE_S: Final = 5.0
CACHE_ENTRIES: Final = 10_000


class Role(StrEnum):
    """What a token's holder is (contract section 7)."""

    STATION = "station"
    KPU = "kpu"
    OPERATOR = "operator"


@dataclass(frozen=True, slots=True)
class Principal:
    """The holder of a token; `name` is the station code for a station.

    `token_id` is None for the operator's token of the settings; `may_look_up` says whether voters'
    NIK and name may be asked for.
    """

    role: Role
    name: str
    token_id: int | None = None
    may_look_up: bool = False

    def may_send_for(self, source: str) -> bool:
        """A station sends for its own source alone, an operator for any."""
        if self.role is Role.OPERATOR:
            return True
        return self.role is Role.STATION and source == SOURCE_PREFIX + self.name


@dataclass(frozen=True, slots=True)
class IssuedToken:
    """A token as an operator sees it in a list: never the secret itself."""

    token_id: int
    role: Role
    name: str
    created_at: datetime
    revoked_at: datetime | None
    may_look_up: bool


def hash_of(token: str) -> bytes:
    """Tokens are 256 random bits, so one fast hash is enough to keep them by."""
    return hashlib.sha256(token.encode()).digest()


class Tokens:
    """The tokens in PostgreSQL, with a short memory of those seen lately."""

    def __init__(self, engine: AsyncEngine, operator_token: str | None) -> None:
        self._engine = engine
        self._operator = hash_of(operator_token) if operator_token else None
        self._seen: dict[bytes, tuple[float, Principal | None]] = {}

    async def principal(self, token: str) -> Principal | None:
        """Whose token this is, none if nobody's or revoked."""
        digest = hash_of(token)
        if self._operator and secrets.compare_digest(digest, self._operator):
            return Principal(Role.OPERATOR, "operator", may_look_up=True)
        remembered = self._seen.get(digest)
        now = time.monotonic()
        if remembered and now - remembered[0] < CACHE_S:
            return remembered[1]
        found = await self._look_up(digest)
        if len(self._seen) >= CACHE_ENTRIES:
            self._seen.clear()
        self._seen[digest] = (now, found)
        return found

    async def _look_up(self, digest: bytes) -> Principal | None:
        async with self._engine.connect() as connection:
            row = (
                await connection.execute(
                    text(
                        "SELECT role, name, token_id, may_look_up FROM access.tokens"
                        " WHERE hash = :hash AND revoked_at IS NULL"
                    ),
                    {"hash": digest},
                )
            ).first()
        if row is None:
            return None
        role = Role(row.role)
        may_look_up = row.may_look_up or role is Role.OPERATOR
        return Principal(role, row.name, row.token_id, may_look_up)

    async def create(self, role: Role, name: str, may_look_up: bool = False) -> str:
        """Issue a token and return it: the only time that it can be seen.

        `may_look_up` is for KPU's alone: operators may anyway, stations never.
        """
        token = f"cacah_{role}_{secrets.token_urlsafe(32)}"
        async with self._engine.begin() as connection:
            await connection.execute(
                text(
                    "INSERT INTO access.tokens (hash, role, name, may_look_up)"
                    " VALUES (:hash, :role, :name, :may_look_up)"
                ),
                {
                    "hash": hash_of(token),
                    "role": role.value,
                    "name": name,
                    "may_look_up": may_look_up,
                },
            )
        return token

    async def issued(self) -> list[IssuedToken]:
        """All tokens ever issued, the oldest first."""
        async with self._engine.connect() as connection:
            rows = await connection.execute(
                text(
                    "SELECT token_id, role, name, created_at, revoked_at, may_look_up"
                    " FROM access.tokens ORDER BY token_id"
                )
            )
            return [
                IssuedToken(
                    row.token_id,
                    Role(row.role),
                    row.name,
                    row.created_at,
                    row.revoked_at,
                    row.may_look_up,
                )
                for row in rows
            ]

    async def revoke(self, token_id: int) -> bool:
        """Revoke a token; false if there is no such token in force."""
        async with self._engine.begin() as connection:
            result = await connection.execute(
                text(
                    "UPDATE access.tokens SET revoked_at = now()"
                    " WHERE token_id = :token_id AND revoked_at IS NULL"
                ),
                {"token_id": token_id},
            )
        return result.rowcount == 1


async def authenticate(request: Request) -> Principal:
    """The principal of a request's `Authorization: Bearer …`. Raises ProblemError."""
    tokens: Tokens = request.app.state.tokens
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    found = await tokens.principal(token.strip()) if scheme.lower() == "bearer" else None
    if found is None:
        raise ProblemError(
            Problem(
                ProblemType.UNAUTHORIZED,
                "Send the header Authorization: Bearer with a token that an operator gave you.",
            ),
            {"WWW-Authenticate": "Bearer"},
        )
    return found


async def require(request: Request, *roles: Role) -> Principal:
    """The principal, if it has one of these roles or is an operator. Raises ProblemError."""
    principal = await authenticate(request)
    if principal.role is not Role.OPERATOR and principal.role not in roles:
        raise ProblemError(
            Problem(
                ProblemType.FORBIDDEN,
                f"A {principal.role} token may not do this; ask an operator for another token.",
            )
        )
    return principal


async def still_stands(request: Request, *roles: Role) -> bool:
    """Whether a request that was let in would be let in again: its token may be revoked since."""
    try:
        await require(request, *roles)
    except ProblemError:
        return False
    return True
