"""Numbered supplements in PostgreSQL: made once, read for ever.

A supplement is a range of the voters' feed. Its changes are not copied: the feed never changes, and
the hash proves that it has not.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import orjson
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from services.notifier.comparing import VOTERS_AT
from services.notifier.domain.supplements import Closing, Entry, Head, Total

PAGE_ENTRIES: Final = 10_000

# Whoever makes a supplement of an election holds this until the commit; numbering goes on.
_ALONE = text("SELECT pg_advisory_xact_lock(hashtextextended('supplement ' || :election, 0))")
_ROOM = text("SET LOCAL work_mem = '64MB'")

_END = text("SELECT sequence FROM notifier.voter_heads WHERE election = :election")

_SELECT: Final = (
    "SELECT election, number, made_at, from_sequence, to_sequence, villages_from, villages_to,"
    " encode(previous_hash, 'hex') AS previous_hash, encode(hash, 'hex') AS hash,"
    " totals::text AS totals FROM notifier.supplements WHERE election = :election"
)
_ALL = text(_SELECT + " ORDER BY number")
_ONE = text(_SELECT + " AND number = :number")
_LAST = text(_SELECT + " ORDER BY number DESC LIMIT 1")
_ENDING = text(_SELECT + " AND to_sequence = :sequence")
_REACHING = text(_SELECT + " AND to_sequence >= :sequence ORDER BY number LIMIT 1")

_INSERT = text(
    "INSERT INTO notifier.supplements (election, number, made_at, from_sequence, to_sequence,"
    " villages_from, villages_to, previous_hash, totals, hash) VALUES (:election, :number,"
    " :made_at, :from_sequence, :to_sequence, :villages_from, :villages_to,"
    " decode(:previous_hash, 'hex'), CAST(:totals AS json), :hash)"
)

_ENTRIES = text(
    "SELECT sequence, voter::text, kind, reason, from_village, to_village, position, time, stage"
    " FROM notifier.voter_changes WHERE election = :election AND sequence > :after"
    " AND sequence <= :last ORDER BY sequence LIMIT :limit"
)

_VOTERS_BY_VILLAGE = text(
    f"SELECT village, count(*) AS voters FROM ({VOTERS_AT}) AS told"  # noqa: S608 - constants
    " WHERE village IS NOT NULL GROUP BY village"
)

# How far the villages' feed had come before it told of anything beyond the last event of these
# voters: the same rule as a snapshot as of a position, so it only rises from one to the next.
_VILLAGES_END = text(
    """
    SELECT coalesce(
        (SELECT min(sequence) - 1 FROM notifier.changes
            WHERE election = :election AND told_position > (
                SELECT coalesce(max(position), 0) FROM notifier.voter_changes
                WHERE election = :election AND sequence <= :sequence)),
        (SELECT sequence FROM notifier.heads WHERE election = :election),
        0)
    """
)


class CannotCloseError(Exception):
    """Why there can be no such supplement: the member at fault and a sentence."""

    def __init__(self, field: str, detail: str) -> None:
        super().__init__(detail)
        self.field = field
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Supplement:
    """A supplement without its changes; `hash` in hexadecimal."""

    head: Head
    totals: list[Total]
    hash: str

    @property
    def changes(self) -> int:
        return self.head.to_sequence - self.head.from_sequence


@dataclass(frozen=True, slots=True)
class Asked:
    """Where a new supplement shall begin and end, where that was said."""

    from_sequence: int | None = None
    to_sequence: int | None = None


class Supplements:
    """The supplements of every election."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        # Whoever waits for a turn holds no connection: numbering needs them.
        self._turn = asyncio.Lock()

    async def close(self, election: str, asked: Asked, now: datetime) -> tuple[Supplement, bool]:
        """The supplement up to `to_sequence`, or to where the feed is now; and whether it is new.

        Asked for again it is the same; of requests at once all get one. Raises CannotCloseError.
        """
        end = await self._end(election)
        if asked.to_sequence is not None and asked.to_sequence > end:
            raise CannotCloseError(
                "to_sequence", f"to_sequence lies beyond the end of the voters' feed, {end}."
            )
        async with self._turn, self._engine.begin() as connection:
            await connection.execute(_ROOM)
            await connection.execute(_ALONE, {"election": election})
            made = await _made(connection, election, asked, end)
            if made is not None:
                return made, False
            last = await _first(connection, _LAST, {"election": election})
            head = await _head(connection, election, asked, end, last, now)
            return await _make(connection, head, last), True

    async def all(self, election: str) -> list[Supplement]:
        """Every supplement, in the order of their numbers."""
        async with self._reading() as connection:
            rows = await connection.execute(_ALL, {"election": election})
            return [_supplement(row) for row in rows.mappings()]

    async def one(self, election: str, number: int) -> Supplement | None:
        """A supplement by its number, none where there is none."""
        async with self._reading() as connection:
            return await _first(connection, _ONE, {"election": election, "number": number})

    async def entries(self, supplement: Supplement) -> AsyncIterator[list[Entry]]:
        """Its changes, a page at a time; no connection is held in between."""
        head = supplement.head
        after = head.from_sequence
        while after < head.to_sequence:
            async with self._reading() as connection:
                page = await _page(connection, head, after)
            yield page
            after = page[-1].sequence

    async def _end(self, election: str) -> int:
        async with self._reading() as connection:
            found = (await connection.execute(_END, {"election": election})).scalar()
        return int(found or 0)

    @asynccontextmanager
    async def _reading(self) -> AsyncIterator[AsyncConnection]:
        async with self._engine.connect() as connection:
            yield await connection.execution_options(isolation_level="AUTOCOMMIT")


async def _made(
    connection: AsyncConnection, election: str, asked: Asked, end: int
) -> Supplement | None:
    """The supplement that was made already of what is asked for, if it was."""
    statement = _REACHING if asked.to_sequence is None else _ENDING
    sequence = end if asked.to_sequence is None else asked.to_sequence
    made = await _first(connection, statement, {"election": election, "sequence": sequence})
    if made is not None and asked.from_sequence not in (None, made.head.from_sequence):
        raise CannotCloseError(
            "from_sequence",
            f"Supplement {made.head.number} up to {made.head.to_sequence} begins after"
            f" {made.head.from_sequence}; leave from_sequence out.",
        )
    return made


async def _head(
    connection: AsyncConnection,
    election: str,
    asked: Asked,
    end: int,
    last: Supplement | None,
    now: datetime,
) -> Head:
    """What a new supplement will say of itself. Raises CannotCloseError."""
    to_sequence = end if asked.to_sequence is None else asked.to_sequence
    from_sequence = _from(asked, last)
    if to_sequence <= from_sequence:
        raise CannotCloseError("to_sequence", _nothing_to_close(from_sequence, last))
    villages_from = await _villages_end(connection, election, from_sequence)
    return Head(
        election=election,
        number=last.head.number + 1 if last else 1,
        made_at=now,
        from_sequence=from_sequence,
        to_sequence=to_sequence,
        villages_from=last.head.villages_to if last else villages_from,
        villages_to=await _villages_end(connection, election, to_sequence),
        previous_hash=last.hash if last else None,
    )


def _from(asked: Asked, last: Supplement | None) -> int:
    if last is None:
        return asked.from_sequence or 0
    if asked.from_sequence not in (None, last.head.to_sequence):
        raise CannotCloseError(
            "from_sequence",
            f"A supplement begins where the one before it ends, which is"
            f" {last.head.to_sequence}; leave from_sequence out.",
        )
    return last.head.to_sequence


def _nothing_to_close(from_sequence: int, last: Supplement | None) -> str:
    if last is None:
        return (
            f"The voters' feed has told nothing between {from_sequence} and there; a supplement"
            " closes at least one change."
        )
    return (
        f"Supplement {last.head.number} goes up to {from_sequence}, and none ends at that sequence;"
        " the next one must end beyond."
    )


async def _villages_end(connection: AsyncConnection, election: str, sequence: int) -> int:
    if sequence == 0:
        return 0
    at = {"election": election, "sequence": sequence}
    return int((await connection.execute(_VILLAGES_END, at)).scalar_one())


async def _make(connection: AsyncConnection, head: Head, last: Supplement | None) -> Supplement:
    if last is not None:
        voters = {total.village: total.after for total in last.totals if total.after}
    else:
        at = {"election": head.election, "sequence": head.from_sequence}
        rows = await connection.execute(_VOTERS_BY_VILLAGE, at)
        voters = {row.village: row.voters for row in rows}
    closing = Closing(head, voters)
    after = head.from_sequence
    while after < head.to_sequence:
        page = await _page(connection, head, after)
        # In a thread: the first supplement may hold a whole regency.
        await asyncio.to_thread(closing.take, page)
        after = page[-1].sequence
    totals, digest = closing.finish()
    written = orjson.dumps([total._asdict() for total in totals]).decode()
    await connection.execute(_INSERT, head._asdict() | {"totals": written, "hash": digest})
    return Supplement(head, totals, digest.hex())


async def _page(connection: AsyncConnection, head: Head, after: int) -> list[Entry]:
    asked = {
        "election": head.election,
        "after": after,
        "last": head.to_sequence,
        "limit": PAGE_ENTRIES,
    }
    page = [Entry(*row) for row in await connection.execute(_ENTRIES, asked)]
    assert page, "the feed has a gap"
    return page


async def _first(
    connection: AsyncConnection, statement: Any, asked: dict[str, Any]
) -> Supplement | None:
    row = (await connection.execute(statement, asked)).mappings().first()
    return _supplement(row) if row else None


def _supplement(row: Any) -> Supplement:
    head = Head(**{name: row[name] for name in Head._fields})
    totals = [Total(**total) for total in orjson.loads(row["totals"])]
    return Supplement(head, totals, row["hash"])
