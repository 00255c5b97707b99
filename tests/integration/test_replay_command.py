"""The command `cacah replay` as an operator runs it: what it says, its status, and its end at any
moment."""

import asyncio
import contextlib
import os
import random
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from services.projections.replaying import Stage
from shared.counts import Counts
from shared.elections import PILKADA_2024
from tests.integration.test_elections import counted, expected
from tests.integration.test_projections import World, life_in_the_regency
from tests.integration.test_replaying import execute, history_is, module, no_litter, settled
from tests.support.parts import CHECKOUT, Parts

EVENTS = 20_000
ENTRIES = life_in_the_regency(EVENTS)


@pytest.fixture
def world(parts: Parts, database: str, topics: None) -> World:
    return World(parts, database)


@pytest.fixture
async def counted_world(world: World) -> World:
    """Everything counted, and nobody at work."""
    async with world.service() as service:
        await world.send(*ENTRIES)
        await settled(world, service, ENTRIES)
    return world


@contextlib.asynccontextmanager
async def command(world: World, *words: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cli.main", "replay", *words),
        env={**os.environ, "CACAH_DATABASE_URL": world.url},
        cwd=CHECKOUT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def run(world: World, *words: str) -> tuple[int | None, str, str]:
    """The status, and what was said."""
    async with command(world, *words) as process, asyncio.timeout(120):
        said, complained = await process.communicate()
    return process.returncode, said.decode(), complained.decode()


async def until_stage(process: asyncio.subprocess.Process, stage: Stage) -> None:
    assert process.stdout is not None
    async with asyncio.timeout(60):
        while line := await process.stdout.readline():
            if line.decode().startswith(stage.value):
                return
    raise AssertionError(f"it ended before {stage}")


async def tallies(world: World) -> dict[str, Counts]:
    rows = await world.fetch("SELECT * FROM projections.tallies")
    return {row["village"]: Counts._make(row[name] for name in Counts._fields) for row in rows}


async def serving_fold(world: World) -> int:
    (row,) = await world.fetch("SELECT fold FROM projections.elections")
    return int(row["fold"])


async def test_what_it_says_and_its_status(counted_world: World, tmp_path: Path) -> None:
    world = counted_world
    status, said, _ = await run(world)
    assert status == 0
    last = said.splitlines()[-1]
    assert last.startswith("The new one serves, from position 20,000 on: no village differs.")
    assert (await run(world, "--dry-run"))[0] == 0
    await execute(
        world,
        "UPDATE projections.tallies SET eligible = eligible + 1 WHERE village LIKE '15.01.01%'",
    )
    status, said, _ = await run(world, "--dry-run")
    assert status == 1
    assert "15.01.01.1004" in said
    assert "Nothing was changed." in said
    assert len([line for line in said.splitlines() if line.startswith("pilkada-2024")]) <= 20
    status, said, _ = await run(world, "--undo")
    assert status == 0
    assert "The generation before serves again" in said
    assert await tallies(world) == expected(ENTRIES, PILKADA_2024)
    raising = module(tmp_path, "def is_dead_on(life, day):\n    raise OSError('away')\n")
    status, _, complained = await run(world, "--with", str(raising))
    assert status == 2
    assert "line 2 raised OSError: away (position " in complained
    assert (await run(world, "--undo", "--dry-run"))[0] == 2
    status, _, complained = await run(world, "--home", str(tmp_path / "nowhere"))
    assert status == 2
    assert "no stack runs in" in complained


async def test_killed_at_any_moment_what_served_goes_on_and_the_next_leaves_no_litter(
    counted_world: World,
) -> None:
    world, chance = counted_world, random.Random(6)
    stages = [Stage.FOLDING, Stage.FOLDING, Stage.FOLDING, Stage.INDEXING, Stage.SWITCHING]
    right = expected(ENTRIES, PILKADA_2024)
    for stage in stages:
        async with command(world) as process:
            await until_stage(process, stage)
            await asyncio.sleep(chance.random() * 0.3)
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        assert await tallies(world) == right
        await until_workers_are_gone()
    # Whatever the last one had left, and however soon the next one comes.
    status, _, complained = await run(world)
    assert status == 0, complained
    await no_litter(world)
    await history_is(world, ENTRIES)
    async with world.service() as service:
        assert await counted(service, PILKADA_2024.id, EVENTS) == right


async def test_killed_in_the_middle_of_the_switch_the_old_one_serves(
    counted_world: World,
) -> None:
    world = counted_world
    before = await serving_fold(world)
    reader = await asyncpg.connect(world.parts.dsn(world.database))
    reading = reader.transaction()
    await reading.start()
    await reader.execute("SELECT FROM projections.facts LIMIT 1")
    async with command(world) as process:
        await until_stage(process, Stage.SWITCHING)
        await asyncio.sleep(0.5)
        process.kill()
    await reading.rollback()
    await reader.close()
    assert await serving_fold(world) == before
    assert (await run(world))[0] == 0
    assert await serving_fold(world) > before
    await no_litter(world)


async def test_a_switch_that_cannot_have_the_facts_lets_the_counting_go_on_and_tries_again(
    counted_world: World,
) -> None:
    world = counted_world
    reader = await asyncpg.connect(world.parts.dsn(world.database))
    reading = reader.transaction()
    await reading.start()
    await reader.execute("SELECT FROM projections.facts LIMIT 1")
    async with command(world) as process, asyncio.timeout(60):
        await until_stage(process, Stage.SWITCHING)
        await asyncio.sleep(2.5)
        await reading.rollback()
        await process.communicate()
    await reader.close()
    assert process.returncode == 0
    await no_litter(world)


async def test_a_killed_process_of_its_own_and_ctrl_c_end_it_cleanly(
    counted_world: World,
) -> None:
    world = counted_world
    before = await serving_fold(world)
    async with command(world) as process:
        await until_stage(process, Stage.FOLDING)
        while not (workers := workers_of(process.pid)):
            await asyncio.sleep(0.01)
        os.kill(workers[0], signal.SIGKILL)
        async with asyncio.timeout(30):
            _, complained = await process.communicate()
    assert process.returncode == 2
    assert "ended before its work. What served goes on." in complained.decode()
    await no_litter(world)
    async with command(world) as process:
        await until_stage(process, Stage.FOLDING)
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(30):
            _, complained = await process.communicate()
    assert process.returncode == 130
    assert "Stopped; what served goes on" in complained.decode()
    await no_litter(world)
    await until_workers_are_gone()
    assert await serving_fold(world) == before


async def until_workers_are_gone() -> None:
    async with asyncio.timeout(10):
        while workers_of(None):
            await asyncio.sleep(0.05)


def workers_of(parent: int | None) -> list[int]:
    """The processes that fold for a replay: those of one parent, or those of our test run."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (path / "cmdline").read_bytes().split(b"\0")
            fields = (path / "stat").read_text().rpartition(")")[2].split()
            here = os.readlink(path / "cwd") == str(CHECKOUT)
            folds = b"services.projections.replay_share" in words and fields[0] != "Z"
            if folds and here and parent in (None, int(fields[1])):
                found.append(int(path.name))
    return found
