"""Topics that are lost, cut short, or published again, on the real Kafka and PostgreSQL."""

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
import pytest_asyncio
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from services.notifier.subscriber import LOOK_S
from shared.elections import PILKADA_2024
from shared.events.records import EventRecord
from shared.topics import PARTITIONS, POPULATION_EVENTS, read_ends
from tests.integration.test_elections import SECOND, put
from tests.integration.test_notifier import (
    VILLAGES,
    MakeNotifier,
    assert_exact,
    growth,
    make_notifier,
)
from tests.integration.test_projections import (
    World,
    counts_in,
    life_in_the_regency,
    somebody,
    tallies_of,
)
from tests.integration.test_registry import (
    BATCH,
    Registry,
    niks,
    read_topic,
    registry,
    rows,
    send,
    serving,
)
from tests.integration.test_voters import until_votes, voters
from tests.support.builders import registered
from tests.support.facts import registration
from tests.support.notifier_process import NotifierProcess, running, topic_writer
from tests.support.parts import Parts, fresh_topics
from tests.support.projections_service import Service
from tests.support.reading import read_topic as read_whole_topic

__all__ = ["BATCH", "make_notifier", "registry"]

WITHIN_S = 40


@pytest.fixture
def world(parts: Parts, database: str, topics: None) -> World:
    return World(parts, database)


@pytest_asyncio.fixture
async def service(world: World) -> AsyncIterator[Service]:
    async with world.service() as started:
        await started.ready()
        yield started


async def lose_topics(parts: Parts) -> None:
    await asyncio.to_thread(fresh_topics, parts)


async def published(parts: Parts, up_to: int) -> Counter[int]:
    """How often each position is in the topic, once every partition has said that it is whole."""
    await read_topic(parts, up_to)
    records = await read_whole_topic(parts.kafka_bootstrap, POPULATION_EVENTS)
    events = [orjson.loads(value) for _, value in records]
    return Counter(event["position"] for event in events if "position" in event)


async def until(holds: Callable[[], Any]) -> None:
    """Wait until a query, asked again and again, says so."""
    async with asyncio.timeout(WITHIN_S):
        while not await holds():
            await asyncio.sleep(0.2)


async def test_a_topic_that_was_lost_while_nothing_happened_is_published_again(
    registry: Registry, parts: Parts, database: str
) -> None:
    await send(registry, *map(registered, niks(60)))
    assert await published(parts, 60) == Counter(range(1, 61))
    await lose_topics(parts)
    async with asyncio.timeout(WITHIN_S):
        while not sum((await read_ends(parts.kafka_bootstrap, POPULATION_EVENTS)).values()):
            await asyncio.sleep(0.2)
    assert await published(parts, 60) == Counter(range(1, 61))
    (again,) = await rows(parts, database, "SELECT * FROM registry.republications")
    assert (again["reason"], again["reached"], again["up_to"]) == ("topic-lost", 60, 60)
    assert again["finished_at"] is not None


async def test_what_was_sent_into_the_new_topic_before_the_loss_was_noticed_hides_nothing(
    registry: Registry, parts: Parts, database: str
) -> None:
    first, later = niks(60), niks(20, first=61)
    await send(registry, *map(registered, first))
    await published(parts, 60)
    await lose_topics(parts)
    await send(registry, *map(registered, later))
    query = "SELECT FROM registry.republications WHERE finished_at IS NOT NULL"
    await until(lambda: rows(parts, database, query))
    assert (await published(parts, 80)).keys() == set(range(1, 81))


async def test_a_relay_that_starts_again_republishes_nothing(
    parts: Parts, database: str, topics: None
) -> None:
    for start in (0, 30):
        async with serving(parts, database) as running_registry:
            await send(running_registry, *map(registered, niks(30, first=start + 1)))
            await published(parts, start + 30)
    assert await published(parts, 60) == Counter(range(1, 61))
    assert await rows(parts, database, "SELECT FROM registry.republications") == []


async def test_an_operator_has_the_log_published_again_from_a_position(
    registry: Registry, parts: Parts
) -> None:
    await send(registry, *map(registered, niks(60)))
    first = await read_topic(parts, 60)
    asked = await registry.post("/v1/republish", json={"from": 41})
    assert (asked.status_code, asked.json()["from"], asked.json()["up_to"]) == (202, 41, 60)
    path = f"/v1/republish/{asked.json()['id']}"

    async def is_done() -> bool:
        return (await registry.get(path)).json()["finished_at"] is not None

    await until(is_done)
    await send(registry, *map(registered, niks(1, first=61)))
    again = await read_topic(parts, 61)
    events = [r for records in again for r in records if isinstance(r, EventRecord)]
    counted = Counter(event.logged.position for event in events)
    assert counted == Counter([*range(1, 62), *range(41, 61)])
    originals = {r.logged.position: r for p in first for r in p if isinstance(r, EventRecord)}
    for event in events:
        assert originals.get(event.logged.position, event) == event


@pytest.mark.parametrize("body", [b"{}", b'{"from": 0}', b'{"from": "1"}', b'{"from": 99}', b"7"])
async def test_a_republication_that_cannot_be_is_refused_by_name(
    registry: Registry, body: bytes
) -> None:
    answer = await registry.post("/v1/republish", content=body)
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] in ("from", "body")
    assert (await registry.get("/v1/republish/1")).status_code == 404


async def test_what_the_notifier_missed_is_told_to_it_by_the_new_topics(
    world: World, service: Service, make_notifier: MakeNotifier, parts: Parts
) -> None:
    early, late = life_in_the_regency(900)[:500], life_in_the_regency(900)[500:]
    await world.send(*early)
    await put(service, SECOND, 201)
    await service.at(500)
    async with running(make_notifier()) as notifier:
        await until_votes(notifier, voters(early, PILKADA_2024))
    # Announced, acknowledged and gone from the outbox; nobody has read it when it is lost.
    await world.send(*late)
    await service.at(900)
    await until(lambda: nothing_waits(world))
    await lose_topics(parts)
    async with running(make_notifier()) as notifier:
        for election in (PILKADA_2024, SECOND):
            await until_votes(notifier, voters(early + late, election), election.id)
        residents = {
            village: counts.residents
            for village, counts in tallies_of(early + late).items()
            if counts.residents
        }
        told = await told_residents(notifier, residents)
        assert [change["sequence"] for change in told] == list(range(1, len(told) + 1))


async def test_a_running_notifier_reads_a_new_topic_from_its_beginning(
    make_notifier: MakeNotifier, parts: Parts, tmp_path: Path
) -> None:
    """One partition of the new topic has grown beyond the old offset when the notifier sees it:
    the consumer alone would go on there, and never tell what lies before."""
    known, new, elsewhere = VILLAGES[:3]
    said = tmp_path / "notifier.log"
    async with running(make_notifier(said=said)) as notifier:
        async with topic_writer(parts.kafka_bootstrap) as topic:
            await topic.write(growth(known, 1, 20), partition=0)
            await topic.write(growth(elsewhere, 1, 3), partition=1)
        await notifier.until_told({known: 20, elsewhere: 3})
        await asyncio.sleep(5 * LOOK_S)
        assert notifier.process is not None
        notifier.process.send_signal(signal.SIGSTOP)
        await lose_topics(parts)
        async with topic_writer(parts.kafka_bootstrap) as topic:
            await topic.write(growth(new, 1, 5), partition=0)
            await topic.write(growth(known, 15, 40), partition=0)
        notifier.process.send_signal(signal.SIGCONT)
        assert_exact(await notifier.until_told({known: 40, elsewhere: 3, new: 5}))
    assert "the topic was lost; the new one is read from its beginning" in said.read_text()


async def nothing_waits(world: World) -> bool:
    outboxes = ("outbox", "voter_outbox", "voter_differences")
    return not any([await world.fetch(f"SELECT FROM projections.{name}") for name in outboxes])


async def told_residents(notifier: NotifierProcess, expected: dict[str, int]) -> list[Any]:
    """The villages' feed, once it says that so many live in each; every change is chained."""
    async with asyncio.timeout(WITHIN_S):
        while True:
            feed: list[Any] = (await notifier.changes(limit=10_000))["changes"]
            last = {change["village"]: change["after"] for change in feed}
            lived_in = {v: counts["residents"] for v, counts in last.items()}
            if {v: n for v, n in lived_in.items() if n} == expected:
                break
            await asyncio.sleep(0.2)
    before: dict[str, Any] = {}
    for change in feed:
        if change["village"] in before:
            assert change["before"] == before[change["village"]]
        before[change["village"]] = change["after"]
    return feed


async def test_what_the_topic_no_longer_has_is_read_from_the_log(world: World) -> None:
    entries = life_in_the_regency(400)
    async with world.service() as service:
        await world.send(*entries[:100])
        await service.at(100)
    await world.send(*entries[100:])
    ends = await read_ends(world.bootstrap, POPULATION_EVENTS)
    await delete_before(world.bootstrap, ends)
    async with world.service() as service:
        assert counts_in(await service.at(400)) == tallies_of(entries)


async def delete_before(bootstrap: str, offsets: dict[int, int]) -> None:
    """Have the broker forget what lies before some offsets, as a retention would."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    try:
        await admin.start()
        await admin.delete_records(
            {
                TopicPartition(POPULATION_EVENTS, partition): RecordsToDelete(offset)
                for partition, offset in offsets.items()
            }
        )
    finally:
        await admin.close()


async def test_what_never_comes_is_read_from_the_log(world: World, service: Service) -> None:
    entries = [registration(1, somebody(0)), registration(2, somebody(5))]
    await world.log(*entries)
    assert counts_in(await service.at(2)) == tallies_of(entries)
    assert len(await world.fetch("SELECT FROM projections.marks WHERE position = 2")) == PARTITIONS
