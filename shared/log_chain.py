"""The hash chain over the event log: that no row changed since is provable from one root.

A *link* stands after each batch of entries that were committed together. Its root covers the
root before it and every column of every entry since, so a row that was changed, dropped or
slipped in, and a link that was, make every later root wrong. Whoever has written down a root
elsewhere can check the log up to it against the whole office, whoever holds the database.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from struct import Struct
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from shared.database import driver_of
from shared.events.records import LogEntry

# The root before the first link.
GENESIS: Final = bytes(32)

_LENGTH: Final = Struct(">I").pack
_TIME_FORMAT: Final = "microseconds"

_READ = "SELECT position, root FROM registry.chain WHERE position > $1 ORDER BY position LIMIT $2"


@dataclass(frozen=True, slots=True)
class Link:
    """The root of the chain at a log position, that of the batch's last entry."""

    position: int
    root: bytes


def extend(root: bytes, entries: Iterable[LogEntry]) -> bytes:
    """The root after a batch: SHA-256 of the root before it and each entry's digest, in order."""
    return link(root, map(digest, entries))


def link(root: bytes, digests: Iterable[bytes]) -> bytes:
    """The root after the entries of these digests."""
    return hashlib.sha256(root + b"".join(digests)).digest()


def digest(entry: LogEntry) -> bytes:
    """SHA-256 of an entry's nine columns in the table's order, each behind its length in bytes.

    A length is 4 bytes, the highest first; columns are UTF-8 text: whole numbers in decimal,
    `recorded_at` in UTC as `2024-06-01T02:00:00.000000+00:00`, the UUID with its dashes, and the
    others, `data` too, as they are stored.
    """
    columns = (
        str(entry.position),
        _in_utc(entry.recorded_at),
        entry.type,
        str(entry.version),
        entry.time,
        entry.source,
        entry.id,
        str(entry.resident_id),
        entry.data,
    )
    parts: list[bytes] = []
    for column in columns:
        written = column.encode()
        parts += (_LENGTH(len(written)), written)
    return hashlib.sha256(b"".join(parts)).digest()


# A batch has one of them.
@lru_cache(8)
def _in_utc(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec=_TIME_FORMAT)


async def read_links(connection: AsyncConnection, after: int, limit: int) -> list[Link]:
    """The links beyond a position, in order, at most `limit`."""
    driver = await driver_of(connection)
    return [Link(*row) for row in await driver.fetch(_READ, after, limit)]
