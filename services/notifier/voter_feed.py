"""The voters' feed in PostgreSQL: what KPU was told of persons, in numbered changes; and what
projections say of an election's area."""

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import orjson
from sqlalchemy import ARRAY, BigInteger, Text, Uuid, bindparam, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from services.notifier.domain.voters import (
    NumberedVoters,
    Place,
    ToldVoter,
    VoterChange,
    VoterKey,
    number_voters,
)
from services.notifier.domain.wanted import Wanted
from services.notifier.feed import NOTIFY, ServedChange, Taken, by_election, keep_unreadable
from services.notifier.records import Area, VoterBatch
from shared.database import driver_of

# Other processes read the feed on when this channel is notified; the payload names who did it.
VOTER_CHANNEL: Final = "notifier_voter_changes"

_MEET_ELECTIONS = text(
    "INSERT INTO notifier.voter_heads (election) SELECT unnest(:elections) ON CONFLICT DO NOTHING"
).bindparams(bindparam("elections", type_=ARRAY(Text)))

# In the order of the elections, so that two processes never wait for each other.
_LOCK_HEADS = text(
    "SELECT election, sequence FROM notifier.voter_heads"
    " WHERE election = ANY(:elections) ORDER BY election FOR UPDATE"
).bindparams(bindparam("elections", type_=ARRAY(Text)))

_READ_TOLD = text(
    "SELECT election, voter, fold, place, village FROM notifier.voters"
    " JOIN unnest(:elections, :voters) AS wanted (election, voter) USING (election, voter)"
).bindparams(bindparam("elections", type_=ARRAY(Text)), bindparam("voters", type_=ARRAY(Uuid)))

_WRITE_TOLD = text(
    "INSERT INTO notifier.voters (election, voter, fold, place, village)"
    " SELECT * FROM unnest(:elections, :voters, :folds, :places, :villages)"
    " ON CONFLICT (election, voter) DO UPDATE"
    " SET fold = excluded.fold, place = excluded.place, village = excluded.village"
).bindparams(
    bindparam("elections", type_=ARRAY(Text)),
    bindparam("voters", type_=ARRAY(Uuid)),
    bindparam("folds", type_=ARRAY(BigInteger)),
    bindparam("places", type_=ARRAY(BigInteger)),
    bindparam("villages", type_=ARRAY(Text)),
)

_MOVE_HEAD = text("UPDATE notifier.voter_heads SET sequence = :sequence WHERE election = :election")

_LEARN_AREA = text(
    "INSERT INTO notifier.heads AS known (election, area, fold) VALUES (:election, :area, :fold)"
    " ON CONFLICT (election) DO UPDATE SET area = excluded.area, fold = excluded.fold"
    " WHERE known.fold < excluded.fold"
)

_ELECTIONS = (
    "SELECT election, coalesce(voter_heads.sequence, 0) AS sequence FROM notifier.heads"
    " FULL JOIN notifier.voter_heads USING (election)"
)

_CHANGES = text(
    "SELECT sequence, election, voter::text AS voter, kind, reason, from_village, to_village,"
    " position, time, stage FROM notifier.voter_changes"
    " WHERE election = :election AND sequence > :after ORDER BY sequence LIMIT :limit"
)

# By the key alone: who asks bounds how far it looks.
_WANTED_CHANGES = text(
    "SELECT sequence, election, voter::text AS voter, kind, reason, from_village, to_village,"
    " position, time, stage FROM notifier.voter_changes"
    " WHERE election = :election AND sequence > :after AND sequence <= :end"
    " AND (from_village = ANY(:villages) OR to_village = ANY(:villages)"
    " OR left(from_village, 8) = ANY(:districts) OR left(to_village, 8) = ANY(:districts))"
    " ORDER BY sequence LIMIT :limit"
).bindparams(bindparam("villages", type_=ARRAY(Text)), bindparam("districts", type_=ARRAY(Text)))

_SERVED_COLUMNS: Final = (
    *("sequence", "election", "voter", "kind", "reason", "from_village", "to_village"),
    *("position", "time", "stage"),
)
_CHANGE_COLUMNS: Final = (
    *("election", "sequence", "voter", "kind", "reason", "from_village", "to_village"),
    *("position", "time", "stage", "numbered_at"),
)


@dataclass(frozen=True, slots=True)
class VoterEnd:
    """How far an election's feed of voters goes."""

    election: str
    sequence: int


class VoterFeed:
    """The numbered changes of voters, election by election."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def take(self, batch: VoterBatch, numbered_at: datetime) -> Taken[NumberedVoters]:
        """Number a batch and keep it, all in one transaction, as the villages' feed does."""
        keys = sorted({record.key for record in batch.records})
        async with self._engine.begin() as connection:
            await _learn(connection, batch.areas)
            ends = await _lock_heads(connection, sorted({key.election for key in keys}))
            told = await _read_told(connection, keys)
            numbered = number_voters(ends, told, batch.records)
            rows = [_row(change, numbered_at) for change in numbered.changes]
            await _write_changes(connection, rows)
            await _write_told(connection, numbered.told)
            for election, sequence in numbered.ends.items():
                moved = {"election": election, "sequence": sequence}
                await connection.execute(_MOVE_HEAD, moved)
            await keep_unreadable(connection, batch.unreadable)
        served = (_served(dict(zip(_CHANGE_COLUMNS, row, strict=True))) for row in rows)
        return Taken(numbered, by_election((row[0] for row in rows), served))

    async def announce(self, by: str) -> None:
        """Wake the other processes than that of this name; never within `take`."""
        async with self._reading() as connection:
            await connection.execute(NOTIFY, {"channel": VOTER_CHANNEL, "by": by})

    async def elections(self) -> list[VoterEnd]:
        """Every election that has a feed, by its id."""
        async with self._reading() as connection:
            rows = await connection.execute(text(_ELECTIONS + " ORDER BY election"))
            return [VoterEnd(*row) for row in rows]

    async def election(self, election: str) -> VoterEnd | None:
        """One election's feed, none where there is no such election."""
        wanted = {"election": election}
        async with self._reading() as connection:
            found = await connection.execute(
                text(_ELECTIONS + " WHERE election = :election"), wanted
            )
            row = found.first()
        return VoterEnd(*row) if row else None

    async def changes(self, election: str, after: int, limit: int) -> list[ServedChange]:
        """The changes after a sequence, in order and without a gap, at most `limit`."""
        arguments = {"election": election, "after": after, "limit": limit}
        async with self._reading() as connection:
            rows = (await connection.execute(_CHANGES, arguments)).mappings().all()
        return [_served(dict(row)) for row in rows]

    async def wanted_changes(
        self, election: str, wanted: Wanted, after: int, end: int, limit: int
    ) -> list[ServedChange]:
        """The wanted changes after a sequence and up to another, which the feed must have
        reached, in order, at most `limit`."""
        arguments = {
            "election": election,
            "villages": sorted(wanted.villages),
            "districts": sorted(wanted.districts),
            "after": after,
            "end": end,
            "limit": limit,
        }
        async with self._reading() as connection:
            rows = (await connection.execute(_WANTED_CHANGES, arguments)).mappings().all()
        return [_served(dict(row)) for row in rows]

    @asynccontextmanager
    async def _reading(self) -> AsyncIterator[AsyncConnection]:
        async with self._engine.connect() as connection:
            yield await connection.execution_options(isolation_level="AUTOCOMMIT")


async def _learn(connection: AsyncConnection, areas: Iterable[Area]) -> None:
    for area in areas:
        learned = {"election": area.election, "area": area.area, "fold": area.fold}
        await connection.execute(_LEARN_AREA, learned)


async def _lock_heads(connection: AsyncConnection, elections: list[str]) -> dict[str, int]:
    wanted = {"elections": elections}
    rows = (await connection.execute(_LOCK_HEADS, wanted)).all()
    if len(rows) < len(elections):
        await connection.execute(_MEET_ELECTIONS, wanted)
        rows = (await connection.execute(_LOCK_HEADS, wanted)).all()
    return {row.election: row.sequence for row in rows}


async def _read_told(
    connection: AsyncConnection, keys: list[VoterKey]
) -> dict[VoterKey, ToldVoter]:
    rows = await connection.execute(
        _READ_TOLD,
        {"elections": [key.election for key in keys], "voters": [key.voter for key in keys]},
    )
    return {
        VoterKey(row.election, UUID(int=row.voter.int)): ToldVoter(
            Place(row.fold, row.place), row.village
        )
        for row in rows
    }


async def _write_changes(connection: AsyncConnection, rows: list[tuple[Any, ...]]) -> None:
    if rows:
        driver = await driver_of(connection)
        await driver.copy_records_to_table(
            "voter_changes", schema_name="notifier", columns=_CHANGE_COLUMNS, records=rows
        )


def _row(change: VoterChange, numbered_at: datetime) -> tuple[Any, ...]:
    return (
        change.key.election,
        change.sequence,
        change.key.voter,
        change.kind.value,
        change.reason,
        change.from_village,
        change.to_village,
        change.position,
        change.time,
        change.stage,
        numbered_at,
    )


async def _write_told(connection: AsyncConnection, told: dict[VoterKey, ToldVoter]) -> None:
    if told:
        await connection.execute(
            _WRITE_TOLD,
            {
                "elections": [key.election for key in told],
                "voters": [key.voter for key in told],
                "folds": [state.place.fold for state in told.values()],
                "places": [state.place.place for state in told.values()],
                "villages": [state.village for state in told.values()],
            },
        )


def _served(row: Mapping[str, Any]) -> ServedChange:
    """A row, read or just written, as it is served: the same bytes."""
    members = {column: row[column] for column in _SERVED_COLUMNS}
    members["voter"] = str(members["voter"])
    body = orjson.dumps(members, option=orjson.OPT_UTC_Z)
    villages = tuple(filter(None, (members["from_village"], members["to_village"])))
    return ServedChange(members["sequence"], members["time"], body, villages=villages)
