"""`cacah follow` and `cacah listen` as the processes that they are, and what targets hold."""

import asyncio
import contextlib
import csv
import json
import os
import random
import signal
import sqlite3
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Final

import asyncpg

from cli.stack.settings import CHECKOUT

WAIT_S: Final = 30.0
POLL_S: Final = 0.05

Row = dict[str, Any]


class CommandProcess:
    """A subcommand of `cacah` that asks a notifier until it is ended."""

    def __init__(self, notifier: str, token: str, *words: str, said: Path) -> None:
        clean = {n: value for n, value in os.environ.items() if not n.startswith("CACAH_")}
        self.environment = clean | {"CACAH_NOTIFIER_URL": notifier, "CACAH_TOKEN": token}
        self._words = words
        self._said = said
        self.printed = said.with_suffix(".out")
        self.process: asyncio.subprocess.Process | None = None
        self.starts = 0

    async def start(self) -> None:
        self.starts += 1
        with self._said.open("ab") as errors, self.printed.open("ab") as output:
            self.process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "cli.main", *self._words),
                env=self.environment,
                cwd=CHECKOUT,
                stdout=output,
                stderr=errors,
            )

    async def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and return the exit status."""
        assert self.process is not None
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)
        return await self.ended()

    async def ended(self) -> int:
        assert self.process is not None
        async with asyncio.timeout(WAIT_S):
            return await self.process.wait()

    async def close(self) -> None:
        if self.process is not None and self.process.returncode is None:
            await self.end(signal.SIGKILL)

    def said(self) -> str:
        """What it wrote to standard error."""
        return self._said.read_text() if self._said.exists() else ""

    async def until_said(self, words: str) -> None:
        await until(lambda: words in self.said(), f"it never said {words!r}", self.said)

    async def die_until(
        self, over: asyncio.Event, chance: random.Random, least_s: float, most_s: float
    ) -> None:
        """Be killed some seconds after it has begun to follow, and be started again: at least
        once, and until it is over."""
        while self.starts == 1 or not over.is_set():
            await self.until_following()
            await asyncio.sleep(chance.uniform(least_s, most_s))
            await self.end(signal.SIGKILL)
            await self.start()

    async def until_following(self) -> None:
        """Wait until what was started last has begun to follow: it ends in order from then on."""
        async with asyncio.timeout(2 * WAIT_S):
            while self.said().count("following the ") < self.starts:
                assert self.process is not None
                assert self.process.returncode is None, f"it ended by itself: {self.said()}"
                await asyncio.sleep(POLL_S)


async def until(
    holds: Callable[[], bool | Awaitable[bool]], about: str, more: Callable[[], str] = str
) -> None:
    """Wait until something holds."""
    try:
        async with asyncio.timeout(WAIT_S):
            while True:
                found = holds()
                if found if isinstance(found, bool) else await found:
                    return
                await asyncio.sleep(POLL_S)
    except TimeoutError:
        raise AssertionError(f"{about}; {more()}") from None


def rows_of_csv(path: Path) -> list[Row]:
    """The rows of a file, counts and numbers as such, for comparing with a feed."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [_numbers(row) for row in csv.DictReader(file)]


def _numbers(row: dict[str, str]) -> Row:
    return {name: int(cell) if cell.isdecimal() else cell or None for name, cell in row.items()}


def rows_of_json_lines(path: Path) -> list[Row]:
    """The changes of a file."""
    return [json.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []


def rows_of_sqlite(path: Path, table: str) -> list[Row]:
    """The rows of a table in its order."""
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.row_factory = sqlite3.Row
        return [dict(row) for row in database.execute(f"SELECT * FROM {table} ORDER BY 1")]


async def rows_of_postgres(dsn: str, table: str) -> list[Row]:
    """The rows of a table in its order; none where there is no such table yet."""
    database = await asyncpg.connect(dsn)
    try:
        return [dict(row) for row in await database.fetch(f"SELECT * FROM {table} ORDER BY 1")]
    except asyncpg.UndefinedTableError:
        return []
    finally:
        await database.close()


def flat(change: Row) -> Row:
    """A village's change of a feed as a row."""
    plain = {name: value for name, value in change.items() if name not in ("before", "after")}
    return plain | {
        f"{when}_{name}": count
        for when in ("before", "after")
        for name, count in change[when].items()
    }


def is_whole(rows: Sequence[Row], last: int) -> bool:
    """Whether the sequences are 1, 2, 3, … up to the last, each once and in order."""
    return [row["sequence"] for row in rows] == list(range(1, last + 1))
