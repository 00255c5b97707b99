"""While events arrive, one process works on shares one at a time, and rests between them."""

import asyncio
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from itertools import pairwise

import pytest

from services.projections import sharing
from services.projections.folding import shares
from services.projections.sharing import Answer, Room, work_through

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


async def test_with_events_arriving_one_works_and_rests_twice_as_long() -> None:
    spans = await worked(Room(events_arrive=True))
    assert len(spans) == 6
    for (began_s, ended_s), (next_s, _) in pairwise(spans):
        assert next_s - ended_s >= 2 * (ended_s - began_s) - 0.001


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


@pytest.fixture(autouse=True)
def of_two_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing, "processes", lambda: 2)


async def given(room: Room, on_answer: Callable[[Answer], None] = lambda _: None) -> list[int]:
    """How many of ten shares each process was given."""
    answers = await work_through("tests.support.share_process", {}, shares(10), room, on_answer)
    return [answer["given"] for answer in answers]


async def test_with_events_arriving_one_process_is_started() -> None:
    assert await given(Room(events_arrive=True)) == [10]


async def test_without_all_are_and_every_share_is_given_once() -> None:
    each = await given(Room(events_arrive=False))
    assert len(each) == 2
    assert sum(each) == 10


async def test_once_none_arrive_another_joins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing, "LOOK_EVERY_S", 0.001)
    room, joined = Room(events_arrive=True), asyncio.Event()
    begin = sharing._process

    def process(module: str) -> AbstractAsyncContextManager[asyncio.subprocess.Process]:
        if not room.events_arrive:
            joined.set()
        return begin(module)

    def on_answer(_: Answer) -> None:
        room.events_arrive = False

    monkeypatch.setattr(sharing, "_process", process)
    assert sum(await given(room, on_answer)) == 10
    assert joined.is_set()
