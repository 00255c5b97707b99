"""Projections on the real Kafka and PostgreSQL: each event is counted once, whatever comes."""

import asyncio
import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from services.projections.app import prepare
from services.projections.domain.arrivals import Arrival
from services.projections.domain.tally import project, sums
from services.projections.projecting import Projector
from shared.access import Role, Tokens
from shared.counts import NOTHING, Counts
from shared.database import create_engine
from shared.elections import PILKADA_2024
from shared.events.records import LogEntry, logged_fact, read_record, write_event, write_published
from shared.regions import villages_in
from shared.topics import PARTITIONS, POPULATION_EVENTS
from tests.support.facts import LEMPUR_TENGAH, SIULAK_GEDANG, entry, registration
from tests.support.parts import CHECKOUT, Parts
from tests.support.projections_service import (
    PILKADA,
    TOKEN,
    Service,
    all_changes,
    running_service,
)
from tests.support.published_log import Chain, append, publish

VILLAGES = [village.code for village in villages_in("15.01")]


def somebody(partition: int, number: int = 1) -> UUID:
    """A resident whose events go to a partition."""
    return UUID(int=number * PARTITIONS + partition)


def life_in_the_regency(events: int, seed: int = 1) -> list[LogEntry]:
    """A log of registrations, recordings, activations and moves, the same for the same seed."""
    chance = random.Random(seed)
    entries: list[LogEntry] = []
    people: list[UUID] = []
    for position in range(1, events + 1):
        kind = chance.choice(["new", "new", "ktp.recorded", "ikd.activated", "resident.relocated"])
        if kind == "new" or not people:
            people.append(UUID(int=chance.getrandbits(128)))
            birth = f"{chance.randint(1950, 2010)}-11-27"
            village = chance.choice(VILLAGES)
            entries.append(registration(position, people[-1], birth_date=birth, village=village))
            continue
        moves = kind == "resident.relocated"
        data = {"effective_date": "2024-05-01", "letter_no": str(position)} if moves else {}
        data |= {"to_village": chance.choice(VILLAGES)} if moves else {}
        entries.append(entry(kind, position, chance.choice(people), **data))
    return entries


def tallies_of(entries: Sequence[LogEntry]) -> dict[str, Counts]:
    """What the pure fold makes of a log in one go."""
    projected = project({}, [logged_fact(each) for each in entries], [PILKADA_2024])
    totals = sums(projected.deltas)
    nothing = dict.fromkeys(VILLAGES, NOTHING)
    return nothing | {key.village: total.counts for key, total in totals.items()}


def counts_in(rows: dict[str, dict[str, Any]]) -> dict[str, Counts]:
    return {code: Counts._make(row[name] for name in Counts._fields) for code, row in rows.items()}


async def told(bootstrap: str) -> dict[str, Counts]:
    """What the changes on `voter.changes` add up to; each must begin where the last one ended."""
    tallies = dict.fromkeys(VILLAGES, NOTHING)
    revisions = dict.fromkeys(VILLAGES, 0)
    for change in await all_changes(bootstrap):
        village = change["village"]
        if change["revision"] <= revisions[village]:
            continue
        assert change["revision"] == revisions[village] + 1
        assert Counts(**change["before"]) == tallies[village]
        tallies[village] = Counts(**change["after"])
        revisions[village] += 1
    return tallies


async def all_told(bootstrap: str, expected: dict[str, Counts]) -> None:
    """Wait until the changes add up to the tallies: they follow a moment after the commit."""
    async with asyncio.timeout(20):
        while await told(bootstrap) != expected:
            await asyncio.sleep(0.2)


async def fetch(parts: Parts, database: str, query: str) -> list[Any]:
    connection = await asyncpg.connect(parts.dsn(database))
    try:
        return await connection.fetch(query)  # type: ignore[no-any-return]
    finally:
        await connection.close()


class World:
    """A database, empty topics and the chain of what is published to them."""

    def __init__(self, parts: Parts, database: str) -> None:
        self.parts = parts
        self.database = database
        self.url = parts.url(database)
        self.bootstrap = parts.kafka_bootstrap
        self.chain = Chain()

    async def log(self, *entries: LogEntry) -> None:
        await append(self.parts.dsn(self.database), entries)

    async def publish(self, records: Sequence[tuple[int, bytes]]) -> None:
        await publish(self.bootstrap, records)

    async def send(self, *entries: LogEntry) -> list[tuple[int, bytes]]:
        """Log entries and publish them, with the promise that all is there; what was sent."""
        await self.log(*entries)
        records = self.chain.events(entries) + self.chain.published(entries[-1].position)
        await self.publish(records)
        return records

    async def fetch(self, query: str) -> list[Any]:
        return await fetch(self.parts, self.database, query)

    def service(self) -> contextlib.AbstractAsyncContextManager[Service]:
        return running_service(self.url, self.bootstrap)


@pytest.fixture
def world(parts: Parts, database: str, topics: None) -> World:
    return World(parts, database)


@pytest.fixture
async def service(world: World) -> AsyncIterator[Service]:
    async with world.service() as running:
        await running.ready()
        yield running


async def test_every_village_has_a_row_of_zeros_from_the_first_second(service: Service) -> None:
    answer = (await service.get("/villages")).json()
    assert answer["position"] == 0
    assert len(answer["villages"]) == 287
    assert [row["village"] for row in answer["villages"]] == sorted(VILLAGES)
    assert answer["villages"][0] == {
        "village": "15.01.01.1004",
        "name": "Lempur Tengah",
        "district": "15.01.01",
        **NOTHING._asdict(),
        "coverage": None,
        "untouched": False,
        "tps_min": 0,
    }


async def test_events_are_counted_and_announced(world: World, service: Service) -> None:
    entries = life_in_the_regency(3_000)
    await world.send(*entries)
    expected = tallies_of(entries)
    assert counts_in(await service.at(3_000)) == expected
    await all_told(world.bootstrap, expected)
    (change, *_) = await all_changes(world.bootstrap)
    assert change["election"] == "pilkada-2024"
    assert change["district"] == change["village"][:8]
    assert change["stage"] == "dp4"


async def test_districts_and_total_are_the_sums_of_the_villages(
    world: World, service: Service
) -> None:
    await world.send(*life_in_the_regency(1_000))
    villages = await service.at(1_000)
    districts = (await service.get("/districts")).json()
    total = (await service.get("/total")).json()
    assert (districts["position"], total["position"]) == (1_000, 1_000)
    assert len(districts["districts"]) == 18
    for name in (*Counts._fields, "tps_min"):
        assert total[name] == sum(row[name] for row in villages.values())
        for row in districts["districts"]:
            within = [v for v in villages.values() if v["district"] == row["district"]]
            assert row[name] == sum(village[name] for village in within)
    assert total["coverage"] == total["eligible_recorded"] / total["eligible"]


async def test_one_village_and_one_district(world: World, service: Service) -> None:
    await world.send(registration(1))
    rows = await service.at(1)
    one = (await service.get("/villages/" + LEMPUR_TENGAH)).json()
    assert one == {"position": 1} | rows[LEMPUR_TENGAH]
    within = (await service.get("/villages", district="15.01.01")).json()["villages"]
    assert within == [row for row in rows.values() if row["district"] == "15.01.01"]


async def test_csv_has_the_same_columns_and_the_position_in_a_header(
    world: World, service: Service
) -> None:
    await world.send(registration(1))
    await service.at(1)
    answer = await service.http.get(
        PILKADA + "/villages?district=15.01.01", headers={"Accept": "text/csv"}
    )
    header, first, *_ = answer.text.splitlines()
    assert answer.headers["x-cacah-position"] == "1"
    assert answer.headers["content-type"].startswith("text/csv")
    assert header.split(",") == [
        *("village", "name", "district"),
        *Counts._fields,
        *("coverage", "untouched", "tps_min"),
    ]
    assert first == "15.01.01.1004,Lempur Tengah,15.01.01,1,1,1,0,0,1,0,0,0,0,0,0,0,0,0.0,true,1"
    for path in ("/districts", "/total", "/villages/" + LEMPUR_TENGAH):
        answer = await service.http.get(PILKADA + path, headers={"Accept": "text/csv"})
        assert (answer.status_code, answer.headers["x-cacah-position"]) == (200, "1")


@pytest.mark.parametrize(
    ("path", "status", "kind", "field"),
    [
        ("/v1/elections/pilkada-1955/villages", 404, "not-found", None),
        (PILKADA + "/villages/15.01.01.9999", 404, "not-found", None),
        (PILKADA + "/villages/31.71.01.1001", 404, "not-found", None),
        (PILKADA + "/villages?min_position=-1", 400, "invalid", "min_position"),
        (PILKADA + "/villages?min_position=soon", 400, "invalid", "min_position"),
        (PILKADA + "/villages?district=15.01.03", 400, "invalid", "district"),
        (PILKADA + "/villages?district=31.71.01", 400, "invalid", "district"),
        (PILKADA + "/total?distrct=15.01.01", 400, "invalid", "distrct"),
    ],
)
async def test_a_bad_request_is_a_problem_that_names_the_field(
    service: Service, path: str, status: int, kind: str, field: str | None
) -> None:
    answer = await service.http.get(path)
    problem = answer.json()
    assert (answer.status_code, problem["type"].rpartition("/")[2]) == (status, kind)
    assert answer.headers["content-type"] == "application/problem+json"
    assert [error["field"] for error in problem.get("errors", [])] == ([field] if field else [])


async def test_kpu_may_read_and_a_station_may_not(world: World, service: Service) -> None:
    engine = create_engine(world.url)
    tokens = Tokens(engine, None)
    statuses = [(await service.http.get(PILKADA + "/total", headers={"Authorization": ""}))]
    for role in (Role.STATION, Role.KPU):
        token = await tokens.create(role, "KRC-01")
        headers = {"Authorization": f"Bearer {token}"}
        statuses.append(await service.http.get(PILKADA + "/total", headers=headers))
    await engine.dispose()
    assert [answer.status_code for answer in statuses] == [401, 403, 200]


async def test_min_position_waits_until_the_event_is_counted(
    world: World, service: Service
) -> None:
    asked = asyncio.create_task(service.get("/total", min_position=1))
    await asyncio.sleep(0.3)
    assert not asked.done()
    await world.send(registration(1))
    answer = await asked
    assert (answer.status_code, answer.json()["residents"]) == (200, 1)


async def test_min_position_gives_up_and_says_when_to_ask_again(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.projections.reader.POSITION_TIMEOUT_S", 0.2)
    answer = await service.get("/total", min_position=1)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert answer.json()["type"].endswith("/not-yet")


async def test_answers_stay_at_the_cut_while_one_partition_is_held_back(
    world: World, service: Service
) -> None:
    early = registration(1, somebody(0))
    ahead = [registration(2 + n, somebody(1, 1 + n), village=SIULAK_GEDANG) for n in range(5)]
    late = registration(7, somebody(2))
    entries = [early, *ahead, late]
    await world.log(*entries)
    records = world.chain.events(entries)
    held_back = [record for record in records if record[0] == 2]
    await world.publish([record for record in records if record[0] != 2])
    others = [partition for partition in range(PARTITIONS) if partition != 2]
    await world.publish(world.chain.published(7, others))
    await world.publish([(2, write_published(1, 0))])
    rows = await service.at(1)
    await asyncio.sleep(1)
    assert counts_in(await service.at(1)) == tallies_of(entries[:1])
    assert rows[SIULAK_GEDANG]["residents"] == 0
    assert (await service.get("/total")).json()["position"] == 1
    (stored,) = await world.fetch("SELECT sum(residents) FROM projections.tallies")
    assert stored["sum"] == 6
    await world.publish(held_back + world.chain.published(7, [2]))
    assert counts_in(await service.at(7)) == tallies_of(entries)


async def test_records_that_come_twice_are_counted_once(world: World, service: Service) -> None:
    entries = life_in_the_regency(500)
    records = await world.send(*entries)
    await service.at(500)
    await world.publish(records)
    await world.send(registration(501, UUID(int=501)))
    expected = tallies_of([*entries, registration(501, UUID(int=501))])
    assert counts_in(await service.at(501)) == expected
    await all_told(world.bootstrap, expected)


async def test_what_kafka_delivers_again_after_a_crash_before_the_acknowledgement(
    world: World,
) -> None:
    entries = life_in_the_regency(500)
    async with world.service() as service:
        await world.send(*entries)
        await service.at(500)
    await forget_offsets(world.bootstrap)
    async with world.service() as service:
        await service.ready()
        await world.send(registration(501, UUID(int=501)))
        rows = await service.at(501)
        assert counts_in(rows) == tallies_of([*entries, registration(501, UUID(int=501))])
        expected = counts_in(rows)
    assert await world.fetch("SELECT FROM projections.parked") == []
    async with world.service():
        await all_told(world.bootstrap, expected)


async def forget_offsets(bootstrap: str) -> None:
    """Set the group's offsets back to the beginning, as if nothing had been acknowledged."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap, group_id="projections", enable_auto_commit=False
    )
    await consumer.start()
    partitions = [TopicPartition(POPULATION_EVENTS, p) for p in range(PARTITIONS)]
    consumer.assign(partitions)
    await consumer.commit(dict.fromkeys(partitions, 0))
    await consumer.stop()


async def test_a_hole_in_the_topic_is_filled_from_the_log(world: World, service: Service) -> None:
    entries = life_in_the_regency(600)
    await world.log(*entries)
    records = world.chain.events(entries)
    lost = set(random.Random(7).sample(range(len(records)), 200))
    await world.publish([record for n, record in enumerate(records) if n not in lost])
    await world.publish(world.chain.published(600))
    assert counts_in(await service.at(600)) == tallies_of(entries)


async def test_a_topic_that_lost_everything_is_made_good_by_one_promise(
    world: World, service: Service
) -> None:
    entries = life_in_the_regency(300)
    await world.log(*entries)
    world.chain.events(entries)
    await world.publish(world.chain.published(300))
    assert counts_in(await service.at(300)) == tallies_of(entries)


async def test_an_event_that_cannot_be_read_parks_its_resident_and_nobody_else(
    world: World, service: Service
) -> None:
    struck, neighbour = somebody(4, 1), somebody(4, 2)
    alien = entry("alien.landed", 3, struck)
    entries = [
        registration(1, struck),
        registration(2, neighbour),
        alien,
        entry("ktp.recorded", 4, struck),
        entry("ktp.recorded", 5, neighbour),
    ]
    await world.send(*entries)
    await world.send(entry("ikd.activated", 6, struck), entry("ikd.activated", 7, neighbour))
    row = (await service.at(7))[LEMPUR_TENGAH]
    assert (row["residents"], row["eligible_recorded"], row["ikd_active"]) == (2, 1, 1)
    parked = await world.fetch(
        "SELECT position, resident_id, type, record FROM projections.parked ORDER BY position"
    )
    assert [each["position"] for each in parked] == [3, 4, 6]
    assert {each["resident_id"] for each in parked} == {struck}
    assert parked[0]["type"] == "id.dukcapil.alien.landed"
    assert b'"position":3' in parked[0]["record"]
    assert "projections_parked 3.0" in (await service.http.get("/metrics")).text


async def test_a_record_that_the_log_has_whole_is_read_there(
    world: World, service: Service
) -> None:
    entries = [registration(1, somebody(4)), entry("ktp.recorded", 2, somebody(4))]
    await world.log(*entries)
    garbled = write_event(entry("alien.landed", 1, somebody(4)), 0)
    world.chain.events(entries)
    await world.publish([(4, garbled), (4, b"\x00\xff"), *world.chain.published(2)])
    assert (await service.at(2))[LEMPUR_TENGAH]["eligible_recorded"] == 1
    parked = await world.fetch("SELECT position, record_offset, record FROM projections.parked")
    assert [tuple(each) for each in parked] == [(None, 1, b"\x00\xff")]


async def test_two_processes_share_the_partitions_and_hand_them_over(world: World) -> None:
    entries = life_in_the_regency(4_000)
    async with world.service() as first:
        await world.send(*entries[:1_000])
        async with world.service() as second:
            await world.send(*entries[1_000:2_000])
            await second.ready()
            await world.send(*entries[2_000:3_000])
            assert counts_in(await first.at(3_000)) == tallies_of(entries[:3_000])
            assert counts_in(await second.at(3_000)) == tallies_of(entries[:3_000])
            epochs = await world.fetch("SELECT DISTINCT epoch FROM projections.marks")
            assert min(row["epoch"] for row in epochs) >= 2
        await world.send(*entries[3_000:])
        assert counts_in(await first.at(4_000)) == tallies_of(entries)
        await all_told(world.bootstrap, tallies_of(entries))


async def test_a_process_that_lost_its_partitions_stores_nothing(world: World) -> None:
    engine = create_engine(world.url)
    await prepare(engine)
    await world.log(registration(1, somebody(4)), registration(2, somebody(5)))
    projector = Projector(engine, lambda: None)
    ours = await projector.raise_epochs([4, 5])
    await projector.raise_epochs([4])
    values = dict(world.chain.events([registration(1, somebody(4)), registration(2, somebody(5))]))
    batch = {p: [Arrival(0, value, read_record(value))] for p, value in values.items()}
    assert await projector.project(batch, ours) == {4}
    await engine.dispose()
    marks = await world.fetch(
        "SELECT partition, position FROM projections.marks WHERE position > 0"
    )
    assert [tuple(mark) for mark in marks] == [(5, 2)]


async def test_two_processes_that_believe_in_the_same_partitions_count_once(world: World) -> None:
    entries = life_in_the_regency(400)
    await world.log(*entries)
    engine = create_engine(world.url)
    await prepare(engine)
    records = world.chain.events(entries) + world.chain.published(400)
    batch: dict[int, list[Arrival]] = {}
    for partition, value in records:
        batch.setdefault(partition, []).append(Arrival(0, value, read_record(value)))
    projectors = [Projector(engine, lambda: None) for _ in range(3)]
    epochs = await projectors[0].raise_epochs(range(PARTITIONS))
    await asyncio.gather(*(projector.project(batch, epochs) for projector in projectors))
    await engine.dispose()
    rows = await world.fetch("SELECT * FROM projections.tallies")
    assert counts_in({row["village"]: row for row in rows}) == tallies_of(entries)


async def test_a_database_that_drops_its_connections_loses_nothing(
    world: World, service: Service
) -> None:
    entries = life_in_the_regency(4_000)
    for begin in range(0, 4_000, 500):
        await world.send(*entries[begin : begin + 500])
        await drop_connections(world)
    expected = tallies_of(entries)
    assert counts_in(await service.at(4_000)) == expected
    await all_told(world.bootstrap, expected)
    await service.ready()


async def drop_connections(world: World) -> None:
    connection = await asyncpg.connect(world.parts.admin_dsn)
    await connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1",
        world.database,
    )
    await connection.close()


async def test_without_kafka_it_serves_what_it_has_and_says_what_is_missing(world: World) -> None:
    nobody = f"127.0.0.1:{free_port()}"
    async with running_service(world.url, nobody) as service:
        async with asyncio.timeout(20):
            while (await service.get("/total")).status_code != 200:
                await asyncio.sleep(0.05)
        ready = await service.http.get("/readyz")
        assert (ready.status_code, ready.json()["waiting_for"]) == (503, ["kafka"])
        assert (await service.http.get("/healthz")).status_code == 200


async def test_without_postgresql_it_waits_and_says_so(parts: Parts, topics: None) -> None:
    nowhere = f"postgresql+asyncpg://nobody@127.0.0.1:{free_port()}/nothing"
    async with running_service(nowhere, parts.kafka_bootstrap) as service:
        ready = await service.http.get("/readyz")
        assert (ready.status_code, ready.json()["waiting_for"]) == (503, ["postgresql"])
        answer = await service.get("/total")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


@contextlib.contextmanager
def process(world: World, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """Projections as a process of its own, killed at the end."""
    settings = {
        "CACAH_DATABASE_URL": world.url,
        "CACAH_KAFKA_BOOTSTRAP": world.bootstrap,
        "CACAH_PROJECTIONS_PORT": str(port),
        "CACAH_OPERATOR_TOKEN": TOKEN,
    }
    running = subprocess.Popen(
        [sys.executable, "-m", "services.projections"],
        env=os.environ | settings,
        cwd=CHECKOUT,
        stdout=subprocess.DEVNULL,
    )
    try:
        yield running
    finally:
        running.send_signal(signal.SIGKILL)
        running.wait()


async def test_killed_in_the_middle_again_and_again_it_counts_each_event_once(
    world: World,
) -> None:
    entries = life_in_the_regency(20_000)
    await world.send(*entries)
    chance = random.Random(3)
    for _ in range(3):
        with process(world, free_port()):
            before = await counted(world)
            assert before < 20_000
            async with asyncio.timeout(30):
                while await counted(world) == before:
                    await asyncio.sleep(0.01)
            await asyncio.sleep(chance.random() * 0.1)
    async with world.service() as service:
        expected = tallies_of(entries)
        assert counts_in(await service.at(20_000)) == expected
        await all_told(world.bootstrap, expected)


async def counted(world: World) -> int:
    (row,) = await world.fetch("SELECT count(*) AS counted FROM projections.facts")
    return int(row["counted"])


async def test_changes_sent_again_after_a_crash_before_their_removal(
    world: World, service: Service
) -> None:
    await world.fetch(
        "CREATE FUNCTION crash() RETURNS trigger LANGUAGE plpgsql AS"
        " 'BEGIN RAISE EXCEPTION ''crash''; END'"
    )
    await world.fetch(
        "CREATE TRIGGER crash BEFORE DELETE ON projections.outbox EXECUTE FUNCTION crash()"
    )
    entries = life_in_the_regency(300)
    await world.send(*entries[:200])
    await service.at(200)
    async with asyncio.timeout(20):
        while not await all_changes(world.bootstrap):
            await asyncio.sleep(0.1)
    await world.fetch("DROP TRIGGER crash ON projections.outbox")
    await world.send(*entries[200:])
    await all_told(world.bootstrap, tallies_of(entries))
    changes = await all_changes(world.bootstrap)
    assert len(changes) > len({(change["village"], change["revision"]) for change in changes})
    assert await world.fetch("SELECT FROM projections.outbox") == []
