"""One whole system for all end-to-end tests of a run."""

import contextlib
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
        contextlib.ExitStack() as held,
    ):
        with pytest.MonkeyPatch.context() as environment:
            # The tests' receivers of webhooks are on this machine.
            environment.setenv("CACAH_WEBHOOK_ALLOWED_NETWORKS", "127.0.0.0/8")
            running = held.enter_context(Stack(Path(home), ports="free"))
        yield running


@pytest_asyncio.fixture(scope="session")
async def system(stack: Stack) -> AsyncIterator[System]:
    """The running stack and an account of what is sent to it; tests share both."""
    async with observed(stack) as seen:
        yield seen
