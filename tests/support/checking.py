"""The whole of a system at rest, held against the slow model through every door."""

import asyncio
import json
from collections.abc import Iterable, Sequence
from typing import Any, Final

from shared.topics import POPULATION_EVENTS
from tests.support.driving import CLIENTS, Parcel, Sent, play
from tests.support.histories import Event
from tests.support.reading import (
    ELECTION,
    counted,
    counted_csv,
    get,
    read_changes,
    read_identities,
    read_log,
    read_stream,
    read_topic,
)
from tests.support.reckoning import (
    as_csv,
    check_changes,
    district_rows,
    tallied,
    village_rows,
)
from tests.support.secrecy import check_secrecy
from tests.support.slow_model import COUNTS, PILKADA_2024, content_of
from tests.support.system import System

AGAIN_BATCH: Final = 500
TOLD_WITHIN_S: Final = 60.0


async def check_everything(system: System) -> None:
    """Log, tallies, changes, topics, and that nobody is named anywhere."""
    await check_log(system)
    await check_tallies(system)
    await check_feed(system)
    await check_topic(system)
    await check_submissions(system)
    await check_secrecy(system)


async def check_log(system: System) -> None:
    """Positions 1..N without a gap, the same on every reading; the model accepts all of it."""
    entries = await read_log(system.registry)
    system.ledger.enter(entries)
    assert await read_log(system.registry, page=10_000) == entries
    middle = len(entries) // 2
    assert await read_log(system.registry, after=middle, page=89) == entries[middle:]


async def check_tallies(system: System) -> None:
    """Every field of every village, kecamatan and of the regency, as JSON and as CSV."""
    http, model, position = system.projections, system.ledger.model, len(system.ledger.log)
    villages, districts = village_rows(model), district_rows(model)
    assert len(villages) == 287
    total = model.total(PILKADA_2024)
    for name, rows in (("villages", villages), ("districts", districts)):
        path = f"/{name}"
        answer = await counted(http, path, position)
        assert answer == {"position": position, name: rows}, difference(answer[name], rows)
        assert await counted_csv(http, path, position) == as_csv(rows)
    assert await counted(http, "/total", position) == {"position": position} | total
    assert await counted_csv(http, "/total", position) == as_csv([total])
    for row in districts:
        code = row["district"]
        answer = await counted(http, "/villages", position, district=code)
        assert answer["villages"] == [
            village for village in villages if village["district"] == code
        ]
    for row in villages[::40]:
        answer = await counted(http, f"/villages/{row['village']}", position)
        assert answer == {"position": position} | row


def difference(found: Sequence[dict[str, Any]], wanted: Sequence[dict[str, Any]]) -> str:
    """The rows that differ, for a person to read."""
    pairs = [(f, w) for f, w in zip(found, wanted, strict=False) if f != w]
    return "\n".join(f"found  {f}\nwanted {w}" for f, w in pairs[:3])


async def check_feed(system: System) -> None:
    """The changes are gapless and add up to the tallies, by paging, by stream and at once."""
    http, tallies = system.notifier, tallied(system.ledger.model)
    changes = await until_told(system)
    told = check_changes(changes, system.ledger)
    nothing = dict.fromkeys(COUNTS, 0)
    assert {code: told.get(code, nothing) for code in tallies} == tallies
    last, middle = len(changes), len(changes) // 2
    rest = [(change["sequence"], change) for change in changes[middle:]]
    assert await read_stream(http, last, after=middle) == rest
    assert await read_stream(http, last, {"Last-Event-ID": str(middle)}) == rest
    assert await read_changes(http, after=middle, page=10_000) == changes[middle:]
    snapshot = await get(http, f"{ELECTION}/snapshot")
    assert snapshot["sequence"] == last
    told_at_once = {row["village"]: row for row in snapshot["villages"]}
    assert {c: {n: told_at_once[c][n] for n in COUNTS} for c in tallies} == tallies


async def until_told(system: System) -> list[dict[str, Any]]:
    """The feed from its first change, once it has caught up with the tallies."""
    tallies = {code: row for code, row in tallied(system.ledger.model).items() if any(row.values())}
    loop = asyncio.get_running_loop()
    deadline = loop.time() + TOLD_WITHIN_S
    while True:
        changes = await read_changes(system.notifier)
        told = {change["village"]: change["after"] for change in changes}
        told = {code: row for code, row in told.items() if any(row.values())}
        if told == tallies or loop.time() > deadline:
            return changes
        await asyncio.sleep(0.1)


async def check_topic(system: System) -> None:
    """`population.events` has the whole log, keyed by resident; repeats are exact repeats."""
    found: dict[int, dict[str, Any]] = {}
    log = {entry["position"]: entry for entry in system.ledger.log}
    for key, value in await read_topic(system.stack.kafka_bootstrap, POPULATION_EVENTS):
        record = json.loads(value)
        if "published_up_to" in record:
            continue
        assert key.decode() == record["resident_id"]
        assert found.setdefault(record["position"], record) == record
    assert found.keys() == log.keys(), sorted(found.keys() ^ log.keys())
    for position, record in found.items():
        assert {name: record[name] for name in ("source", "id", "resident_id", "data")} == {
            name: log[position][name] for name in ("source", "id", "resident_id", "data")
        }


async def check_submissions(system: System) -> None:
    """Every readable source and id that was ever sent is kept, the refused too."""
    lost = system.ledger.identities() - await read_identities(system.stack.superuser_url)
    assert not lost, f"lost without a trace: {sorted(lost)[:5]}"


async def send_again(system: System, events: Iterable[Event]) -> list[Sent]:
    """Everything once more, when all is over: what has become of each, and nothing new."""
    once = list({content_of(event): event for event in events}.values())
    lane = (Parcel(once[n : n + AGAIN_BATCH]) for n in range(0, len(once), AGAIN_BATCH))
    stack = system.stack
    answered = await play(stack.urls["registry"], stack.operator_token, [lane] * CLIENTS)
    again = [sent for answers in answered for sent in answers]
    assert not [sent for sent in again if sent.answer.outcome in ("accepted", "parked")]
    return again
