"""PostgreSQL as the services use it: engines, the raw driver for bulk work, waking by NOTIFY."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final

import asyncpg
from sqlalchemy import event, text
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DisconnectionError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection

POOL_SIZE: Final = 8
CONNECT_TIMEOUT_S: Final = 5.0
ANSWER_TIMEOUT_S: Final = 2.0
DRIVER: Final = "postgresql+asyncpg://"

# A host that dies closes no connection, and its locks would stand until TCP gives up, which takes
# hours: PostgreSQL looks after half a minute whether anybody is there.
SESSION_SETTINGS: Final = {
    "application_name": "cacah",
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "4",
    "tcp_user_timeout": "30s",
}


def create_engine(
    url: str, pool_size: int = POOL_SIZE, settings: Mapping[str, str] | None = None
) -> AsyncEngine:
    """An engine whose errors never repeat a statement's parameters: they may be personal.

    `settings` are PostgreSQL's, for each of its sessions; a URL may leave SQLAlchemy's driver out.
    """
    engine = create_async_engine(
        plain_dsn(url).replace("postgresql://", DRIVER, 1),
        pool_size=pool_size,
        max_overflow=4,
        hide_parameters=True,
        connect_args={
            "timeout": CONNECT_TIMEOUT_S,
            "server_settings": {**SESSION_SETTINGS, **(settings or {})},
        },
    )
    event.listen(engine.sync_engine, "checkout", _refuse_closed)
    return engine


def _refuse_closed(
    connection: DBAPIConnection, _: ConnectionPoolEntry, __: PoolProxiedConnection
) -> None:
    """Have the pool open another connection in the place of one that the server has closed.

    asyncpg learns of it from the socket, so this costs nothing; a ping is three round trips on
    every hop from the station to KPU.
    """
    if connection.driver_connection.is_closed():
        raise DisconnectionError


async def driver_of(connection: AsyncConnection) -> "asyncpg.Connection[Any]":
    """The asyncpg connection under a SQLAlchemy one whose transaction has begun: for COPY."""
    raw = await connection.get_raw_connection()
    driver = raw.driver_connection
    assert isinstance(driver, asyncpg.Connection)
    return driver


async def copy_in(
    connection: AsyncConnection,
    schema: str,
    table: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
) -> None:
    """Add rows to a table in bulk, within a transaction that has begun."""
    if rows:
        driver = await driver_of(connection)
        await driver.copy_records_to_table(
            table, schema_name=schema, columns=list(columns), records=rows
        )


async def connect(url: str) -> "asyncpg.Connection[Any]":
    """A connection of asyncpg's own, beside the engine's."""
    return await asyncpg.connect(plain_dsn(url), server_settings=SESSION_SETTINGS)


def plain_dsn(url: str) -> str:
    """The URL for asyncpg itself, without SQLAlchemy's driver name."""
    return url.replace(DRIVER, "postgresql://", 1)


class Woken(asyncio.Event):
    """Set whenever a channel is notified; `lost` once the listening connection is gone."""

    def __init__(self) -> None:
        super().__init__()
        self.lost = False

    def lose(self) -> None:
        self.lost = True
        self.set()


@contextlib.asynccontextmanager
async def listening(url: str, channel: str, ignored: str = "") -> AsyncIterator[Woken]:
    """An event that is set whenever `channel` is notified, but for notifications whose payload is
    `ignored`, or the listening connection is lost.

    A LISTEN connection can die without a word, so whoever waits on the event must also poll.
    """
    woken = Woken()

    def notified(*told: Any) -> None:
        payload = told[-1]
        if not ignored or payload != ignored:
            woken.set()

    connection = await connect(url)
    try:
        connection.add_termination_listener(lambda *_: woken.lose())
        await connection.add_listener(channel, notified)
        yield woken
    finally:
        with contextlib.suppress(Exception):
            await connection.close(timeout=2)


async def wait_for(woken: asyncio.Event, poll_s: float) -> None:
    """Wait until the event is set or the poll is due, and clear it."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(poll_s):
            await woken.wait()
    woken.clear()


async def database_answers(engine: AsyncEngine) -> bool:
    """Whether PostgreSQL answers a query within two seconds."""
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT_S), engine.connect() as connection:
            await connection.execute(text("SELECT 1"))
    except (SQLAlchemyError, OSError, TimeoutError, asyncpg.PostgresError):
        return False
    return True
