"""Work on few things is done at once, on many in a thread."""

import threading

import pytest

from shared.apart import FEW, apart


@pytest.mark.parametrize(("things", "is_at_once"), [(0, True), (FEW, True), (FEW + 1, False)])
async def test_only_many_things_take_a_thread(things: int, is_at_once: bool) -> None:
    done_in = await apart(things, threading.get_ident)
    assert (done_in == threading.get_ident()) is is_at_once


@pytest.mark.parametrize("things", [0, FEW + 1])
async def test_what_fails_fails_alike(things: int) -> None:
    def fail() -> None:
        raise ValueError("work")

    with pytest.raises(ValueError, match="work"):
        await apart(things, fail)
