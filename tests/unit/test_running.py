"""A service's parts are begun anew however they fail, and end when they are told to."""

import asyncio

import pytest

from shared import running
from shared.running import for_ever

WITHIN_S = 5.0


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "RETRY_S", 0.0)
    monkeypatch.setattr(running, "ENDING_S", 0.05)


class FailedError(Exception):
    pass


async def fails() -> None:
    raise FailedError


async def fails_within_a_group() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(fails())


async def is_cancelled_from_within() -> None:
    raise asyncio.CancelledError


async def ends() -> None:
    return


@pytest.mark.parametrize("attempt", [fails, fails_within_a_group, is_cancelled_from_within, ends])
async def test_a_part_is_begun_anew_however_it_ended(attempt: running.Part) -> None:
    begun = 0
    third = asyncio.Event()

    async def part() -> None:
        nonlocal begun
        begun += 1
        if begun == 3:
            third.set()
            await for_ever()
        await attempt()

    told: list[str] = []
    async with (
        asyncio.timeout(WITHIN_S),
        running.running({"working": part}, lambda what, _: told.append(what)),
    ):
        await third.wait()
    assert told == ([] if attempt is ends else ["working"] * 2)


async def test_one_that_fails_leaves_the_others_alone() -> None:
    began = asyncio.Event()

    async def works() -> None:
        began.set()
        await for_ever()

    async with asyncio.timeout(WITHIN_S), running.running({"failing": fails, "working": works}):
        await began.wait()
        began.clear()
        await asyncio.sleep(0.01)
        assert not began.is_set()


async def test_one_that_did_not_hear_that_it_must_end_is_told_again() -> None:
    heard = 0

    async def hard_of_hearing() -> None:
        nonlocal heard
        while heard < 2:
            try:
                await for_ever()
            except asyncio.CancelledError:
                heard += 1
        raise FailedError

    told: list[str] = []
    async with (
        asyncio.timeout(WITHIN_S),
        running.running({"working": hard_of_hearing}, lambda what, _: told.append(what)),
    ):
        await asyncio.sleep(0)
    assert (heard, told) == (2, [])
