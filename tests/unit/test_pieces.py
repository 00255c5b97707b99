"""Work in pieces, and what is made while somebody else is waited for."""

import asyncio

import pytest

from shared.pieces import PIECE, in_pieces, meanwhile


async def test_things_keep_their_order() -> None:
    assert await in_pieces(str, range(3 * PIECE + 1)) == [str(n) for n in range(3 * PIECE + 1)]
    assert await in_pieces(str, []) == []


async def test_the_loop_goes_on_after_each_piece() -> None:
    done: list[int] = []
    seen: list[int] = []

    async def look() -> None:
        while len(done) < 2 * PIECE:
            seen.append(len(done))
            await asyncio.sleep(0)

    await asyncio.gather(in_pieces(done.append, range(2 * PIECE)), look())
    assert seen == [PIECE]


async def test_work_is_done_while_another_is_waited_for() -> None:
    order: list[str] = []

    async def wait() -> None:
        order.append("asked")
        await asyncio.sleep(0)
        order.append("answered")

    def make(_: int) -> None:
        if "made" not in order:
            order.append("made")

    await meanwhile(wait(), in_pieces(make, range(2 * PIECE)))
    assert order == ["made", "asked", "answered"]


async def test_both_have_ended_however_long_each_takes() -> None:
    ended: list[str] = []

    async def take(name: str, turns: int) -> str:
        for _ in range(turns):
            await asyncio.sleep(0)
        ended.append(name)
        return name

    assert await meanwhile(take("waiting", 9), take("work", 1)) == "work"
    assert await meanwhile(take("waiting", 1), take("work", 9)) == "work"
    assert ended == ["work", "waiting", "waiting", "work"]


async def test_where_the_work_fails_nobody_is_left_waiting() -> None:
    held: list[str] = []

    async def wait() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            held.append("let go")

    async def fail() -> None:
        await asyncio.sleep(0)
        raise ValueError("the work")

    with pytest.raises(ValueError, match="the work"):
        await meanwhile(wait(), fail())
    assert held == ["let go"]


async def test_a_failed_waiting_is_told_once_the_work_is_done() -> None:
    done: list[int] = []

    async def fail() -> None:
        raise OSError("away")

    with pytest.raises(OSError, match="away"):
        await meanwhile(fail(), in_pieces(done.append, range(2 * PIECE)))
    assert len(done) == 2 * PIECE


@pytest.mark.parametrize("turns", [1, 1_000])
async def test_who_is_ended_ends_both(turns: int) -> None:
    ended: list[str] = []

    async def wait() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("waiting")

    async def work() -> None:
        for _ in range(turns):
            await asyncio.sleep(0)

    running = asyncio.create_task(meanwhile(wait(), work()))
    for _ in range(10):
        await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert ended == ["waiting"]
