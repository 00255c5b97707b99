"""SQLite: the changes, where everybody stands and the cursor, in one transaction."""

import contextlib
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from cli.following import tables
from cli.following.changes import Change, Feed
from cli.following.standing import Standing
from cli.following.target import TargetAwayError, TargetError, refuse_other

# A reader's long transaction may keep us waiting.
LOCK_WAIT_S: Final = 30.0
_PASSES: Final = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


class SqliteTarget:
    """A database file; other tables in it are left alone."""

    def __init__(self, path: Path, election: str, feed: Feed) -> None:
        self._path = path
        self._election = election
        self._feed = feed
        self._database: sqlite3.Connection | None = None
        self._sequence = 0

    @property
    def shown(self) -> str:
        return f"sqlite:///{self._path}"

    async def open(self) -> Standing | None:
        with self._faults():
            self._database = sqlite3.connect(self._path, LOCK_WAIT_S, isolation_level=None)
            self._database.execute("PRAGMA synchronous = FULL")
            with self._transaction() as database:
                for statement in tables.definitions(self._feed, "text", "text"):
                    database.execute(statement)
                return self._standing(database)

    async def begin(self, standing: Standing, snapshot: Sequence[Change]) -> None:
        with self._faults(), self._transaction() as database:
            place = (self._feed.value, self._election, standing.sequence)
            _run(database, tables.BEGIN, [place])
            _run(database, tables.put_stand(self._feed), tables.stand_rows(snapshot))
        self._sequence = standing.sequence

    async def append(self, changes: Sequence[Change]) -> None:
        last = changes[-1].sequence
        with self._faults(), self._transaction() as database:
            place = (last, self._feed.value, self._election, self._sequence)
            if database.execute(_for_sqlite(tables.GO_ON), place).rowcount != 1:
                raise TargetError(f"another `cacah follow` writes to {self.shown}: end one of them")
            _run(database, tables.add_change(self._feed), (c.row(self._feed) for c in changes))
            concerned = tables.last_of_each(changes).values()
            _run(database, tables.put_stand(self._feed), tables.stand_rows(concerned))
            _run(database, tables.drop_stand(self._feed), tables.leavers(concerned))
        self._sequence = last

    async def close(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None

    def _standing(self, database: sqlite3.Connection) -> Standing | None:
        asked = _for_sqlite(tables.READ_PLACE)
        place = database.execute(asked, (self._feed.value,)).fetchone()
        if place is None:
            return None
        election, self._sequence = place
        refuse_other(self.shown, election, self._election, self._feed)
        standing = Standing(self._election, self._feed, self._sequence)
        for key, *values in database.execute(tables.read_stands(self._feed)):
            standing.put(key, tables.stand_of(self._feed, values))
        return standing

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        assert self._database is not None
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield self._database
            self._database.execute("COMMIT")
        finally:
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")

    @contextlib.contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", None) in _PASSES:
                raise TargetAwayError(f"{self.shown} is locked by another program") from None
            raise TargetError(
                f"{self.shown} cannot be used ({error}); see whether the path, the rights and the"
                " room on the disk are right, and start again: it goes on where it stopped"
            ) from None


def _run(database: sqlite3.Connection, statement: str, rows: Iterable[Sequence[Any]]) -> None:
    database.executemany(_for_sqlite(statement), rows)


def _for_sqlite(statement: str) -> str:
    return statement.replace("$", "?")
