"""Changes for a person: printed line by line where there is no terminal, with a cursor or none."""

import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from cli.following.changes import Change, Feed
from cli.following.cursor_file import CursorFile
from cli.following.standing import Standing
from shared.counts import Counts
from shared.regions import regions

# A kill repeats what was printed in this time; a cursor for each line would print slowly.
SAVE_EVERY_S: Final = 0.5


class PrintedTarget:
    """Standard output as a target: what was printed is at most repeated, and never skipped."""

    shown = "standard output"

    def __init__(self, feed: Feed, election: str, cursor: CursorFile | None, lines: bool) -> None:
        self._cursor = cursor
        self._lines = lines
        self._printed = Standing(election, feed)
        self._save_at_s = 0.0
        self._saved = 0

    async def open(self) -> Standing | None:
        found = self._cursor.read() if self._cursor else None
        if found is not None:
            self._have(found)
            self._saved = found.sequence
        return found

    async def begin(self, standing: Standing, snapshot: Sequence[Change]) -> None:
        self._have(standing)
        self._save()

    async def append(self, changes: Sequence[Change]) -> None:
        if self._lines:
            sys.stdout.write("".join(f"{line_of(change)}\n" for change in changes))
            sys.stdout.flush()
        for change in changes:
            self._printed.enter(change)
        if time.monotonic() >= self._save_at_s:
            self._save()

    async def close(self) -> None:
        if self._printed.sequence != self._saved:
            self._save()

    def _have(self, standing: Standing) -> None:
        """Stand there too, in a copy: the follower's may be ahead of what is printed."""
        self._printed = replace(standing, stands=dict(standing.stands))

    def _save(self) -> None:
        if self._cursor is not None:
            self._cursor.write(self._printed)
        self._saved = self._printed.sequence
        self._save_at_s = time.monotonic() + SAVE_EVERY_S


def line_of(change: Change) -> str:
    """A change in one line of words and figures."""
    after = change.after
    if not isinstance(after, Counts):
        return (
            f"{change.sequence} {change.key} {change.members['kind']}"
            f" {change.before or '-'} > {after or '-'} ({change.members['reason']})"
        )
    before = change.before if isinstance(change.before, Counts) else Counts()
    figures = ", ".join(
        f"{name} {getattr(after, name)} ({getattr(after, name) - getattr(before, name):+})"
        for name in Counts._fields
        if getattr(after, name) != getattr(before, name)
    )
    return f"{change.sequence} {change.key} {village_name(change.key)}: {figures}"


def village_name(code: str) -> str:
    """The name of a village, its code where the national list has none."""
    region = regions().get(code)
    return region.name if region else code
