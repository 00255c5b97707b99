"""The ring of ready frames, from which every client copies what it does not have."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from services.notifier.feed import ServedChange
from services.notifier.ring import CHUNK_FRAMES, Frame, Ring, frame

SIZE = 4


def frames(first: int, last: int) -> list[Frame]:
    moment = datetime(2024, 8, 20, tzinfo=UTC)
    return [frame(ServedChange(number, moment, b"{}")) for number in range(first, last + 1)]


def sequences(found: list[Frame] | None) -> list[int] | None:
    return None if found is None else [one.sequence for one in found]


def test_a_change_is_an_event_with_its_sequence_as_id() -> None:
    (only,) = frames(7, 7)
    assert only.sent == b"id: 7\nevent: change\ndata: {}\n\n"


def test_a_client_at_the_end_is_given_nothing_and_one_behind_what_it_lacks() -> None:
    ring = Ring(10, SIZE)
    ring.append(frames(11, 13))
    assert sequences(ring.after(13)) == []
    assert sequences(ring.after(11)) == [12, 13]
    assert sequences(ring.after(10)) == [11, 12, 13]


def test_what_the_ring_never_held_is_left_to_the_database() -> None:
    ring = Ring(10, SIZE)
    assert ring.after(9) is None
    assert sequences(ring.after(10)) == []


def test_what_has_left_the_ring_is_left_to_the_database() -> None:
    ring = Ring(0, SIZE)
    ring.append(frames(1, 6))
    assert ring.after(1) is None
    assert sequences(ring.after(2)) == [3, 4, 5, 6]


def test_a_client_ahead_of_this_process_waits_for_it() -> None:
    ring = Ring(10, SIZE)
    assert sequences(ring.after(12)) == []
    ring.append(frames(11, 13))
    assert sequences(ring.after(12)) == [13]


def test_a_client_far_behind_is_given_a_chunk_at_a_time() -> None:
    ring = Ring(0, CHUNK_FRAMES * 2)
    ring.append(frames(1, CHUNK_FRAMES + 5))
    assert sequences(ring.after(0)) == list(range(1, CHUNK_FRAMES + 1))
    assert sequences(ring.after(CHUNK_FRAMES)) == list(range(CHUNK_FRAMES + 1, CHUNK_FRAMES + 6))


def test_a_gap_never_enters_the_ring() -> None:
    ring = Ring(10, SIZE)
    with pytest.raises(AssertionError, match="gap"):
        ring.append(frames(12, 12))


async def wakes(ring: Ring, act: Callable[[], None]) -> bool:
    waiting = asyncio.create_task(ring.grows(wait_s=30))
    await asyncio.sleep(0)
    act()
    done, _ = await asyncio.wait([waiting], timeout=1)
    return waiting in done


async def test_whoever_waits_is_woken_by_new_frames_and_by_the_end() -> None:
    ring = Ring(0, SIZE)
    assert await wakes(ring, lambda: ring.append(frames(1, 1)))
    assert await wakes(ring, ring.release)
