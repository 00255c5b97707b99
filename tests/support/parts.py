"""The real PostgreSQL and the real Kafka that integration tests run on.

By testcontainers where a Docker engine answers, else by the local stack. Databases are cloned
from one that was migrated once; topics are made anew for each test that asks.
"""

import asyncio
import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Final

import asyncpg
from aiokafka.admin import AIOKafkaAdminClient

from cli.stack import Stack
from shared.topics import TOPICS, ensure_topics

CHECKOUT: Final = Path(__file__).parents[2]
TEMPLATE: Final = "cacah_template"
POSTGRES_IMAGE: Final = "postgres:18"
KAFKA_IMAGE: Final = "apache/kafka:4.3.1"

_numbers = count(1)


@dataclass(frozen=True, slots=True)
class Parts:
    """Where the servers are: `admin_dsn` is a plain libpq address with the right to create."""

    admin_dsn: str
    kafka_bootstrap: str

    def dsn(self, database: str) -> str:
        """The plain address of one database."""
        return self.admin_dsn.rpartition("/")[0] + "/" + database

    def url(self, database: str) -> str:
        """The address of one database as the services take it."""
        return self.dsn(database).replace("postgresql://", "postgresql+asyncpg://", 1)


def docker_answers() -> bool:
    """Whether a Docker engine, and not only its client, is there."""
    try:
        asked = subprocess.run(["docker", "info"], capture_output=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return asked.returncode == 0


@contextlib.contextmanager
def running_parts() -> Iterator[Parts]:
    """Start both servers, and a migrated template database in the one."""
    with _containers() if docker_answers() else _local_stack() as parts:
        asyncio.run(_execute(parts.admin_dsn, f"CREATE DATABASE {TEMPLATE}"))
        migrate(parts.url(TEMPLATE))
        yield parts


def migrate(url: str) -> None:
    subprocess.run(
        [sys.executable, "-m", "migrations"],
        env={**os.environ, "CACAH_DATABASE_URL": url},
        cwd=CHECKOUT,
        check=True,
    )


@contextlib.contextmanager
def _local_stack() -> Iterator[Parts]:
    with (
        tempfile.TemporaryDirectory(prefix="cacah-parts-", ignore_cleanup_errors=True) as home,
        Stack(Path(home), ports="free", parts={"postgres", "kafka"}) as stack,
    ):
        yield Parts(stack.superuser_url, stack.kafka_bootstrap)


@contextlib.contextmanager
def _containers() -> Iterator[Parts]:
    from testcontainers.kafka import KafkaContainer
    from testcontainers.postgres import PostgresContainer

    with (
        PostgresContainer(POSTGRES_IMAGE, driver=None) as postgres,
        KafkaContainer(KAFKA_IMAGE).with_kraft() as kafka,
    ):
        yield Parts(postgres.get_connection_url(), kafka.get_bootstrap_server())


async def _execute(dsn: str, statement: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


@contextlib.contextmanager
def cloned_database(parts: Parts) -> Iterator[str]:
    """A migrated database of the test's own; its name. Call it outside a running event loop."""
    name = f"cacah_{os.getpid()}_{next(_numbers)}"
    asyncio.run(_execute(parts.admin_dsn, f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}"))
    try:
        yield name
    finally:
        asyncio.run(_execute(parts.admin_dsn, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"))


def fresh_topics(parts: Parts) -> None:
    """Make the topics anew, empty; what groups had committed for them is forgotten."""
    asyncio.run(_fresh_topics(parts.kafka_bootstrap))


async def _fresh_topics(bootstrap: str) -> None:
    ours = set(TOPICS)
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    try:
        await admin.start()
        if there := ours & set(await admin.list_topics()):
            await admin.delete_topics(sorted(there))
        async with asyncio.timeout(30):
            while ours & set(await admin.list_topics()):
                await asyncio.sleep(0.05)
    finally:
        await admin.close()
    await ensure_topics(bootstrap)
