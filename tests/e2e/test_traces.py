"""A change says when its last event passed each station of its way, where that is asked for."""

import asyncio
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import httpx

from shared.latency import Leg
from tests.support.builders import recorded, registered
from tests.support.driving import Parcel, post
from tests.support.reading import ELECTION, get, read_stream
from tests.support.system import System

WITHIN_S = 10.0
STATIONS = (
    *("received_at", "committed_at", "published_at", "counted_at"),
    *("announced_at", "numbered_at"),
)


async def test_a_change_is_traced_from_its_receipt_to_its_number(system: System) -> None:
    nik, began = "1999992711070001", datetime.now(UTC)
    end = (await get(system.notifier, f"{ELECTION}/changes"))["last"]
    for event in (registered(nik), recorded(nik)):
        system.ledger.note([event])
        await post(system.registry, Parcel([event], single=True))
        end = await told(system, end)
    (plain,) = (await get(system.notifier, f"{ELECTION}/changes", after=end - 1))["changes"]
    query = {"after": end - 1, "trace": "true"}
    (traced,) = (await get(system.notifier, f"{ELECTION}/changes", **query))["changes"]
    trace = traced.pop("trace")
    assert traced == plain
    assert list(trace) == list(STATIONS)
    assert trace["committed_at"] == plain["time"]
    moments = [datetime.fromisoformat(trace[station]) for station in STATIONS]
    assert began < moments[0]
    # Kafka's timestamps have whole milliseconds.
    assert all((b - a).total_seconds() > -0.001 for a, b in pairwise(moments))
    assert moments[-1] < datetime.now(UTC)
    assert await read_stream(system.notifier, end, **query) == [(end, plain | {"trace": trace})]
    assert await read_stream(system.notifier, end, after=end - 1) == [(end, plain)]


async def told(system: System, after: int) -> int:
    """Wait for a change after a sequence; the feed's last."""
    async with asyncio.timeout(WITHIN_S):
        while (last := await last_told(system.notifier)) == after:
            await asyncio.sleep(0.02)
    return last


async def last_told(notifier: httpx.AsyncClient) -> int:
    return int((await get(notifier, f"{ELECTION}/changes", limit=1))["last"])


async def test_each_service_measures_the_legs_that_end_there(system: System) -> None:
    assert await legs(system.registry) == {Leg.COMMITTED, Leg.PUBLISHED}
    assert await legs(system.projections) == {Leg.COUNTED}
    assert {Leg.ANNOUNCED, Leg.NUMBERED} <= await legs(system.notifier)


async def legs(service: Any) -> set[str]:
    lines = (await service.get("/metrics")).text.splitlines()
    counts = [line for line in lines if line.startswith("cacah_leg_seconds_count")]
    assert all(float(line.split()[-1]) > 0 for line in counts)
    return {line.partition('leg="')[2].partition('"')[0] for line in counts}
