"""Alembic's entry: connect, take the lock that keeps migrations single, run the steps."""

import asyncio
from typing import Final

from alembic import context
from sqlalchemy import Connection, pool, text
from sqlalchemy.ext.asyncio import create_async_engine

# An arbitrary number of our own for pg_advisory_xact_lock.
MIGRATION_LOCK: Final = 0x6361_6361_68


def _run(connection: Connection) -> None:
    context.configure(connection=connection, version_table="schema_version")
    with context.begin_transaction():
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": MIGRATION_LOCK})
        context.run_migrations()


async def _connect_and_run(url: str) -> None:
    engine = create_async_engine(url, poolclass=pool.NullPool)
    async with engine.connect() as connection:
        await connection.run_sync(_run)
        await connection.commit()
    await engine.dispose()


asyncio.run(_connect_and_run(context.config.attributes["url"]))
