"""PostgreSQL: the changes, where everybody stands and the cursor, in one transaction."""

import contextlib
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlsplit

import asyncpg

from cli.following import tables
from cli.following.changes import COLUMNS, Change, Feed
from cli.following.standing import Standing
from cli.following.target import TargetAwayError, TargetError, refuse_other

ANSWER_WITHIN_S: Final = 60.0
# An arbitrary number of our own for pg_advisory_xact_lock: two may begin at once.
TABLES_LOCK: Final = 0x6361_6361_6832
DEFAULT_PORT: Final = 5432
HIDDEN: Final = "the PostgreSQL database"

# What a server that is stopped, restarted or out of reach says.
_AWAY: Final = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.TransactionRollbackError,
)


class PostgresTarget:
    """A database of the follower's own, or beside other tables; `url` may hold a password, which
    PGPASSWORD or ~/.pgpass keeps better."""

    def __init__(self, url: str, election: str, feed: Feed) -> None:
        self._url = url
        self._election = election
        self._feed = feed
        self._database: asyncpg.Connection[Any] | None = None
        self._sequence = 0

    @property
    def shown(self) -> str:
        return without_password(self._url)

    async def open(self) -> Standing | None:
        with self._faults():
            self._database = await asyncpg.connect(
                self._url, timeout=ANSWER_WITHIN_S, command_timeout=ANSWER_WITHIN_S
            )
            async with self._transaction() as database:
                await self._make_tables(database)
                return await self._standing(database)

    async def begin(self, standing: Standing, snapshot: Sequence[Change]) -> None:
        with self._faults():
            async with self._transaction() as database:
                place = self._feed.value, self._election, standing.sequence
                await database.execute(tables.BEGIN, *place)
                stands = tables.stand_rows(snapshot)
                await database.executemany(tables.put_stand(self._feed), stands)
        self._sequence = standing.sequence

    async def append(self, changes: Sequence[Change]) -> None:
        last = changes[-1].sequence
        with self._faults():
            async with self._transaction() as database:
                place = last, self._feed.value, self._election, self._sequence
                if await database.execute(tables.GO_ON, *place) != "UPDATE 1":
                    raise TargetError(
                        f"another `cacah follow` writes to {self.shown}: end one of them"
                    )
                await self._add(database, changes)
        self._sequence = last

    async def close(self) -> None:
        if self._database is not None:
            self._database.terminate()
            self._database = None

    async def _make_tables(self, database: "asyncpg.Connection[Any]") -> None:
        # An account that may only write to tables made for it is not asked for more.
        made = "SELECT to_regclass($1) IS NOT NULL AND to_regclass($2) IS NOT NULL"
        names = tables.CHANGES[self._feed], tables.STANDS[self._feed]
        if not await database.fetchval(made, *names):
            await database.execute("SELECT pg_advisory_xact_lock($1)", TABLES_LOCK)
            for statement in tables.definitions(self._feed, "timestamptz", "uuid"):
                await database.execute(statement)

    async def _standing(self, database: "asyncpg.Connection[Any]") -> Standing | None:
        place = await database.fetchrow(tables.READ_PLACE, self._feed.value)
        if place is None:
            return None
        election, self._sequence = place
        refuse_other(self.shown, election, self._election, self._feed)
        standing = Standing(self._election, self._feed, self._sequence)
        for key, *values in await database.fetch(tables.read_stands(self._feed)):
            standing.put(str(key), tables.stand_of(self._feed, values))
        return standing

    async def _add(self, database: "asyncpg.Connection[Any]", changes: Sequence[Change]) -> None:
        columns = COLUMNS[self._feed]
        time = columns.index("time")
        rows = [_with_moment(change.row(self._feed), time) for change in changes]
        name = tables.CHANGES[self._feed]
        await database.copy_records_to_table(name, records=rows, columns=columns)
        concerned = tables.last_of_each(changes).values()
        await database.executemany(tables.put_stand(self._feed), tables.stand_rows(concerned))
        await database.executemany(tables.drop_stand(self._feed), tables.leavers(concerned))

    @contextlib.asynccontextmanager
    async def _transaction(self) -> AsyncIterator["asyncpg.Connection[Any]"]:
        assert self._database is not None
        async with self._database.transaction():
            yield self._database

    @contextlib.contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            yield
        except (asyncpg.ClientConfigurationError, ValueError):
            # Its message may quote a password.
            raise TargetError(
                f"the address of {self.shown} cannot be read: write"
                " postgresql://account@host:port/database, with %40 for an @ in a password, which"
                " PGPASSWORD or ~/.pgpass keeps better"
            ) from None
        except _AWAY as error:
            said = str(error) or type(error).__name__
            raise TargetAwayError(f"{self.shown} does not answer ({said})") from None
        except asyncpg.PostgresError as error:
            raise TargetError(
                f"{self.shown} cannot be used ({error}); see whether the database, the account"
                " and its rights are right"
            ) from None


def _with_moment(row: tuple[Any, ...], time: int) -> tuple[Any, ...]:
    return (*row[:time], datetime.fromisoformat(row[time]), *row[time + 1 :])


def without_password(url: str) -> str:
    """The URL as it may be shown and logged; nothing of one that is not understood."""
    try:
        parts = urlsplit(url)
        place = f"{parts.hostname or 'localhost'}:{parts.port or DEFAULT_PORT}{parts.path}"
    except ValueError:
        return HIDDEN
    # A password that was not percent-encoded may be anywhere.
    if "@" in parts.path + parts.query + parts.fragment:
        return HIDDEN
    return f"postgresql://{place}"
