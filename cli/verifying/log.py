"""The log: positions without a gap, times that never go back, and the hash chain over the rows."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from cli.verifying import counter
from cli.verifying.proof import RESTORE, Proof, difference
from cli.verifying.snapshot import CURSOR_ROWS, Connection, Snapshot, reading
from shared.events.records import LogEntry
from shared.log_chain import GENESIS, Link, digest

NAME: Final = "log"

ENTRIES: Final = (
    "SELECT position, recorded_at, type, version, time, source, event_id, resident_id, data::text"
    " FROM registry.log WHERE position > $1 ORDER BY position"
)
_LINKS: Final = "SELECT position, root FROM registry.chain WHERE position > $1 ORDER BY position"
_LINK_BEFORE: Final = (
    "SELECT position, root FROM registry.chain WHERE position <= $1 ORDER BY position DESC LIMIT 1"
)
_HEAD: Final = "SELECT position, recorded_at FROM registry.head"
_LINKS_SHOWN: Final = 16


@dataclass(slots=True)
class Walk:
    """A walk along the log from a link on: each entry and each link in its turn; `ahead` is the
    next link, where there is one."""

    link: Link
    position: int = 0
    recorded_at: datetime | None = None
    links: int = 0
    ahead: Link | None = None
    _batch: Any = field(init=False)

    def __post_init__(self) -> None:
        self.position = self.link.position
        # As shared.log_chain.extend, an entry at a time: a link may be missing for very long.
        self._batch = hashlib.sha256(self.link.root)

    def enter(self, entry: LogEntry) -> str | None:
        """Go on to the next entry; what is wrong with it."""
        if entry.position != self.position + 1:
            return _hole(self.position, entry.position)
        if self.recorded_at is not None and entry.recorded_at < self.recorded_at:
            return f"position {entry.position} was recorded before the one before it"
        self.position, self.recorded_at = entry.position, entry.recorded_at
        self._batch.update(digest(entry))
        return None

    def hold(self, link: Link) -> str | None:
        """Hold the root of a link, whose last entry was just entered, against the rows."""
        root = self._batch.digest()
        if root != link.root:
            return (
                f"the rows of positions {self.link.position + 1} to {link.position} do not give"
                f" the root of the hash chain at {link.position}: a row, or the root, was changed"
            )
        self.link, self.links = link, self.links + 1
        self._batch = hashlib.sha256(root)
        return None

    def end(self, head: int, head_recorded_at: datetime) -> str | None:
        """After the last entry; what is wrong with the end."""
        if self.position < head:
            return (
                f"position {self.position + 1} is missing: the log's head says that it has {head}"
            )
        if self.position > head:
            return (
                f"position {head + 1} is in the log, but the log's head says that it ends at {head}"
            )
        if self.ahead is not None:
            return (
                f"the hash chain has a link at {self.ahead.position}, where the log has no position"
            )
        if self.link.position < self.position:
            return (
                f"position {self.link.position + 1} and what follows has no link of the hash chain"
            )
        if self.recorded_at is not None and head_recorded_at < self.recorded_at:
            return f"the log's head was moved before position {head} was recorded"
        return None


def _hole(last: int, found: int) -> str:
    if found == last + 2:
        return f"position {last + 1} is missing: {found} follows {last}"
    return f"positions {last + 1} to {found - 1} are missing: {found} follows {last}"


def prove_log(snapshot: Snapshot, since: int = 0) -> Proof:
    """Read the whole log, or what came after the last link at or before a position."""
    return asyncio.run(_prove(snapshot, since))


async def _prove(snapshot: Snapshot, since: int) -> Proof:
    async with reading(snapshot) as connection, reading(snapshot) as other:
        found = await connection.fetchrow(_LINK_BEFORE, since) if since else None
        began = Link(*found) if found else Link(0, GENESIS)
        walk = Walk(began)
        fault = await _walk(walk, connection, other)
        if fault is None:
            head = await connection.fetchrow(_HEAD)
            fault = walk.end(*head) if head else "the log's head is gone: nothing can be appended"
    return Proof(NAME, _figures(began, walk), fault and difference(fault, RESTORE))


def _figures(began: Link, walk: Walk) -> str:
    held = f"{walk.links:,} links of the hash chain hold, the last is {_shown(walk.link)}"
    if began.position:
        read = f"positions {began.position + 1:,} to {walk.position:,} without a gap"
        return f"{read} since the root {_shown(began)}, {held}"
    return f"{walk.position:,} positions without a gap, {held}"


def _shown(link: Link) -> str:
    return f"{link.root.hex()[:_LINKS_SHOWN]}… at {link.position:,}"


async def _walk(walk: Walk, connection: Connection, other: Connection) -> str | None:
    links = _links(other, walk.position)
    link = await anext(links, None)
    cursor = await connection.cursor(ENTRIES, walk.position)
    while rows := await cursor.fetch(CURSOR_ROWS):
        for row in rows:
            fault = walk.enter(LogEntry(*row))
            if fault is None and link is not None and link.position == walk.position:
                fault = walk.hold(link)
                link = await anext(links, None)
            if fault is not None:
                return fault
        counter.add(len(rows))
    walk.ahead = link
    return None


async def _links(connection: Connection, after: int) -> AsyncIterator[Link]:
    cursor = await connection.cursor(_LINKS, after)
    while rows := await cursor.fetch(CURSOR_ROWS):
        for row in rows:
            yield Link(*row)
