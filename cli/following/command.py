"""`cacah follow`: takes KPU's feed over into a file or a database, each change exactly once."""

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import unquote

import typer
from rich.console import Console
from rich.live import Live

from cli.following.changes import Feed
from cli.following.cursor_file import CursorFile
from cli.following.door import Address, find_door
from cli.following.files import CsvFormat, FileTarget, JsonLinesFormat
from cli.following.postgres_target import PostgresTarget
from cli.following.printing import PrintedTarget
from cli.following.running import Follower, Order, PlainLines
from cli.following.scene import Scene
from cli.following.screen import screen
from cli.following.sqlite_target import SqliteTarget
from cli.following.standing import FeedFault
from cli.following.target import Target, TargetAwayError, TargetError
from cli.projections import COULD_NOT_RUN, CannotAskError, Home, TokenFile

TARGET_SETTING: Final = "CACAH_FOLLOW_TO"
NOT_JOINED: Final = 1

SQLITE: Final = "sqlite:///"
POSTGRES: Final = ("postgresql://", "postgres://")

Show = Callable[[Scene], None]
Say = Callable[[str], None]


def follow(
    election: Annotated[str, typer.Argument(help="The election's id, such as pilkada-2024.")],
    voters: Annotated[bool, typer.Option("--voters", help="Persons, not villages.")] = False,
    to: Annotated[
        str | None,
        typer.Option(
            metavar="TARGET",
            help="PATH.csv, PATH.jsonl, sqlite:///PATH or postgresql://…; else"
            f" {TARGET_SETTING}; without either the changes are printed.",
        ),
    ] = None,
    cursor: Annotated[
        Path | None, typer.Option(help="Keeps how far was printed; a target has its own.")
    ] = None,
    snapshot: Annotated[
        bool,
        typer.Option("--snapshot", help="Begin a new target with where the villages stand now."),
    ] = False,
    notifier: Address = None,
    token_file: TokenFile = None,
    home: Home = None,
) -> None:
    """Follow KPU's feed until Ctrl-C, and go on later from where it stopped.

    Ends with 1 where the feed and what was taken over do not join, and with 2 where it cannot run.
    """
    feed, console = Feed.VOTERS if voters else Feed.VILLAGES, Console(highlight=False)
    try:
        if snapshot and voters:
            raise TargetError("--snapshot is of villages: leave it out to have all voters' changes")
        target = _target(to or os.environ.get(TARGET_SETTING), election, feed)
        if target is None:
            kept = CursorFile(cursor, election, feed) if cursor else None
            target = PrintedTarget(feed, election, kept, lines=not console.is_terminal)
        elif cursor is not None:
            raise TargetError("--cursor is for what is printed: a target keeps its own")
        door = find_door(notifier, token_file, home)
        order = Order(election, feed, snapshot)
        _follow(console, partial(Follower, door, order, target), target)
    except FeedFault as fault:
        _end(fault, NOT_JOINED)
    except (CannotAskError, TargetError, TargetAwayError) as error:
        _end(error, COULD_NOT_RUN)
    except BrokenPipeError:
        # Whoever read our lines has enough of them; nothing may be written when we end either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _end(error: Exception, status: int) -> None:
    typer.echo(f"cacah follow: {error}", err=True)
    raise typer.Exit(status) from None


def _target(to: str | None, election: str, feed: Feed) -> Target | None:
    """What the words name, none without words. Raises TargetError."""
    if to is None:
        return None
    if to.startswith(POSTGRES):
        return PostgresTarget(to, election, feed)
    if to.startswith(SQLITE):
        return SqliteTarget(Path(unquote(to.removeprefix(SQLITE))), election, feed)
    path = Path(to)
    if "://" not in to and path.suffix == ".csv":
        return FileTarget(path, election, feed, CsvFormat(feed))
    if "://" not in to and path.suffix == ".jsonl":
        return FileTarget(path, election, feed, JsonLinesFormat(feed))
    raise TargetError(
        "--to is PATH.csv, PATH.jsonl, sqlite:///PATH or postgresql://account@host/database"
    )


def _follow(console: Console, made: Callable[[Show, Say], Follower], target: Target) -> None:
    """Show what happens as well as the output can, and end in order on Ctrl-C and SIGTERM."""
    if console.is_terminal:
        with Live(console=console, auto_refresh=False) as live:
            show = partial(_draw, live)
            follower = made(show, lambda _: None)
            asyncio.run(until_stopped(follower.run()))
            show(follower.scene)
        return
    lines = PlainLines(_say)
    follower = made(_nothing if isinstance(target, PrintedTarget) else lines.show, _say)
    asyncio.run(until_stopped(follower.run()))
    _say(f"stopped after change {follower.scene.standing.sequence}")


async def until_stopped(running: Coroutine[Any, Any, None]) -> None:
    """Run until it ends, or Ctrl-C or SIGTERM ends it in order."""
    task, loop = asyncio.ensure_future(running), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task


def _draw(live: Live, scene: Scene) -> None:
    live.update(screen(scene, *live.console.size), refresh=True)


def _nothing(_: Scene) -> None:
    """Show nothing: what comes is printed."""


def _say(what: str) -> None:
    typer.echo(f"{time.strftime('%H:%M:%S')}  {what}", err=True)
