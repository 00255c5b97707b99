"""`cacah verify`: proves from the log alone that all that was made of it is right."""

import asyncio
import os
from concurrent.futures import BrokenExecutor
from datetime import datetime
from pathlib import Path
from typing import Annotated, Final

import asyncpg
import typer
from aiokafka.errors import KafkaError
from rich.console import Console

from cli.database import DATABASE_SETTING, running_stack
from cli.stack import StackError
from cli.stack.postgres import database_url
from cli.verifying.running import Screen, Servers, run, run_since, workers
from cli.verifying.screen import Shown
from cli.verifying.snapshot import HEAD, connected
from cli.verifying.waiting import settle
from shared.database import plain_dsn

KAFKA_SETTING: Final = "CACAH_KAFKA_BOOTSTRAP"

DIFFERS: Final = 1
COULD_NOT_RUN: Final = 2
WAIT_S: Final = 20.0

_RECORDED_BY: Final = "SELECT coalesce(max(position), 0) FROM registry.log WHERE recorded_at <= $1"
_LIES_AHEAD: Final = "SELECT $1::timestamptz > now()"

_AWAY: Final = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    KafkaError,
    OSError,
    TimeoutError,
    BrokenExecutor,
    StackError,
)


def verify(
    since: Annotated[
        str | None,
        typer.Option(
            metavar="P|TIME",
            help="Prove the log alone, from the root of the hash chain there on.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Chooses the sampled positions of the history.")] = 1,
    wait: Annotated[
        float, typer.Option(min=0, help="Seconds to wait for what is on its way.")
    ] = WAIT_S,
    home: Annotated[Path | None, typer.Option(help="The home of a running stack.")] = None,
) -> None:
    """Recompute everything from the log and compare: one line for each proof.

    Ends with 1 where something differs, and with 2 where it could not be proved. Nothing is
    written, and events may go on arriving.
    """
    try:
        holds = asyncio.run(_verify(_servers(home, since is not None), since, seed, wait))
    except _AWAY as error:
        typer.echo(f"cacah verify could not go on: {_sentence(error)}", err=True)
        raise typer.Exit(COULD_NOT_RUN) from None
    if not holds:
        raise typer.Exit(DIFFERS)


async def _verify(servers: Servers, since: str | None, seed: int, wait_s: float) -> bool:
    with Shown(Console(highlight=False)) as shown, workers() as readers:
        screen = Screen(shown.begin, shown.tell, shown.expect)
        if since is not None:
            return await run_since(servers, await _position(servers, since), screen, readers)
        screen.begin("waiting for what is on its way")
        await settle(servers.dsn, wait_s)
        return await run(servers, seed, wait_s, screen, readers)


async def _position(servers: Servers, since: str) -> int:
    """The position that is meant: for a time, the last one recorded by then."""
    async with connected(servers.dsn) as connection:
        if not since.isascii() or not since.isdecimal():
            moment = _moment(since)
            if await connection.fetchval(_LIES_AHEAD, moment):
                raise _refused("lies in the future; nothing was recorded since")
            return int(await connection.fetchval(_RECORDED_BY, moment))
        head = int(await connection.fetchval(HEAD))
    if len(since) > len(str(head)) or int(since) > head:
        raise _refused(f"lies beyond the end of the log, which is {head}")
    return int(since)


def _moment(since: str) -> datetime:
    try:
        moment = datetime.fromisoformat(since)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise _refused(
            "is neither a log position nor a time with an offset, such as 2024-06-24T12:00:00+07:00"
        )
    return moment


def _refused(why: str) -> StackError:
    return StackError(f"--since {why}")


def _sentence(error: BaseException) -> str:
    """What hinders, and what to do about it."""
    if isinstance(error, StackError):
        return str(error)
    said = (str(error).splitlines() or [""])[0]
    what = f"{type(error).__name__}: {said}" if said else type(error).__name__
    return f"{what}; see that PostgreSQL and Kafka are running, with `cacah up`, and try again"


def _servers(home: Path | None, is_log_alone: bool) -> Servers:
    """Those that the environment names, else those of the stack that runs in the home.

    Each of the two may be named; that of `is_log_alone` needs no Kafka. Raises StackError when
    one is not named and no stack runs there.
    """
    named = home is None
    database = os.environ.get(DATABASE_SETTING) if named else None
    bootstrap = os.environ.get(KAFKA_SETTING) if named else None
    if database and (bootstrap or is_log_alone):
        return Servers(plain_dsn(database), bootstrap or "")
    missing = KAFKA_SETTING if database else f"{DATABASE_SETTING} and {KAFKA_SETTING}"
    settings = running_stack(home, missing)
    return Servers(
        plain_dsn(database) if database else database_url(settings, driver=""),
        bootstrap or f"127.0.0.1:{settings.kafka_port}",
    )
