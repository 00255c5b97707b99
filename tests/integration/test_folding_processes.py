"""The processes that fold stay warm, end with whoever started them, and may die at any moment."""

import asyncio
import os
import random
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
import pytest

from services.projections import tables
from services.projections.domain.definitions import written_definition
from services.projections.domain.refold import Redefinition
from services.projections.folding import FoldingFailedError, fold_share, shares
from services.projections.warm_processes import WarmProcess, warm_processes
from shared.database import create_engine
from shared.elections import PILKADA_2024
from shared.topics import PARTITIONS
from tests.integration.test_elections import (
    SECOND,
    counted,
    expected,
    folds_begun,
    put,
    put_at,
    until_told,
)
from tests.integration.test_projections import (
    World,
    free_port,
    life_in_the_regency,
    process,
)
from tests.support.parts import Parts
from tests.support.projections_service import PILKADA, Service

WITHIN_S = 30
NO_MARKS = dict.fromkeys(range(PARTITIONS), 0)
MOVED = replace(PILKADA_2024, polling_day=date(2021, 11, 27))


@pytest.fixture
def world(parts: Parts, database: str, topics: None) -> World:
    return World(parts, database)


def folding_processes_of(parent: int) -> list[int]:
    """The processes that fold for another, by their ids."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            status = (path / "stat").read_text().rpartition(")")[2].split()
            command = (path / "cmdline").read_bytes()
        except OSError:
            continue
        if int(status[1]) == parent and status[0] != "Z" and b"projections.folding" in command:
            found.append(int(path.name))
    return found


def lives(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


async def until_warm(parent: int) -> set[int]:
    """The processes that fold for another, once there is one for each core."""
    number = min(4, os.cpu_count() or 1)
    async with asyncio.timeout(WITHIN_S):
        while True:
            found = set(folding_processes_of(parent))
            if len(found) == number:
                return found
            await asyncio.sleep(0.02)


async def until_gone(pids: set[int]) -> None:
    async with asyncio.timeout(WITHIN_S):
        while any(map(lives, pids)):
            await asyncio.sleep(0.02)


async def fold_nobody(world: World, process: WarmProcess) -> dict[str, Any]:
    redefinition = Redefinition(SECOND, None)
    return await fold_share(world.url, 1, shares(1)[0], redefinition, NO_MARKS, process.do)


def pid_of(process: WarmProcess) -> int:
    (pid,) = folding_processes_of(os.getpid())
    return pid


async def test_one_process_does_one_job_after_another(world: World) -> None:
    async with warm_processes(1) as (process,):
        assert await fold_nobody(world, process) == {}
        pid = pid_of(process)
        assert await fold_nobody(world, process) == {}
        assert pid_of(process) == pid
    assert not lives(pid)


async def test_for_one_that_was_killed_another_is_started(world: World) -> None:
    async with warm_processes(1) as (process,):
        await process.warm()
        os.kill(pid_of(process), signal.SIGKILL)
        # It may be asked before anybody knows that it is gone; then this job fails, and no other.
        try:
            await fold_nobody(world, process)
        except FoldingFailedError:
            assert await fold_nobody(world, process) == {}


async def test_a_job_that_is_broken_off_takes_its_process_along(world: World) -> None:
    async with warm_processes(1) as (process,):
        await process.warm()
        pid = pid_of(process)
        asking = asyncio.create_task(fold_nobody(world, process))
        await asyncio.sleep(0.01)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        assert asking.cancelled()
        assert not lives(pid)
        assert await fold_nobody(world, process) == {}


async def test_one_that_fails_in_a_job_says_so_and_the_next_goes_on(world: World) -> None:
    async with warm_processes(1) as (process,):
        with pytest.raises(FoldingFailedError):
            await process.do({"task": "none of ours"})
        assert await fold_nobody(world, process) == {}


async def test_they_are_warm_before_anything_is_put_and_stay_for_the_next(world: World) -> None:
    async with world.service() as service:
        warm = await until_warm(os.getpid())
        await put(service, SECOND, status=201)
        await put(service, replace(SECOND, polling_day=date(2028, 1, 1)))
        assert warm <= set(folding_processes_of(os.getpid()))
    await until_gone(warm)


async def test_killed_at_any_moment_of_a_folding_it_is_done_again(world: World) -> None:
    entries = life_in_the_regency(20_000)
    await world.send(*entries[:15_000])
    chance = random.Random(11)
    async with world.service() as service:
        await service.ready()
        await service.at(15_000)
        await until_warm(os.getpid())
        asking = asyncio.create_task(put(service, MOVED, status=202))
        with answering_within(0.1):
            await asking
        for n in range(3):
            if await begins_or_serves(world, service, n + 1) == "serving":
                break
            await asyncio.sleep(chance.random() * 0.3)
            if there := folding_processes_of(os.getpid()):
                os.kill(chance.choice(there), signal.SIGKILL)
        await world.send(*entries[15_000:])
        await until_it_serves(service)
        tallies = await counted(service, "pilkada-2024", 20_000)
        assert tallies == expected(entries, MOVED)
        await until_told(world, "pilkada-2024", tallies)


@contextmanager
def answering_within(seconds: float) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("services.projections.electing.ANSWER_S", seconds)
        yield


async def state_of(service: Service) -> str:
    return str((await service.http.get(PILKADA)).json()["state"])


async def begins_or_serves(world: World, service: Service, fold: int) -> str:
    """Wait until a folding has begun, or an earlier one was killed too late to need it."""
    async with asyncio.timeout(WITHIN_S):
        while (state := await state_of(service)) != "serving":
            if await folds_begun(world) >= fold:
                break
            await asyncio.sleep(0.005)
    return state


async def until_it_serves(service: Service) -> None:
    async with asyncio.timeout(WITHIN_S):
        while await state_of(service) != "serving":
            await asyncio.sleep(0.05)


async def test_with_the_service_killed_no_process_is_left(world: World) -> None:
    await world.send(*life_in_the_regency(20_000))
    with process(world, free_port()) as running:
        waiting = await until_warm(running.pid)
    await until_gone(waiting)
    with process(world, port := free_port()) as running:
        folding = await until_warm(running.pid)
        asking = asyncio.create_task(put_at(port, MOVED))
        async with asyncio.timeout(WITHIN_S):
            while not await folds_begun(world):
                await asyncio.sleep(0.01)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
    await until_gone(folding)


async def test_differences_rest_while_somebody_waits_for_an_election(world: World) -> None:
    first, second = UUID(int=1), UUID(int=2)
    engine = create_engine(world.url)
    definition = orjson.dumps(written_definition(SECOND)).decode()
    async with engine.begin() as connection:
        await tables.seed_election(connection, PILKADA_2024, [])
        await connection.exec_driver_sql(
            "INSERT INTO projections.voter_differences VALUES (0, $1, 'a'), (0, $2, 'b')",
            (first, second),
        )
        await connection.exec_driver_sql(
            "INSERT INTO projections.voter_outbox VALUES ('pilkada-2024', 0, 7, $1, '{}')",
            (second,),
        )
    told = [await told_of(engine)]
    async with engine.begin() as connection:
        await connection.exec_driver_sql(
            "INSERT INTO projections.puts VALUES ('second', 1, $1)", (definition,)
        )
    told.append(await told_of(engine))
    async with engine.begin() as connection:
        await connection.exec_driver_sql(
            "UPDATE projections.puts SET put_at = now() - interval '61 seconds'"
        )
    told.append(await told_of(engine))
    await engine.dispose()
    # Of whom an event waits, the difference goes with it: it must be told before.
    assert told == [{first, second}, {second}, {first, second}]


async def told_of(engine: Any) -> set[UUID]:
    async with engine.begin() as connection:
        waiting = await tables.voter_outbox(connection, 1_000)
    assert waiting is not None
    assert len(waiting.news) == 1
    return {UUID(str(difference.resident_id)) for difference in waiting.differences}
