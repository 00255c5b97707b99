"""What projections park: applied late exactly as if it had come in time, or given up by name."""

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Iterator
from typing import Any

import orjson
import pytest
import uvicorn
from typer.testing import CliRunner, Result

from cli.main import main
from services.projections import checkpointing, checkpoints, parking
from services.projections.domain import tally
from services.projections.domain.electorate import standing_of
from services.projections.fold_tables import GENERATION_LOCK, alone
from shared.access import Role
from shared.database import create_engine
from shared.elections import PILKADA_2024
from shared.events import codec
from shared.events.records import LogEntry
from tests.integration.test_as_of import as_of, made
from tests.integration.test_broker_lost import told_residents
from tests.integration.test_elections import SECOND, expected, put
from tests.integration.test_notifier import MakeNotifier, make_notifier
from tests.integration.test_projections import (
    World,
    all_told,
    counts_in,
    free_port,
    life_in_the_regency,
    somebody,
    tallies_of,
)
from tests.integration.test_voters import until_votes, voters
from tests.support.facts import LEMPUR_TENGAH, entry, registration
from tests.support.notifier_process import running
from tests.support.parts import Parts
from tests.support.projections_service import TOKEN, Service

__all__ = ["make_notifier"]

EVERY = 50
NIK_LIKE = "1501010101840001"


@pytest.fixture
def world(parts: Parts, database: str, topics: None, monkeypatch: pytest.MonkeyPatch) -> World:
    """Checkpoints come close together, at once."""
    monkeypatch.setattr(checkpoints, "CHECKPOINT_EVERY", EVERY)
    monkeypatch.setattr(checkpoints, "DELTAS_PER_ROW", 0)
    monkeypatch.setattr(checkpointing, "POLL_S", 0.05)
    return World(parts, database)


@pytest.fixture
async def service(world: World) -> AsyncIterator[Service]:
    async with world.service() as running_service:
        await running_service.ready()
        yield running_service


@pytest.fixture
def old_version() -> Iterator[pytest.MonkeyPatch]:
    """What makes the program an old one for a while; undone, it is the mended one."""
    with pytest.MonkeyPatch.context() as patch:
        yield patch


async def parked(service: Service, **parameters: int) -> list[dict[str, Any]]:
    answer = await service.http.get("/v1/parked", params=parameters)
    assert answer.status_code == 200, answer.text
    listed: list[dict[str, Any]] = answer.json()["parked"]
    return listed


async def positions(service: Service) -> list[int | None]:
    return [each["position"] for each in await parked(service, limit=1_000)]


async def retry(service: Service, status: int = 200) -> dict[str, Any]:
    answer = await service.http.post("/v1/parked/retry")
    assert answer.status_code == status, answer.text
    told: dict[str, Any] = answer.json()
    return told


async def drop(service: Service, number: int, reason: str = "bukan warga kita") -> dict[str, Any]:
    answer = await service.http.post(f"/v1/parked/{number}/drop", json={"reason": reason})
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


async def metric(service: Service, name: str) -> float:
    lines = (await service.http.get("/metrics")).text.splitlines()
    return next(float(line.split()[-1]) for line in lines if line.startswith(name + " "))


STRUCK, NEIGHBOUR = somebody(4, 1), somebody(4, 2)


def struck_and_neighbour() -> list[LogEntry]:
    """One resident's recording is of a type that nobody knows; the neighbour's is as usual."""
    return [
        registration(1, STRUCK),
        registration(2, NEIGHBOUR),
        entry("alien.landed", 3, STRUCK),
        entry("ikd.activated", 4, STRUCK),
        entry("ktp.recorded", 5, NEIGHBOUR),
    ]


async def test_what_an_old_version_could_not_read_is_counted_late_as_if_in_time(
    world: World,
    service: Service,
    make_notifier: MakeNotifier,
    old_version: pytest.MonkeyPatch,
) -> None:
    entries = life_in_the_regency(600)
    counts = tallies_of(entries[:500])
    await put(service, SECOND, 201)
    old_version.delitem(codec._READERS, "resident.relocated")
    async with running(make_notifier()) as notifier:
        await world.send(*entries[:500])
        assert counts_in(await service.at(500)) != counts
        await made(world, PILKADA_2024.id, 500)
        moves = [each for each in entries[:500] if each.type.endswith("resident.relocated")]
        waiting = await positions(service)
        assert {each.position for each in moves} < set(waiting)
        assert await metric(service, "projections_parked") == len(waiting)
        old_version.undo()
        told = await retry(service)
        assert (told["tried"], told["applied"]) == (len(waiting), len(waiting))
        assert {each["position"] for each in told["moved"]} == set(waiting)
        assert (await parked(service), await metric(service, "projections_parked")) == ([], 0)
        assert counts_in(await service.at(500)) == counts
        await world.send(*entries[500:])
        assert counts_in(await service.at(600)) == tallies_of(entries)
        await made(world, PILKADA_2024.id, 600)
        for position in (*random.Random(1).sample(range(1, 600), 8), 50, 100, 500):
            for election in (PILKADA_2024, SECOND):
                then = expected(entries[:position], election)
                assert await as_of(service, position, election.id) == (position, then), position
        for election in (PILKADA_2024, SECOND):
            await until_votes(notifier, voters(entries, election), election.id)
        residents = {v: c.residents for v, c in tallies_of(entries).items() if c.residents}
        feed = await told_residents(notifier, residents)
        assert [change["sequence"] for change in feed] == list(range(1, len(feed) + 1))


async def test_what_a_rule_could_not_apply_is_counted_late(
    world: World, service: Service, old_version: pytest.MonkeyPatch
) -> None:
    def faulty(life: Any, election: Any) -> Any:
        if life.is_recorded:
            raise ArithmeticError
        return standing_of(life, election)

    old_version.setattr("services.projections.domain.tally.standing_of", faulty)
    entries = life_in_the_regency(200)
    await world.send(*entries)
    await service.at(200)
    whys = {each["why"] for each in await parked(service, limit=1_000)}
    assert whys == {"ArithmeticError", tally.AN_EARLIER_ONE_WAITS}
    nothing = await retry(service)
    assert (nothing["applied"], nothing["moved"]) == (0, [])
    assert nothing["tried"] == len(await parked(service, limit=1_000)) > 0
    old_version.undo()
    assert (await retry(service))["applied"] == nothing["tried"]
    assert counts_in(await service.at(200)) == tallies_of(entries)
    await all_told(world.bootstrap, tallies_of(entries))
    facts = await world.fetch("SELECT count(*) AS counted FROM projections.facts")
    assert facts[0]["counted"] == 200


async def test_a_retry_goes_on_resident_by_resident_while_events_come(
    world: World,
    service: Service,
    old_version: pytest.MonkeyPatch,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(parking, "RESIDENTS_AT_ONCE", 3)
    entries = life_in_the_regency(1_200)
    old_version.delitem(codec._READERS, "ktp.recorded")
    await world.send(*entries[:600])
    await service.at(600)
    old_version.undo()
    _, first = await asyncio.gather(world.send(*entries[600:]), retry(service))
    await service.at(1_200)
    # What came for somebody who still waited was parked behind it.
    second = await retry(service)
    assert first["applied"] > 0
    assert second["tried"] == second["applied"]
    assert await parked(service) == []
    assert counts_in(await service.at(1_200)) == tallies_of(entries)
    await all_told(world.bootstrap, tallies_of(entries))


async def test_what_still_cannot_be_applied_stays_with_all_that_follows(
    world: World, service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR, "services.projections.projecting"):
        await world.send(*struck_and_neighbour(), entry("ktp.recorded", 6, STRUCK))
        await service.at(6)
    unknown = "id.dukcapil.alien.landed: this event type is not known"
    # The client of Kafka has its own words in there.
    ours = [each for each in caplog.records if each.name.startswith("services.")]
    lines = {each.position: each.why for each in ours}  # type: ignore[attr-defined]
    assert lines == {3: unknown, **dict.fromkeys((4, 6), tally.AN_EARLIER_ONE_WAITS)}
    assert await metric(service, "projections_parked") == 3
    alien, *_ = await parked(service)
    assert (alien["position"], alien["resident_id"]) == (3, str(STRUCK))
    told = await retry(service)
    assert (told["tried"], told["applied"]) == (3, 0)
    assert await positions(service) == [3, 4, 6]
    assert (await parked(service))[0] == alien
    # As a version finds it that can read the first, and not the second.
    await world.fetch(
        "UPDATE projections.parked SET record = convert_to(replace(replace(convert_from(record,"
        " 'UTF8'), 'ikd.activated', 'alien.left'), 'alien.landed', 'ktp.recorded'), 'UTF8')"
    )
    told = await retry(service)
    assert (told["tried"], told["applied"]) == (3, 1)
    assert [(each["position"], each["why"]) for each in await parked(service)] == [
        (4, "id.dukcapil.alien.left: this event type is not known"),
        (6, tally.AN_EARLIER_ONE_WAITS),
    ]
    assert (await service.at(6))[LEMPUR_TENGAH]["eligible_recorded"] == 2


async def test_a_parked_record_of_another_event_is_not_applied(
    world: World, service: Service
) -> None:
    await world.send(*struck_and_neighbour())
    await service.at(5)
    await world.fetch(
        "UPDATE projections.parked SET record = convert_to(replace(replace(convert_from(record,"
        " 'UTF8'), 'alien.landed', 'ktp.recorded'), '\"position\":3', '\"position\":2'), 'UTF8')"
    )
    assert (await retry(service))["applied"] == 0
    assert (await parked(service))[0]["why"] == parking.NOT_THE_EVENT


async def test_what_is_dropped_is_not_counted_and_holds_nothing_up(
    world: World, service: Service
) -> None:
    await world.send(*struck_and_neighbour())
    await service.at(5)
    alien, follows = await parked(service)
    dropped = await drop(service, alien["parked_id"])
    assert (dropped["outcome"], dropped["position"]) == ("dropped", 3)
    assert (dropped["dropped"]["by"], dropped["dropped"]["reason"]) == (
        "operator:operator",
        "bukan warga kita",
    )
    assert await parked(service) == [follows]
    assert await metric(service, "projections_parked") == 1
    # Until it is tried again, what follows still holds back what comes.
    await world.send(entry("ktp.recorded", 6, STRUCK))
    await service.at(6)
    assert await positions(service) == [4, 6]
    assert (await retry(service))["applied"] == 2
    await world.send(entry("ktp.failed", 7, STRUCK, reason="other"))
    row = (await service.at(7))[LEMPUR_TENGAH]
    assert (row["residents"], row["ikd_active"], row["eligible_recorded"]) == (2, 1, 1)
    assert await parked(service) == []
    shown = (await service.http.get(f"/v1/parked/{alien['parked_id']}")).json()
    assert shown == dropped
    again = await service.http.post(
        f"/v1/parked/{alien['parked_id']}/drop", json={"reason": "lagi"}
    )
    assert (again.status_code, again.json()["type"].rpartition("/")[2]) == (404, "not-found")
    assert (await retry(service))["tried"] == 0


async def test_a_dropped_event_that_nothing_followed_holds_back_nothing(
    world: World, service: Service
) -> None:
    await world.send(registration(1, STRUCK), entry("alien.landed", 2, STRUCK))
    await service.at(2)
    (alien,) = await parked(service)
    await drop(service, alien["parked_id"])
    await world.send(entry("ktp.recorded", 3, STRUCK))
    assert (await service.at(3))[LEMPUR_TENGAH]["eligible_recorded"] == 1
    assert await parked(service) == []


async def test_an_unreadable_record_without_a_place_is_alarmed_on_and_can_only_be_dropped(
    world: World, service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    await world.log(registration(1, STRUCK))
    garbage = b"\xff nobody's, of " + NIK_LIKE.encode()
    with caplog.at_level(logging.ERROR, "services.projections.projecting"):
        await world.publish([(4, garbage), *world.chain.events([registration(1, STRUCK)])])
        await world.publish(world.chain.published(1))
        assert (await service.at(1))[LEMPUR_TENGAH]["residents"] == 1
    (line,) = [each for each in caplog.records if each.message == "a record is set aside"]
    assert (line.partition, line.offset, line.why) == (4, 0, "not JSON")  # type: ignore[attr-defined]
    assert await metric(service, "projections_parked") == 1
    (listed,) = await parked(service)
    assert (listed["position"], listed["resident_id"], listed["type"]) == (None, None, None)
    assert (listed["partition"], listed["offset"]) == (4, 0)
    number = listed["parked_id"]
    answer = await service.http.get(f"/v1/parked/{number}")
    assert NIK_LIKE not in answer.text
    assert answer.json()["record"] == f"\ufffd nobody's, of {'*' * 16}"
    assert (await retry(service))["tried"] == 0
    assert len(await parked(service)) == 1
    await drop(service, number)
    assert await parked(service) == []
    assert await metric(service, "projections_parked") == 0


async def test_nothing_is_applied_late_while_an_election_is_folded(
    world: World, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parking, "FOLDING_WAIT_S", 0.3)
    await world.send(*struck_and_neighbour())
    await service.at(5)
    engine = create_engine(world.url)
    async with alone(engine, GENERATION_LOCK):
        problem = await retry(service, 503)
        assert problem["type"].endswith("/not-yet")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await put(service, SECOND, 201)
    await engine.dispose()
    assert (await retry(service))["tried"] == 2


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"{", "body"),
        (b"[]", "body"),
        (b"{}", "reason"),
        (b'{"reason": ""}', "reason"),
        (b'{"reason": " "}', "reason"),
        (b'{"reason": "' + b"x" * 501 + b'"}', "reason"),
        (f'{{"reason": "ganda {NIK_LIKE}"}}'.encode(), "reason"),
        (b'{"reason": "x", "nik": "1"}', "body"),
    ],
)
async def test_dropping_needs_a_reason_without_a_nik(
    service: Service, body: bytes, field: str
) -> None:
    answer = await service.http.post("/v1/parked/1/drop", content=body)
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == field
    assert NIK_LIKE not in answer.text


@pytest.mark.parametrize(
    ("query", "field"), [("after=-1", "after"), ("limit=0", "limit"), ("limit=1001", "limit")]
)
async def test_a_bad_request_names_the_field(service: Service, query: str, field: str) -> None:
    answer = await service.http.get(f"/v1/parked?{query}")
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (400, field)


async def test_what_is_not_parked_is_not_found(service: Service) -> None:
    assert (await service.http.get("/v1/parked/1")).status_code == 404
    answer = await service.http.post("/v1/parked/1/drop", json={"reason": "x"})
    assert (answer.status_code, answer.json()["type"].rpartition("/")[2]) == (404, "not-found")


async def test_what_is_parked_is_for_operators_alone(service: Service) -> None:
    for role in (Role.STATION, Role.KPU):
        token = await service.app.state.tokens.create(role, "KRC-02")
        headers = {"Authorization": f"Bearer {token}"}
        for method, path in (
            ("GET", "/v1/parked"),
            ("GET", "/v1/parked/1"),
            ("POST", "/v1/parked/retry"),
            ("POST", "/v1/parked/1/drop"),
        ):
            assert (await service.http.request(method, path, headers=headers)).status_code == 403


@pytest.fixture
async def address(service: Service) -> AsyncIterator[str]:
    """The service behind a port, for commands that reach it over HTTP."""
    port = free_port()
    config = uvicorn.Config(service.app, port=port, lifespan="off", log_config=None)
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    await serving


async def test_the_command_lists_shows_tries_again_and_drops(
    world: World, service: Service, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CACAH_PROJECTIONS_URL", address)
    monkeypatch.setenv("CACAH_TOKEN", TOKEN)
    await world.publish([(4, b"garbage")])
    await world.send(*struck_and_neighbour())
    await service.at(5)
    numbers = {each["position"]: str(each["parked_id"]) for each in await parked(service)}
    listed = (await cacah("list")).stdout.splitlines()
    assert listed[-1] == "3 parked at the projections."
    rows = {line.split()[0]: line for line in listed[1:-1]}
    assert rows.keys() == set(numbers.values())
    assert f"3         {STRUCK}  alien.landed" in rows[numbers[3]]
    assert rows[numbers[4]].rstrip().endswith(tally.AN_EARLIER_ONE_WAITS)
    assert "none      unknown" in rows[numbers[None]]
    shown = orjson.loads((await cacah("show", numbers[3])).stdout)
    assert (shown["position"], shown["record"]["data"]) == (3, {})
    assert (await cacah("retry")).stdout == "2 tried: 0 applied, 2 still parked.\n"
    dropped = await cacah("drop", numbers[3], "--reason", "ganda")
    assert dropped.stdout.startswith("Dropped position 3; ")
    assert (await cacah("retry")).stdout == "1 tried: 1 applied, 0 still parked.\n"
    nothing = await cacah("drop", numbers[3], "--reason", "ganda", status=2)
    assert f"Nothing is parked under {numbers[3]}" in nothing.stderr


async def cacah(command: str, *arguments: str, status: int = 0) -> Result:
    """Run in a thread: the service that is asked runs in this one."""
    given = ["parked", command, *arguments, "--at", "projections"]
    result = await asyncio.to_thread(CliRunner().invoke, main, given)
    assert result.exit_code == status, result.output
    return result
