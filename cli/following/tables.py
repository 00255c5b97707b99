"""The tables that a follower keeps in SQLite and PostgreSQL: every change, where everybody stands,
and how far they go.

The statements number their parameters as PostgreSQL does; SQLite takes `?1` for `$1`.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from cli.following.changes import COLUMNS, WHOLE_NUMBERS, Change, Feed, Stand
from shared.counts import Counts

FOLLOWED: Final = "cacah_followed"
CHANGES: Final = {Feed.VILLAGES: "cacah_village_changes", Feed.VOTERS: "cacah_voter_changes"}
STANDS: Final = {Feed.VILLAGES: "cacah_villages", Feed.VOTERS: "cacah_voters"}
STAND_COLUMNS: Final = {Feed.VILLAGES: Counts._fields, Feed.VOTERS: ("village",)}

READ_PLACE: Final = f"SELECT election, sequence FROM {FOLLOWED} WHERE feed = $1"  # noqa: S608
BEGIN: Final = f"INSERT INTO {FOLLOWED} (feed, election, sequence) VALUES ($1, $2, $3)"  # noqa: S608
# Nobody else has gone on from where we stood: the row is locked until the commit.
GO_ON: Final = (
    f"UPDATE {FOLLOWED} SET sequence = $1"  # noqa: S608
    " WHERE feed = $2 AND election = $3 AND sequence = $4"
)


def definitions(feed: Feed, time_type: str, voter_type: str) -> list[str]:
    """What makes the tables, where they are not there yet."""
    types = dict.fromkeys(COLUMNS[feed], "text") | dict.fromkeys(WHOLE_NUMBERS, "bigint")
    types |= {"sequence": "bigint PRIMARY KEY", "time": time_type, "voter": voter_type}
    columns = ", ".join(f"{name} {types[name]}" for name in COLUMNS[feed])
    stand_type = "bigint" if feed is Feed.VILLAGES else "text"
    stands = ", ".join(f"{name} {stand_type} NOT NULL" for name in STAND_COLUMNS[feed])
    key = f"{feed.key} {types[feed.key]} PRIMARY KEY"
    place = "feed text PRIMARY KEY, election text NOT NULL, sequence bigint NOT NULL"
    return [
        f"CREATE TABLE IF NOT EXISTS {FOLLOWED} ({place})",
        f"CREATE TABLE IF NOT EXISTS {CHANGES[feed]} ({columns})",
        f"CREATE TABLE IF NOT EXISTS {STANDS[feed]} ({key}, sequence bigint NOT NULL, {stands})",
    ]


def add_change(feed: Feed) -> str:
    """Adds a change; its parameters are the row."""
    columns = COLUMNS[feed]
    return f"INSERT INTO {CHANGES[feed]} ({', '.join(columns)}) VALUES ({_numbered(columns)})"  # noqa: S608


def put_stand(feed: Feed) -> str:
    """Says where somebody stands; its parameters are those of `stand_row`."""
    columns = (feed.key, "sequence", *STAND_COLUMNS[feed])
    updates = ", ".join(f"{name} = excluded.{name}" for name in columns[1:])
    return (
        f"INSERT INTO {STANDS[feed]} ({', '.join(columns)}) VALUES ({_numbered(columns)})"  # noqa: S608
        f" ON CONFLICT ({feed.key}) DO UPDATE SET {updates}"
    )


def drop_stand(feed: Feed) -> str:
    """Says that somebody stands nowhere; its parameter is who."""
    return f"DELETE FROM {STANDS[feed]} WHERE {feed.key} = $1"  # noqa: S608


def read_stands(feed: Feed) -> str:
    """Where everybody stands: who, and the columns of a stand."""
    return f"SELECT {', '.join((feed.key, *STAND_COLUMNS[feed]))} FROM {STANDS[feed]}"  # noqa: S608


def stand_of(feed: Feed, values: Sequence[Any]) -> Stand:
    """A stand from its columns."""
    return Counts(*values) if feed is Feed.VILLAGES else str(values[0])


def last_of_each(changes: Iterable[Change]) -> dict[str, Change]:
    """The last change of everybody concerned."""
    return {change.key: change for change in changes}


def stand_rows(changes: Iterable[Change]) -> list[tuple[Any, ...]]:
    """The rows of those who stand somewhere."""
    return [
        (change.key, change.sequence, *_stand_values(change.after))
        for change in changes
        if change.after is not None
    ]


def leavers(changes: Iterable[Change]) -> list[tuple[str]]:
    """Those who stand nowhere any more."""
    return [(change.key,) for change in changes if change.after is None]


def _stand_values(stand: Stand) -> Sequence[Any]:
    return stand if isinstance(stand, Counts) else (stand,)


def _numbered(columns: Sequence[str]) -> str:
    return ", ".join(f"${number}" for number in range(1, len(columns) + 1))
