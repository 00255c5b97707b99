"""A whole running system, with an account of everything that was ever sent to it."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

import httpx

from cli.stack import Stack
from tests.support.driving import client
from tests.support.reckoning import Ledger

SERVICES: Final = ("registry", "projections", "notifier")
READY_WITHIN_S: Final = 90.0
POLL_S: Final = 0.1


@dataclass
class System:
    """The stack, a client of each of its services, and the ledger."""

    stack: Stack
    ledger: Ledger
    registry: httpx.AsyncClient
    projections: httpx.AsyncClient
    notifier: httpx.AsyncClient

    async def until_ready(self) -> float:
        """Wait until each service says by itself that it is ready; the seconds it took."""
        began = time.monotonic()
        async with asyncio.timeout(READY_WITHIN_S):
            for http in (self.registry, self.projections, self.notifier):
                while not await _is_ready(http):
                    await asyncio.sleep(POLL_S)
        return time.monotonic() - began


async def _is_ready(http: httpx.AsyncClient) -> bool:
    try:
        return (await http.get("/readyz")).status_code == 200
    except httpx.TransportError:
        return False


@contextlib.asynccontextmanager
async def observed(stack: Stack) -> AsyncIterator[System]:
    """A running stack as a system under test."""
    async with contextlib.AsyncExitStack() as clients:
        registry, projections, notifier = [
            await clients.enter_async_context(client(stack.urls[name], stack.operator_token))
            for name in SERVICES
        ]
        yield System(stack, Ledger(), registry, projections, notifier)
