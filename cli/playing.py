"""One performance of the demo on a running system: send, watch, settle, prove."""

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import httpx
import orjson

from cli.kpu_book import keep
from cli.proofs import LogAudit, Proof, proof_of_account, proof_of_changes, proof_of_tallies
from cli.sending import Order, unpacked
from cli.watching import Doors, Scene, VillageRow, tallies_of, watch

ELECTION: Final = "pilkada-2024"

LOG_PAGE: Final = 10_000
SETTLE_WITHIN_S: Final = 60.0
SETTLE_LOOK_S: Final = 0.05
ASK_AGAIN_S: Final = 0.3
# The last report carries the outcome of every event, packed.
LONGEST_REPORT_BYTES: Final = 64 * 1024 * 1024
SENDER_ENDS_WITHIN_S: Final = 3.0

_CHECKOUT: Final = Path(__file__).resolve().parents[1]

Draw = Callable[[Scene], None]
Answer = TypeVar("Answer")


class PlayError(Exception):
    """The performance cannot go on; the message says why."""


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the three services answer, and the tokens of an operator and of KPU."""

    registry: str
    projections: str
    notifier: str
    operator_token: str
    kpu_token: str


@dataclass(frozen=True, slots=True)
class Ending:
    """The proofs, whether KPU had everything in the end, and how long after the last answer."""

    proofs: list[Proof]
    complete: bool
    settled_after_s: float


@asynccontextmanager
async def doors_to(addresses: Addresses) -> AsyncIterator[Doors]:
    """Clients of the services, closed at the end."""
    kpu = {"Authorization": f"Bearer {addresses.kpu_token}"}
    operator = {"Authorization": f"Bearer {addresses.operator_token}"}
    async with AsyncExitStack() as clients:

        async def client(url: str, headers: dict[str, str]) -> httpx.AsyncClient:
            opened = httpx.AsyncClient(base_url=url, headers=headers, timeout=15.0)
            return await clients.enter_async_context(opened)

        yield Doors(
            registry=await client(addresses.registry, operator),
            projections=await client(addresses.projections, kpu),
            notifier=await client(addresses.notifier, kpu),
            election=ELECTION,
        )


async def play(order: Order, doors: Doors, scene: Scene, draw: Draw, every_s: float) -> Ending:
    """Send everything while showing it, and prove it at the end. Raises PlayError."""
    behind_the_scene: list[asyncio.Task[None]] = [
        asyncio.create_task(keep(scene.book, doors.notifier, ELECTION)),
        asyncio.create_task(watch(scene, doors)),
        asyncio.create_task(_draw_often(scene, draw, every_s)),
    ]
    performance = asyncio.create_task(_perform(order, doors, scene))
    everything: list[asyncio.Task[Any]] = [performance, *behind_the_scene]
    try:
        await asyncio.wait(everything, return_when=asyncio.FIRST_COMPLETED)
        for task in behind_the_scene:
            if task.done():
                task.result()
        ending = await performance
        draw(scene)
    finally:
        for task in everything:
            task.cancel()
        await asyncio.gather(*everything, return_exceptions=True)
    return ending


async def _draw_often(scene: Scene, draw: Draw, every_s: float) -> None:
    while True:
        draw(scene)
        await asyncio.sleep(every_s)


async def _perform(order: Order, doors: Doors, scene: Scene) -> Ending:
    scene.begin()
    outcomes = await _send(order, scene)
    scene.ended_at = time.monotonic()
    villages = await _settle(scene, doors)
    settled_after_s = time.monotonic() - scene.ended_at
    audit = await _audit(scene, doors, outcomes)
    counted = tallies_of(villages)
    proofs = [
        proof_of_tallies(scene.expected, counted),
        proof_of_changes(scene.book, counted),
        proof_of_account(scene.expected, scene.counts, audit),
    ]
    return Ending(proofs, scene.book.equals(counted), settled_after_s)


async def _send(order: Order, scene: Scene) -> dict[str, bytes]:
    """Run the senders to their end; what became of each event, by station. Raises PlayError."""
    async with _sender() as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(order.written())
        await process.stdin.drain()
        async for line in process.stdout:
            report: dict[str, Any] = orjson.loads(line)
            if "failed" in report:
                raise PlayError(f"A station could not send: {report['failed']}")
            scene.progress(report["counts"])
            if "outcomes" in report:
                return {code: unpacked(text) for code, text in report["outcomes"].items()}
    raise PlayError("The sending stations ended before they were done.")


@asynccontextmanager
async def _sender() -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "cli.sending"),
        env={**os.environ, "PYTHONPATH": str(_CHECKOUT)},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=LONGEST_REPORT_BYTES,
        # Its own session: Ctrl-C is for the demo alone, which then ends its senders.
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _settle(scene: Scene, doors: Doors) -> dict[str, VillageRow]:
    """Wait until everything sent is counted and KPU has it, or the time for it is over; what is
    missing then, the proofs will say."""
    deadline = time.monotonic() + SETTLE_WITHIN_S
    scene.log_last = await _insist(doors.log_last, deadline)
    with contextlib.suppress(PlayError):
        await _insist(lambda: doors.villages(min_position=scene.log_last), deadline)
    scene.counted_up_to, scene.villages = await _insist(doors.villages, deadline)
    villages, tallies = scene.villages, scene.tallies()
    while not scene.book.equals(tallies) and not scene.book.faults:
        if time.monotonic() > deadline:
            break
        await asyncio.sleep(SETTLE_LOOK_S)
    return villages


async def _insist(ask: Callable[[], Awaitable[Answer]], deadline: float) -> Answer:
    """Ask until there is an answer; a service may be starting again. Raises PlayError."""
    while True:
        try:
            return await ask()
        except httpx.HTTPStatusError as error:
            reason = f"{error.request.url.path} answered {error.response.status_code}"
        except httpx.HTTPError as error:
            reason = f"{type(error).__name__}"
        if time.monotonic() > deadline:
            raise PlayError(f"A service did not do its part within a minute: {reason}.")
        await asyncio.sleep(ASK_AGAIN_S)


async def _audit(scene: Scene, doors: Doors, outcomes: dict[str, bytes]) -> LogAudit:
    """Read the whole log once, page by page."""
    audit = LogAudit(outcomes)
    deadline = time.monotonic() + SETTLE_WITHIN_S
    while page := await _insist(lambda: doors.log_page(audit.last, LOG_PAGE), deadline):
        audit.read(page)
        scene.audited = audit.last
    return audit
