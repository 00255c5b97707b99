"""What a follower keeps in SQLite and PostgreSQL: all of a batch or nothing, cursor and all."""

import shutil
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from cli.following import tables
from cli.following.changes import Feed
from cli.following.postgres_target import PostgresTarget
from cli.following.sqlite_target import SqliteTarget
from cli.following.standing import Standing
from cli.following.target import Target, TargetAwayError, TargetError
from tests.support.feed_changes import ELECTION, changes_of
from tests.support.follower_process import rows_of_postgres, rows_of_sqlite
from tests.support.parts import Parts

LAST = 20


class CutOff(PostgresTarget):
    """A connection that dies when everything is written, before it is committed."""

    async def _add(self, database: Any, changes: Any) -> None:
        await super()._add(database, changes)
        database.terminate()


class Copied(SqliteTarget):
    """Before each statement the files are copied: what a kill at that moment would leave."""

    copies: list[Path]

    async def open(self) -> Standing | None:
        self.copies = []
        standing = await super().open()
        assert self._database is not None
        self._database.set_trace_callback(self._copy)
        return standing

    def _copy(self, _: str) -> None:
        home = self._path.with_name(f"copy-{len(self.copies)}")
        home.mkdir()
        for file in self._path.parent.glob(f"{self._path.name}*"):
            shutil.copy(file, home)
        self.copies.append(home / self._path.name)


async def standing_of(target: Target) -> Standing | None:
    """What a target holds, asked by somebody who has just begun."""
    try:
        return await target.open()
    finally:
        await target.close()


async def take(target: Target, feed: Feed, first: int, last: int) -> Standing:
    """Take the changes over, in batches of some, and answer where that leads to."""
    standing = await target.open()
    if standing is None:
        standing = Standing(ELECTION, feed)
        await target.begin(standing, [])
    assert standing.sequence == first - 1
    try:
        changes = changes_of(feed, last)[first - 1 :]
        for begin in range(0, len(changes), 7):
            for change in changes[begin : begin + 7]:
                standing.enter(change)
            await target.append(changes[begin : begin + 7])
    finally:
        await target.close()
    return standing


@pytest.mark.parametrize("feed", Feed)
async def test_postgres_holds_what_was_committed_and_the_cursor_with_it(
    parts: Parts, database: str, feed: Feed
) -> None:
    dsn = parts.dsn(database)
    reached = await take(PostgresTarget(dsn, ELECTION, feed), feed, 1, 12)
    with pytest.raises(TargetAwayError):
        await take(CutOff(dsn, ELECTION, feed), feed, 13, LAST)
    assert await standing_of(PostgresTarget(dsn, ELECTION, feed)) == reached
    assert len(await rows_of_postgres(dsn, tables.CHANGES[feed])) == 12

    reached = await take(PostgresTarget(dsn, ELECTION, feed), feed, 13, LAST)
    assert await standing_of(PostgresTarget(dsn, ELECTION, feed)) == reached
    rows = await rows_of_postgres(dsn, tables.CHANGES[feed])
    assert [row["sequence"] for row in rows] == list(range(1, LAST + 1))
    with pytest.raises(TargetError, match="of pilkada-2024 and not of pilkada-2029"):
        await standing_of(PostgresTarget(dsn, "pilkada-2029", feed))


@pytest.mark.parametrize("feed", Feed)
async def test_sqlite_holds_whole_batches_whenever_it_is_killed(tmp_path: Path, feed: Feed) -> None:
    path = tmp_path / "kpu.sqlite"
    target = Copied(path, ELECTION, feed)
    reached = await take(target, feed, 1, LAST)
    assert await standing_of(SqliteTarget(path, ELECTION, feed)) == reached
    seen = set()
    for copy in target.copies:
        left = await standing_of(SqliteTarget(copy, ELECTION, feed))
        sequence = left.sequence if left is not None else 0
        rows = rows_of_sqlite(copy, tables.CHANGES[feed])
        assert [row["sequence"] for row in rows] == list(range(1, sequence + 1))
        assert left in (None, standing_after(feed, sequence))
        seen.add(sequence)
    assert seen == {0, 7, 14}
    with pytest.raises(TargetError, match="of pilkada-2024 and not of pilkada-2029"):
        await standing_of(SqliteTarget(path, "pilkada-2029", feed))


def standing_after(feed: Feed, sequence: int) -> Standing:
    standing = Standing(ELECTION, feed)
    for change in changes_of(feed, sequence):
        standing.enter(change)
    return standing


async def test_both_feeds_may_be_in_one_database(parts: Parts, database: str) -> None:
    dsn = parts.dsn(database)
    for feed in Feed:
        await take(PostgresTarget(dsn, ELECTION, feed), feed, 1, LAST)
    followed = await rows_of_postgres(dsn, tables.FOLLOWED)
    assert {(row["feed"], row["sequence"]) for row in followed} == {
        ("villages", LAST),
        ("voters", LAST),
    }


async def test_an_account_without_rights_is_told_what_is_missing(
    parts: Parts, database: str
) -> None:
    dsn = parts.dsn(database)
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute("CREATE ROLE follower_of_tests LOGIN PASSWORD 'x'")
        with pytest.raises(TargetError, match="permission denied"):
            await standing_of(PostgresTarget(as_account(dsn), ELECTION, Feed.VOTERS))
        await take(PostgresTarget(dsn, ELECTION, Feed.VOTERS), Feed.VOTERS, 1, 5)
        rights = "SELECT, INSERT, UPDATE, DELETE"
        await connection.execute(
            f"GRANT {rights} ON ALL TABLES IN SCHEMA public TO follower_of_tests"
        )
        await take(PostgresTarget(as_account(dsn), ELECTION, Feed.VOTERS), Feed.VOTERS, 6, LAST)
    finally:
        await connection.execute("DROP OWNED BY follower_of_tests")
        await connection.execute("DROP ROLE follower_of_tests")
        await connection.close()


def as_account(dsn: str) -> str:
    """The same database as another account."""
    scheme, _, rest = dsn.partition("://")
    return f"{scheme}://follower_of_tests:x@{rest.rpartition('@')[2]}"
