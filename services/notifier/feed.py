"""The feed in PostgreSQL: what KPU was told of villages, in numbered changes."""

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Generic, TypeVar

import orjson
from sqlalchemy import ARRAY, BigInteger, Text, bindparam, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from services.notifier.domain.changes import Change, Head, Numbered, Told, Trace, number
from services.notifier.domain.wanted import Wanted
from services.notifier.records import Batch, Unreadable
from services.notifier.traced import Passed
from shared.as_of import Moment
from shared.counts import Counts, VillageKey
from shared.database import driver_of
from shared.event_log import require_reached

# Other processes read the feed on when this channel is notified; the payload names who did it.
CHANNEL: Final = "notifier_changes"
NOTIFY: Final = text("SELECT pg_notify(:channel, :by)")

# A process whose host died in the middle of a transaction has not closed its connection: PostgreSQL
# ends the transaction of one that says nothing for so long, or the others would wait for its locks
# for ever. No pause of our own within a transaction is as long.
LOCKING_SETTINGS: Final = {"idle_in_transaction_session_timeout": "10s"}

_MEET_ELECTIONS = text(
    "INSERT INTO notifier.heads (election) SELECT unnest(:elections) ON CONFLICT DO NOTHING"
).bindparams(bindparam("elections", type_=ARRAY(Text)))

# In the order of the elections, so that two processes never wait for each other.
_LOCK_HEADS = text(
    "SELECT election, sequence, position FROM notifier.heads"
    " WHERE election = ANY(:elections) ORDER BY election FOR UPDATE"
).bindparams(bindparam("elections", type_=ARRAY(Text)))

_READ_TOLD = text(
    "SELECT election, village, revision, counts::text AS counts FROM notifier.villages"
    " JOIN unnest(:elections, :villages) AS wanted (election, village) USING (election, village)"
).bindparams(bindparam("elections", type_=ARRAY(Text)), bindparam("villages", type_=ARRAY(Text)))

_WRITE_TOLD = text(
    "INSERT INTO notifier.villages (election, village, revision, counts)"
    " SELECT election, village, revision, counts::json"
    " FROM unnest(:elections, :villages, :revisions, :counts)"
    " AS moved (election, village, revision, counts)"
    " ON CONFLICT (election, village) DO UPDATE"
    " SET revision = excluded.revision, counts = excluded.counts"
).bindparams(
    bindparam("elections", type_=ARRAY(Text)),
    bindparam("villages", type_=ARRAY(Text)),
    bindparam("revisions", type_=ARRAY(BigInteger)),
    bindparam("counts", type_=ARRAY(Text)),
)

_MOVE_HEAD = text(
    "UPDATE notifier.heads SET sequence = :sequence, position = :position"
    " WHERE election = :election"
)

_KEEP_UNREADABLE = text(
    "INSERT INTO notifier.unreadable (topic, partition, offset_, value, why)"
    " VALUES (:topic, :partition, :offset, :value, :why) ON CONFLICT DO NOTHING"
)

_ELECTIONS = text("SELECT election, area, sequence, position FROM notifier.heads ORDER BY election")
_ELECTION = text(
    "SELECT election, area, sequence, position FROM notifier.heads WHERE election = :election"
)

_TRACE_COLUMNS: Final = ("received_at", "published_at", "counted_at", "announced_at")
_SERVED_COLUMNS: Final = (
    *("sequence", "election", "village", "district", "position", "time", "stage"),
    *("before", "after", *_TRACE_COLUMNS, "numbered_at"),
)
_SERVED: Final = (
    "SELECT sequence, election, village, district, position, time, stage,"
    " before::text AS before, after::text AS after,"
    " received_at, published_at, counted_at, announced_at, numbered_at FROM notifier.changes"
)

_CHANGES = text(
    _SERVED + " WHERE election = :election AND sequence > :after ORDER BY sequence LIMIT :limit"
)

_VILLAGE_CHANGES = text(
    _SERVED
    + " WHERE election = :election AND village = :village AND sequence BETWEEN :first AND :last"
    " ORDER BY sequence LIMIT :limit"
)

# By the key alone: who asks bounds how far it looks.
_WANTED_CHANGES = text(
    _SERVED + " WHERE election = :election AND sequence > :after AND sequence <= :end"
    " AND (village = ANY(:villages) OR district = ANY(:districts))"
    " ORDER BY sequence LIMIT :limit"
).bindparams(bindparam("villages", type_=ARRAY(Text)), bindparam("districts", type_=ARRAY(Text)))

_TELLS_OF = text(
    "SELECT EXISTS (SELECT FROM notifier.villages WHERE election = :election"
    " AND (village = :code OR starts_with(village, :code || '.')))"
)

# Both rise with the sequence, so the last one within a bound is found by halves, each a look-up by
# the key.
_PREFIX: Final = """
    WITH RECURSIVE halved (low, high) AS (
        SELECT CAST(0 AS bigint), sequence FROM notifier.heads WHERE election = :election
        UNION ALL
        SELECT CASE WHEN {rising} <= :bound THEN sequence ELSE low END,
            CASE WHEN {rising} <= :bound THEN high ELSE sequence - 1 END
        FROM halved JOIN notifier.changes
            ON election = :election AND sequence = (low + high + 1) / 2
        WHERE low < high
    )
    SELECT low AS sequence, coalesce(told_position, 0) AS position
    FROM halved LEFT JOIN notifier.changes ON election = :election AND sequence = low
    WHERE low = high
"""
_PREFIX_BY_TIME = text(_PREFIX.format(rising="numbered_at"))
_PREFIX_BY_POSITION = text(_PREFIX.format(rising="told_position"))

# What is numbered stays as it is, so this need not be of the moment in which the end was found.
_TOLD_AT = text(
    "SELECT heads.area, village, last.after::text AS counts"
    " FROM notifier.heads LEFT JOIN notifier.villages USING (election)"
    " LEFT JOIN LATERAL (SELECT after FROM notifier.changes"
    " WHERE changes.election = heads.election AND changes.village = villages.village"
    " AND sequence <= :sequence ORDER BY sequence DESC LIMIT 1) AS last ON true"
    " WHERE election = :election"
)

# The changes of an election become visible in order of their sequence, and their times shall rise
# with it whatever the clocks of several processes say.
_LAST_NUMBERED_AT = text(
    "SELECT max(numbered_at) AS moment FROM unnest(:elections) AS those (election)"
    " JOIN notifier.heads USING (election) JOIN notifier.changes USING (election, sequence)"
).bindparams(bindparam("elections", type_=ARRAY(Text)))

# One statement, so that the counts and the sequence are of one moment.
_SNAPSHOT = text(
    "SELECT heads.area, heads.sequence, heads.position, village, counts::text AS counts"
    " FROM notifier.heads LEFT JOIN notifier.villages USING (election)"
    " WHERE election = :election"
)

_CHANGE_COLUMNS: Final = (
    "election",
    "sequence",
    "village",
    "district",
    "position",
    "time",
    "stage",
    "before",
    "after",
    "numbered_at",
    "told_position",
    *_TRACE_COLUMNS,
)


@dataclass(frozen=True, slots=True)
class ElectionFeed:
    """An election's feed: the area where it is known, and its end."""

    election: str
    area: str | None
    sequence: int
    position: int


@dataclass(frozen=True, slots=True)
class ServedChange:
    """A change as KPU reads it: `body` is its JSON, `villages` are those that it concerns.
    In the voters' feed `village` is empty, and there is no account of the way."""

    sequence: int
    time: datetime
    body: bytes
    village: str = ""
    villages: tuple[str, ...] = ()
    passed: Passed | None = None


N = TypeVar("N")


@dataclass(frozen=True, slots=True)
class Taken(Generic[N]):
    """What a batch came to, and by election its changes as everybody is served them from now on."""

    numbered: N
    served: Mapping[str, list[ServedChange]]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What KPU has been told of every village up to `head`."""

    area: str | None
    head: Head
    counts: dict[str, Counts]


class Feed:
    """The numbered changes of every election."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def take(self, batch: Batch, numbered_at: datetime) -> Taken[Numbered]:
        """Number a batch and keep it, all in one transaction.

        The rows of the elections' heads are locked until the commit: sequences become visible
        in their order however many processes number, and a record that two of them hold is
        taken once.
        """
        keys = sorted({record.key for record in batch.records})
        elections = sorted({key.election for key in keys})
        async with self._engine.begin() as connection:
            heads = await _lock_heads(connection, elections)
            told = await _read_told(connection, keys)
            numbered = number(heads, told, batch.records)
            rows: list[tuple[Any, ...]] = []
            if numbered.changes:
                moment = await _not_before_the_last(connection, elections, numbered_at)
                rows = _rows(heads, numbered.changes, moment)
                await _write_changes(connection, rows)
            await _write_told(connection, numbered.told)
            await _move_heads(connection, numbered.heads)
            await keep_unreadable(connection, batch.unreadable)
        served = (_served(dict(zip(_CHANGE_COLUMNS, row, strict=True))) for row in rows)
        return Taken(numbered, by_election((row[0] for row in rows), served))

    async def announce(self, by: str) -> None:
        """Wake the other processes than that of this name. Never within `take`: a NOTIFY there
        would serialise every commit of the server."""
        async with self._reading() as connection:
            await connection.execute(NOTIFY, {"channel": CHANNEL, "by": by})

    async def elections(self) -> list[ElectionFeed]:
        """Every election that has a feed, by its id."""
        async with self._reading() as connection:
            return [ElectionFeed(*row) for row in await connection.execute(_ELECTIONS)]

    async def election(self, election: str) -> ElectionFeed | None:
        """One election's feed, none where there is no such election."""
        async with self._reading() as connection:
            row = (await connection.execute(_ELECTION, {"election": election})).first()
        return ElectionFeed(*row) if row else None

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

    async def tells_of(self, election: str, code: str) -> bool:
        """Whether anything was ever told of a village, or of one of a district."""
        asked = {"election": election, "code": code}
        async with self._reading() as connection:
            return bool((await connection.execute(_TELLS_OF, asked)).scalar_one())

    async def village_changes(
        self, election: str, village: str, first: int, last: int, limit: int
    ) -> list[ServedChange]:
        """A village's changes from one sequence to another, in order, at most `limit`."""
        arguments = {
            "election": election,
            "village": village,
            "first": first,
            "last": last,
            "limit": limit,
        }
        async with self._reading() as connection:
            rows = (await connection.execute(_VILLAGE_CHANGES, arguments)).mappings().all()
        return [_served(dict(row)) for row in rows]

    async def snapshot(self, election: str) -> Snapshot | None:
        """What has been told, at one moment; none where there is no such election."""
        async with self._reading() as connection:
            rows = (await connection.execute(_SNAPSHOT, {"election": election})).all()
        if not rows:
            return None
        counts = {row.village: _counts(row.counts) for row in rows if row.village is not None}
        return Snapshot(rows[0].area, Head(rows[0].sequence, rows[0].position), counts)

    async def snapshot_as_of(self, election: str, moment: Moment) -> Snapshot | None:
        """What had been told by a time, or before anything was told of what lies beyond a
        position: the changes up to a sequence, none left out; none where there is no such
        election. Raises BeyondTheLogError."""
        statement = _PREFIX_BY_POSITION if isinstance(moment, int) else _PREFIX_BY_TIME
        async with self._reading() as connection:
            await require_reached(connection, moment)
            end = (
                await connection.execute(statement, {"election": election, "bound": moment})
            ).first()
            if end is None:
                return None
            at = {"election": election, "sequence": end.sequence}
            rows = (await connection.execute(_TOLD_AT, at)).all()
        counts = {row.village: _counts(row.counts) for row in rows if row.counts is not None}
        return Snapshot(rows[0].area, Head(end.sequence, end.position), counts)

    @asynccontextmanager
    async def _reading(self) -> AsyncIterator[AsyncConnection]:
        async with self._engine.connect() as connection:
            yield await connection.execution_options(isolation_level="AUTOCOMMIT")


async def _lock_heads(connection: AsyncConnection, elections: list[str]) -> dict[str, Head]:
    wanted = {"elections": elections}
    heads = await _read_heads(connection, wanted)
    if len(heads) < len(elections):
        await connection.execute(_MEET_ELECTIONS, wanted)
        heads = await _read_heads(connection, wanted)
    return heads


async def _read_heads(connection: AsyncConnection, wanted: dict[str, list[str]]) -> dict[str, Head]:
    rows = await connection.execute(_LOCK_HEADS, wanted)
    return {row.election: Head(row.sequence, row.position) for row in rows}


async def _read_told(connection: AsyncConnection, keys: list[VillageKey]) -> dict[VillageKey, Told]:
    rows = await connection.execute(
        _READ_TOLD,
        {"elections": [key.election for key in keys], "villages": [key.village for key in keys]},
    )
    return {
        VillageKey(row.election, row.village): Told(row.revision, _counts(row.counts))
        for row in rows
    }


async def _not_before_the_last(
    connection: AsyncConnection, elections: list[str], moment: datetime
) -> datetime:
    row = (await connection.execute(_LAST_NUMBERED_AT, {"elections": elections})).one()
    return max(moment, row.moment or moment)


def by_election(
    elections: Iterable[str], served: Iterable[ServedChange]
) -> dict[str, list[ServedChange]]:
    """Changes as they are served, in their order, by the election that each is of."""
    found: dict[str, list[ServedChange]] = {}
    for election, change in zip(elections, served, strict=True):
        found.setdefault(election, []).append(change)
    return found


def _rows(
    heads: Mapping[str, Head], changes: Iterable[Change], numbered_at: datetime
) -> list[tuple[Any, ...]]:
    told = {election: head.position for election, head in heads.items()}
    rows = []
    for change in changes:
        election = change.key.election
        told[election] = max(told[election], change.position)
        rows.append(_row(change, numbered_at, told[election]))
    return rows


async def _write_changes(connection: AsyncConnection, rows: list[tuple[Any, ...]]) -> None:
    driver = await driver_of(connection)
    await driver.copy_records_to_table(
        "changes", schema_name="notifier", columns=_CHANGE_COLUMNS, records=rows
    )


def _row(change: Change, numbered_at: datetime, told_position: int) -> tuple[Any, ...]:
    trace = change.trace
    return (
        change.key.election,
        change.sequence,
        change.key.village,
        change.district,
        change.position,
        change.time,
        change.stage,
        _written(change.before),
        _written(change.after),
        numbered_at,
        told_position,
        *((getattr(trace, column) if trace else None) for column in _TRACE_COLUMNS),
    )


async def _write_told(connection: AsyncConnection, told: dict[VillageKey, Told]) -> None:
    if told:
        await connection.execute(
            _WRITE_TOLD,
            {
                "elections": [key.election for key in told],
                "villages": [key.village for key in told],
                "revisions": [state.revision for state in told.values()],
                "counts": [_written(state.counts) for state in told.values()],
            },
        )


async def _move_heads(connection: AsyncConnection, heads: dict[str, Head]) -> None:
    for election, head in heads.items():
        await connection.execute(
            _MOVE_HEAD,
            {"election": election, "sequence": head.sequence, "position": head.position},
        )


async def keep_unreadable(connection: AsyncConnection, unreadable: Iterable[Unreadable]) -> None:
    """Keep what could not be read of either topic, once."""
    for kept in unreadable:
        await connection.execute(
            _KEEP_UNREADABLE,
            {
                "topic": kept.fetched.topic,
                "partition": kept.fetched.partition,
                "offset": kept.fetched.offset,
                "value": kept.fetched.value,
                "why": kept.why,
            },
        )


def _written(counts: Counts) -> str:
    return orjson.dumps(counts._asdict()).decode()


def _counts(written: str) -> Counts:
    return Counts(**orjson.loads(written))


def _served(row: Mapping[str, Any]) -> ServedChange:
    """A row, read or just written, as it is served: the same bytes."""
    members = {column: row[column] for column in _SERVED_COLUMNS}
    members["before"] = orjson.Fragment(members["before"])
    members["after"] = orjson.Fragment(members["after"])
    passed_at = [members.pop(column) for column in _TRACE_COLUMNS]
    numbered_at = members.pop("numbered_at")
    trace = None if None in passed_at else Trace(*passed_at)
    passed = Passed(members["time"], numbered_at, trace)
    body = orjson.dumps(members, option=orjson.OPT_UTC_Z)
    village = members["village"]
    return ServedChange(members["sequence"], members["time"], body, village, (village,), passed)
