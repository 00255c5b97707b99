"""The hash chain as the registry writes it, and as the migration begins it, on PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy.ext.asyncio import AsyncConnection

from migrations.upgrading import HERE, upgrade
from shared.database import create_engine
from shared.event_log import last_position, read_log
from shared.log_chain import GENESIS, extend, read_links
from tests.integration.test_registry import Registry, niks, send, serving
from tests.support.builders import recorded, registered
from tests.support.parts import Parts

OLDER = "cacah_of_before_the_chain"
OLD_LOG = """
    INSERT INTO registry.log SELECT n, '2024-06-01T02:00:00Z'::timestamptz + n * interval '7 us',
        'id.dukcapil.ktp.failed', 1, '2024-06-01T09:00:00+07:00', 'urn:dukcapil:station:KRC-01',
        'é-' || n, gen_random_uuid(), '{"reason": "other" }'
    FROM generate_series(1, 12000) n;
    UPDATE registry.head SET position = 12000
"""
CHANGE = "UPDATE registry.log SET recorded_at = recorded_at + interval '1 us'"


@pytest.fixture
async def registry(parts: Parts, database: str, topics: None) -> AsyncIterator[Registry]:
    async with serving(parts, database) as client:
        yield client


async def folds(connection: AsyncConnection) -> list[int]:
    """The positions of the links, after holding each root against the log, to its end."""
    root, after, positions = GENESIS, 0, []
    for link in await read_links(connection, 0, 1_000):
        root = extend(root, await read_log(connection, after, 10_000, link.position))
        assert root == link.root, link.position
        after = link.position
        positions.append(after)
    assert after == await last_position(connection)
    return positions


async def test_each_append_leaves_a_link_that_covers_its_rows_as_they_are_read_back(
    registry: Registry, parts: Parts, database: str
) -> None:
    await send(registry, registered(id="é"), *map(registered, niks(9, 2)))
    await send(registry, registered())
    await send(registry, recorded(time="2024-06-01T09:00:00.1234567+07:00"))
    assert await _links_of(parts.url(database)) == [10, 11]


async def test_the_chain_holds_however_many_clients_and_processes_append(
    parts: Parts, database: str, topics: None
) -> None:
    people = niks(200)
    async with serving(parts, database) as one, serving(parts, database) as other:
        await asyncio.gather(
            *(
                send((one, other)[start % 20 // 10], *map(registered, people[start : start + 10]))
                for start in range(0, 200, 10)
            )
        )
    assert (await _links_of(parts.url(database)))[-1] == 200


async def test_a_row_that_was_changed_no_longer_fits_its_link(
    registry: Registry, parts: Parts, database: str
) -> None:
    await send(registry, registered())
    engine = create_engine(parts.url(database))
    async with engine.connect() as connection:
        (link,) = await read_links(connection, 0, 10)
        (entry,) = await read_log(connection, 0, 10)
        assert extend(GENESIS, [entry]) == link.root
        await _execute(parts.dsn(database), CHANGE)
        await connection.rollback()
        assert extend(GENESIS, await read_log(connection, 0, 10)) != link.root
    await engine.dispose()


async def test_what_was_appended_without_a_link_is_given_one_with_the_next(
    registry: Registry, parts: Parts, database: str
) -> None:
    await send(registry, *map(registered, niks(3)))
    await _execute(parts.dsn(database), "DELETE FROM registry.chain")
    await send(registry, *map(recorded, niks(2)))
    assert await _links_of(parts.url(database)) == [3, 5]


def test_the_migration_chains_the_log_that_is_there(parts: Parts) -> None:
    asyncio.run(_execute(parts.admin_dsn, f"CREATE DATABASE {OLDER}"))
    try:
        _migrate(parts.url(OLDER), "0006")
        asyncio.run(_execute(parts.dsn(OLDER), OLD_LOG))
        upgrade(parts.url(OLDER))
        assert asyncio.run(_links_of(parts.url(OLDER))) == [5_000, 10_000, 12_000]
    finally:
        asyncio.run(_execute(parts.admin_dsn, f"DROP DATABASE {OLDER} WITH (FORCE)"))


def _migrate(url: str, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(HERE))
    config.attributes["url"] = url
    command.upgrade(config, revision)


async def _execute(dsn: str, statements: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(statements)
    finally:
        await connection.close()


async def _links_of(url: str) -> list[int]:
    engine = create_engine(url)
    try:
        async with engine.connect() as connection:
            return await folds(connection)
    finally:
        await engine.dispose()
