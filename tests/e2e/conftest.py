"""One whole system for all end-to-end tests of a run."""

import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from cli.stack import Stack
from tests.support.system import System, observed


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """Everything, from an empty home, on ports of its own."""
    with (
        tempfile.TemporaryDirectory(prefix="cacah-e2e-", ignore_cleanup_errors=True) as home,
        Stack(Path(home), ports="free") as running,
    ):
        yield running


@pytest_asyncio.fixture(scope="session")
async def system(stack: Stack) -> AsyncIterator[System]:
    """The running stack and an account of what is sent to it; tests share both."""
    async with observed(stack) as seen:
        yield seen
