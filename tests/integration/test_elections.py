"""Elections are data: put, counted from the log alone, and told, on the real parts."""

import asyncio
import contextlib
import random
import signal
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import date
from typing import Any
from uuid import UUID

import pytest

from services.projections.domain.definitions import written_definition
from services.projections.domain.tally import added, project, sums
from services.projections.folding import FoldingFailedError
from shared.access import Role, Tokens
from shared.counts import NOTHING, Counts
from shared.database import create_engine
from shared.elections import PILKADA_2024, Election, Stage
from shared.events.records import LogEntry, logged_fact, write_published
from shared.regions import villages_in
from shared.topics import PARTITIONS
from tests.integration.test_projections import (
    World,
    counts_in,
    free_port,
    life_in_the_regency,
    process,
    somebody,
)
from tests.support.facts import LEMPUR_TENGAH, SIULAK_GEDANG, registration
from tests.support.parts import Parts
from tests.support.projections_service import PILKADA, Service, all_changes

SECOND = Election("second", date(2023, 6, 1), "15.01.16", 21, date(2023, 1, 1))
SIULAK = [village.code for village in villages_in("15.01.16")]


@pytest.fixture
def world(parts: Parts, database: str, topics: None) -> World:
    return World(parts, database)


@pytest.fixture
async def service(world: World) -> AsyncIterator[Service]:
    async with world.service() as running:
        await running.ready()
        yield running


def body_of(election: Election) -> dict[str, Any]:
    written = written_definition(election)
    stages = [{"name": each["name"], "from": str(each["from"])} for each in written["stages"]]
    return written | {
        "polling_day": str(election.polling_day),
        "first_time_since": str(election.first_time_since),
        "stages": stages,
    }


async def put(service: Service, election: Election, status: int = 200) -> dict[str, Any]:
    answer = await service.http.put(f"/v1/elections/{election.id}", json=body_of(election))
    assert answer.status_code == status, answer.text
    shown: dict[str, Any] = answer.json()
    return shown


async def counted(service: Service, election_id: str, position: int) -> dict[str, Counts]:
    path = f"/v1/elections/{election_id}/villages?min_position={position}"
    async with asyncio.timeout(60):
        while (answer := await service.http.get(path)).status_code == 503:
            await asyncio.sleep(0.05)
    assert answer.status_code == 200, answer.text
    return counts_in({row["village"]: row for row in answer.json()["villages"]})


def expected(entries: Sequence[LogEntry], election: Election) -> dict[str, Counts]:
    """What the pure fold makes of a log in one go."""
    projected = project({}, [logged_fact(each) for each in entries], [election])
    nothing = {village.code: NOTHING for village in villages_in(election.area)}
    return nothing | {key.village: each.counts for key, each in sums(projected.deltas).items()}


async def told(world: World, election_id: str) -> dict[str, Counts]:
    """What the changes add up to: chained, their revisions without a gap."""
    stands: dict[str, tuple[int, Counts]] = {}
    for change in await all_changes(world.bootstrap):
        if change["election"] != election_id:
            continue
        revision, counts = stands.get(change["village"], (0, NOTHING))
        if change["revision"] <= revision:
            continue
        assert change["revision"] == revision + 1
        assert Counts(**change["before"]) == counts
        stands[change["village"]] = change["revision"], Counts(**change["after"])
    return {village: counts for village, (_, counts) in stands.items() if counts != NOTHING}


async def until_told(world: World, election_id: str, tallies: dict[str, Counts]) -> None:
    lived_in = {village: counts for village, counts in tallies.items() if counts != NOTHING}
    async with asyncio.timeout(30):
        while await told(world, election_id) != lived_in:
            await asyncio.sleep(0.2)


async def test_an_election_added_later_counts_the_whole_log(world: World, service: Service) -> None:
    entries = life_in_the_regency(2_000)
    await world.send(*entries)
    await service.at(2_000)
    shown = await put(service, SECOND, status=201)
    assert shown == {"id": "second"} | body_of(SECOND) | {"state": "serving"}
    tallies = await counted(service, "second", 2_000)
    assert tallies == expected(entries, SECOND)
    assert list(tallies) == SIULAK
    await until_told(world, "second", tallies)
    assert counts_in(await service.at(2_000)) == expected(entries, PILKADA_2024)
    listed = (await service.http.get("/v1/elections")).json()["elections"]
    pilkada = {"id": "pilkada-2024"} | body_of(PILKADA_2024) | {"state": "serving"}
    assert listed == [pilkada, shown]
    assert (await service.http.get("/v1/elections/second")).json() == shown


async def test_what_changes_of_an_election_is_told_as_ordinary_changes(
    world: World, service: Service
) -> None:
    entries = life_in_the_regency(2_000)
    await world.send(*entries)
    await service.at(2_000)
    moved = replace(
        PILKADA_2024, polling_day=date(2021, 11, 27), stages=(Stage("s", date(2020, 1, 1)),)
    )
    await put(service, moved)
    tallies = await counted(service, "pilkada-2024", 2_000)
    assert tallies == expected(entries, moved)
    await until_told(world, "pilkada-2024", tallies)
    (*_, last) = [c for c in await all_changes(world.bootstrap) if c["stage"] == "s"]
    assert last["position"] == 2_000
    await world.send(*(more := life_in_the_regency(2_200)[2_000:]))
    tallies = await counted(service, "pilkada-2024", 2_200)
    assert tallies == expected([*entries, *more], moved)
    await until_told(world, "pilkada-2024", tallies)


async def test_villages_that_leave_the_area_go_to_zero_and_off_the_list(
    world: World, service: Service
) -> None:
    entries = life_in_the_regency(1_000)
    await world.send(*entries)
    await service.at(1_000)
    smaller = replace(PILKADA_2024, area="15.01.16")
    await put(service, smaller)
    tallies = await counted(service, "pilkada-2024", 1_000)
    assert list(tallies) == SIULAK
    await until_told(world, "pilkada-2024", tallies)
    assert (await service.get("/villages/" + LEMPUR_TENGAH)).status_code == 404
    await put(service, PILKADA_2024)
    assert await counted(service, "pilkada-2024", 1_000) == expected(entries, PILKADA_2024)
    await until_told(world, "pilkada-2024", expected(entries, PILKADA_2024))


async def test_an_election_of_the_whole_country_has_all_its_villages(
    world: World, service: Service
) -> None:
    entries = life_in_the_regency(500)
    await world.send(*entries)
    await service.at(500)
    country = replace(SECOND, area="ID")
    await put(service, country, status=201)
    tallies = await counted(service, "second", 500)
    assert len(tallies) == 83_762
    assert tallies == expected(entries, country)
    await put(service, SECOND)
    assert await counted(service, "second", 500) == expected(entries, SECOND)
    # What nobody was told of is removed after the election serves.
    async with asyncio.timeout(60):
        while await rows_of(world, "second") >= 1_000:
            await asyncio.sleep(0.1)


async def rows_of(world: World, election_id: str) -> int:
    query = f"SELECT FROM projections.tallies WHERE election = '{election_id}'"
    return len(await world.fetch(query))


async def test_the_same_definition_again_changes_nothing(world: World, service: Service) -> None:
    await world.send(*life_in_the_regency(300))
    await service.at(300)
    await put(service, PILKADA_2024)
    await put(service, SECOND, status=201)
    await until_told(world, "second", await counted(service, "second", 300))
    before = len(await all_changes(world.bootstrap))
    assert await put(service, SECOND) == await put(service, SECOND)
    folds = await world.fetch("SELECT fold FROM projections.elections ORDER BY id")
    assert [row["fold"] for row in folds] == [0, 1]
    await asyncio.sleep(0.5)
    assert len(await all_changes(world.bootstrap)) == before


async def test_other_stages_alone_fold_nobody(world: World, service: Service) -> None:
    await put(service, SECOND, status=201)
    staged = replace(SECOND, stages=(Stage("dpt", date(2023, 1, 1)),))
    assert (await put(service, staged))["stages"] == [{"name": "dpt", "from": "2023-01-01"}]
    (row,) = await world.fetch("SELECT fold FROM projections.elections WHERE id = 'second'")
    assert row["fold"] == 1
    await world.send(registration(1, village=SIULAK_GEDANG))
    await until_told(world, "second", await counted(service, "second", 1))
    changes = [c for c in await all_changes(world.bootstrap) if c["election"] == "second"]
    assert [change["stage"] for change in changes] == ["dpt"]


async def test_elections_put_while_events_flow_are_right_and_hold_nobody_up(
    world: World, service: Service
) -> None:
    entries = life_in_the_regency(12_000)
    await world.send(*entries[:4_000])
    await service.at(4_000)

    # The metrics are the test process's, and other tests make attempts fail.
    failed_before = await failures(service)

    async def flow() -> None:
        for begin in range(4_000, 12_000, 200):
            await world.send(*entries[begin : begin + 200])
            await asyncio.sleep(0.05)

    flowing = asyncio.create_task(flow())
    await put(service, SECOND, status=201)
    moved = replace(SECOND, polling_day=date(2028, 1, 1), area="15.01")
    await put(service, moved)
    smaller = replace(PILKADA_2024, area="15.01.01", minimum_age=30)
    await put(service, smaller)
    await flowing
    for election in (moved, smaller):
        tallies = await counted(service, election.id, 12_000)
        assert tallies == expected(entries, election)
        await until_told(world, election.id, tallies)
    assert await failures(service) == failed_before


async def failures(service: Service) -> str:
    lines = (await service.http.get("/metrics")).text.splitlines()
    return next(line for line in lines if line.startswith("projections_failures_total"))


async def test_of_two_definitions_put_at_once_one_stands_without_a_mixture(
    world: World, service: Service
) -> None:
    entries = life_in_the_regency(1_000)
    await world.send(*entries)
    await service.at(1_000)
    wanted = [
        replace(SECOND, polling_day=date(2023 + n, 6, 1), area="15.01", minimum_age=17 + n)
        for n in range(4)
    ]
    answers = await asyncio.gather(
        *(service.http.put("/v1/elections/second", json=body_of(each)) for each in wanted)
    )
    assert sorted({answer.status_code for answer in answers}) == [200, 201]
    shown = (await service.http.get("/v1/elections/second")).json()
    assert shown["state"] == "serving"
    (stands,) = [each for each in wanted if body_of(each) == {n: shown[n] for n in body_of(each)}]
    (row,) = await world.fetch("SELECT definition::text FROM projections.puts")
    assert f'"polling_day":"{stands.polling_day}"' in row["definition"]
    tallies = await counted(service, "second", 1_000)
    assert tallies == expected(entries, stands)
    await until_told(world, "second", tallies)


async def test_answers_stay_at_the_cut_when_a_folding_comes_to_serve_beyond_it(
    world: World, service: Service
) -> None:
    early = registration(1, somebody(0), village=SIULAK_GEDANG)
    ahead = [registration(2 + n, somebody(1, 1 + n), village=SIULAK_GEDANG) for n in range(5)]
    late = registration(7, somebody(2), village=SIULAK_GEDANG)
    entries = [early, *ahead, late]
    await world.log(*entries)
    records = world.chain.events(entries)
    held_back = [record for record in records if record[0] == 2]
    await world.publish([record for record in records if record[0] != 2])
    others = [partition for partition in range(PARTITIONS) if partition != 2]
    await world.publish([*world.chain.published(7, others), (2, write_published(1, 0))])
    await service.at(1)
    async with asyncio.timeout(20):
        while (await world.fetch("SELECT FROM projections.facts")) != [()] * 6:
            await asyncio.sleep(0.05)
    await put(service, SECOND, status=201)
    for _ in range(20):
        assert await counted(service, "second", 1) == expected(entries[:1], SECOND)
        await asyncio.sleep(0.05)
    await world.publish(held_back + world.chain.published(7, [2]))
    assert await counted(service, "second", 7) == expected(entries, SECOND)
    await until_told(world, "second", expected(entries, SECOND))


async def test_the_history_behind_a_folding_is_filled_in_and_the_old_one_goes(
    world: World, service: Service
) -> None:
    entries = life_in_the_regency(3_000)
    await world.send(*entries)
    await service.at(3_000)
    moved = replace(PILKADA_2024, polling_day=date(2021, 11, 27))
    await put(service, moved)
    async with asyncio.timeout(30):
        while not await history_is_whole(world):
            await asyncio.sleep(0.1)
    rows = await world.fetch("SELECT * FROM projections.history ORDER BY position, village")
    deltas = project({}, [logged_fact(each) for each in entries], [moved]).deltas
    assert {row["fold"] for row in rows} == {1}
    assert [(row["position"], row["village"]) for row in rows] == sorted(
        (delta.position, delta.key.village) for delta in deltas
    )
    whole = dict.fromkeys(expected(entries, moved), NOTHING)
    for row in rows:
        counts = Counts._make(row[name] for name in Counts._fields)
        whole[row["village"]] = added(whole[row["village"]], counts)
    assert whole == expected(entries, moved)


async def history_is_whole(world: World) -> bool:
    (row,) = await world.fetch(
        "SELECT (SELECT sum(history_from) FROM projections.elections) AS missing,"
        " (SELECT count(*) FROM projections.folds) AS folds"
    )
    return int(row["missing"]) == 0 and row["folds"] == 1


async def test_killed_in_the_middle_of_a_folding_the_old_one_serves_and_it_is_begun_again(
    world: World,
) -> None:
    entries = life_in_the_regency(20_000)
    async with world.service() as service:
        await world.send(*entries)
        await service.at(20_000)
    moved = replace(PILKADA_2024, polling_day=date(2021, 11, 27))
    chance = random.Random(5)
    for n in range(3):
        with process(world, port := free_port()) as running:
            asking = asyncio.create_task(put_at(port, moved))
            async with asyncio.timeout(30):
                while await folds_begun(world) < n + 1:
                    await asyncio.sleep(0.02)
            await asyncio.sleep(chance.random() * 0.5)
            running.send_signal(signal.SIGKILL)
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
    async with world.service() as service:
        tallies = await counted(service, "pilkada-2024", 20_000)
        async with asyncio.timeout(30):
            while (await service.http.get(PILKADA)).json()["state"] != "serving":
                assert tallies == expected(entries, PILKADA_2024)
                tallies = await counted(service, "pilkada-2024", 20_000)
        tallies = await counted(service, "pilkada-2024", 20_000)
        assert tallies == expected(entries, moved)
        await until_told(world, "pilkada-2024", tallies)
        async with asyncio.timeout(60):
            while not await history_is_whole(world):
                await asyncio.sleep(0.1)
        async with asyncio.timeout(30):
            while await world.fetch("SELECT FROM projections.voter_differences"):
                await asyncio.sleep(0.1)


async def put_at(port: int, election: Election) -> None:
    import httpx

    from tests.support.projections_service import HEADERS

    url = f"http://127.0.0.1:{port}/v1/elections/{election.id}"
    async with httpx.AsyncClient(headers=HEADERS, timeout=60) as http:
        while True:
            with contextlib.suppress(httpx.TransportError):
                await http.put(url, json=body_of(election))
            await asyncio.sleep(0.05)


async def folds_begun(world: World) -> int:
    (row,) = await world.fetch("SELECT coalesce(max(fold), 0) AS fold FROM projections.folds")
    return int(row["fold"])


async def test_a_refused_definition_names_the_member_and_leaves_the_elections(
    service: Service,
) -> None:
    before = (await service.http.get("/v1/elections")).json()
    good = body_of(SECOND)
    stages = [{"name": "a", "from": "2024-02-01"}, {"name": "b", "from": "2024-01-01"}]
    for election_id, body, field in [
        ("second", good | {"polling_day": "1900-01-01"}, "polling_day"),
        ("second", good | {"area": "99.01"}, "area"),
        ("second", good | {"stages": stages}, "stages.1.from"),
        ("pilkada-2024", good | {"minimum_age": 121}, "minimum_age"),
        ("second", good | {"colour": "red"}, "colour"),
        ("-second", good, "id"),
        ("se%00cond", good, "id"),
        ("second", [], "body"),
    ]:
        answer = await service.http.put(f"/v1/elections/{election_id}", json=body)
        problem = answer.json()
        assert (answer.status_code, problem["type"].rpartition("/")[2]) == (400, "invalid")
        assert [error["field"] for error in problem["errors"]] == [field]
    answer = await service.http.put("/v1/elections/second", content=b"{")
    assert (answer.status_code, answer.json()["type"].rpartition("/")[2]) == (400, "invalid")
    answer = await service.http.put("/v1/elections/second", content=b" " * 70_000)
    assert (answer.status_code, answer.json()["type"].rpartition("/")[2]) == (413, "too-large")
    assert (await service.http.get("/v1/elections")).json() == before


async def test_only_an_operator_puts_elections(world: World, service: Service) -> None:
    engine = create_engine(world.url)
    tokens = Tokens(engine, None)
    answers = [await service.http.put("/v1/elections/second", headers={"Authorization": ""})]
    for role in (Role.STATION, Role.KPU):
        headers = {"Authorization": f"Bearer {await tokens.create(role, 'KRC-01')}"}
        answers.append(
            await service.http.put("/v1/elections/second", json=body_of(SECOND), headers=headers)
        )
    await engine.dispose()
    assert [answer.status_code for answer in answers] == [401, 403, 403]
    assert (await service.http.get("/v1/elections/second")).status_code == 404


async def test_until_it_is_counted_a_new_election_says_not_yet(
    world: World, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(*_: Any) -> None:
        raise FoldingFailedError("as if killed")

    monkeypatch.setattr("services.projections.electing.ANSWER_S", 0.2)
    with monkeypatch.context() as broken:
        broken.setattr("services.projections.refolding.fold_share", fails)
        shown = await put(service, SECOND, status=202)
        assert shown["state"] == "folding"
        answer = await service.http.get("/v1/elections/second/total")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert answer.json()["type"].endswith("/not-yet")
        listed = (await service.http.get("/v1/elections")).json()["elections"]
        assert [(each["id"], each["state"]) for each in listed] == [
            ("pilkada-2024", "serving"),
            ("second", "folding"),
        ]
    assert await counted(service, "second", 0) == expected([], SECOND)


def test_ids_of_people_are_spread_over_the_shares() -> None:
    from services.projections.folding import shares

    first, *_, last = shares(3)
    assert (first.first, last.last) == (UUID(int=0), UUID(int=2**128 - 1))
