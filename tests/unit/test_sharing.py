"""While events arrive, shares are worked on one at a time, and with rests between them."""

import asyncio
import time
from itertools import pairwise

import pytest

from services.projections.sharing import Room

WORK_S = 0.02


async def worked(room: Room) -> list[tuple[float, float]]:
    """When each of some shares was worked on by two workers."""
    spans: list[tuple[float, float]] = []

    async def work() -> None:
        for _ in range(3):
            async with room.turn():
                began_s = time.monotonic()
                await asyncio.sleep(WORK_S)
                spans.append((began_s, time.monotonic()))

    await asyncio.gather(work(), work())
    return sorted(spans)


async def test_with_events_arriving_one_works_and_rests_as_long() -> None:
    spans = await worked(Room(events_arrive=True))
    assert len(spans) == 6
    for (began_s, ended_s), (next_s, _) in pairwise(spans):
        assert next_s - ended_s >= ended_s - began_s - 0.001


async def test_without_they_work_at_once() -> None:
    spans = await worked(Room(events_arrive=False))
    assert any(second[0] < first[1] for first, second in pairwise(spans))


async def test_what_fails_gives_its_turn_up() -> None:
    room = Room(events_arrive=True)
    with pytest.raises(ValueError, match="share"):
        async with room.turn():
            raise ValueError("share")
    async with asyncio.timeout(1), room.turn():
        pass
