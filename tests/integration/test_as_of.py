"""As-of on the real parts: the tallies exactly as they stood, whatever happens meanwhile."""

import asyncio
import csv
import io
import random
import signal
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from services.projections import checkpointing, checkpoints, folding
from services.projections.checkpoints import forget_checkpoints, make_checkpoints
from services.projections.fold_tables import Fold
from shared.counts import NOTHING, Counts
from shared.database import create_engine
from shared.elections import PILKADA_2024, Election
from tests.integration.test_elections import SECOND, expected, put
from tests.integration.test_projections import (
    World,
    counts_in,
    free_port,
    life_in_the_regency,
    process,
)
from tests.property.test_fold_against_slow_model import model_of
from tests.support import slow_model
from tests.support.facts import LEMPUR_HILIR, LEMPUR_TENGAH, RECORDED_FROM, entry, registration
from tests.support.parts import Parts
from tests.support.projections_service import PILKADA, Service, running_service
from tests.support.published_log import logged_by_the_model

EVERY = 50


@pytest.fixture
def world(parts: Parts, database: str, topics: None, monkeypatch: pytest.MonkeyPatch) -> World:
    """Checkpoints come close together, at once."""
    monkeypatch.setattr(checkpoints, "CHECKPOINT_EVERY", EVERY)
    monkeypatch.setattr(checkpoints, "DELTAS_PER_ROW", 0)
    monkeypatch.setattr(checkpointing, "POLL_S", 0.05)
    return World(parts, database)


@pytest.fixture
async def service(world: World) -> AsyncIterator[Service]:
    async with running_service(world.url, world.bootstrap) as running:
        await running.ready()
        yield running


async def as_of(service: Service, moment: int | str, election: str = "pilkada-2024") -> Any:
    """The counts by village and the position that they are said to stand at."""
    answer = await service.http.get(
        f"/v1/elections/{election}/villages", params={"as_of": str(moment)}
    )
    assert answer.status_code == 200, answer.text
    body = answer.json()
    return body["position"], counts_in({row["village"]: row for row in body["villages"]})


async def refused(service: Service, path: str, status: int = 400, **params: Any) -> dict[str, Any]:
    answer = await service.get(path, **params)
    assert answer.status_code == status, answer.text
    body: dict[str, Any] = answer.json()
    (error,) = body["errors"]
    return body | {"type": body["type"].rpartition("/")[2], "field": error["field"]}


async def made(world: World, election: str, position: int) -> list[int]:
    """The positions of the checkpoints of what serves, once one is at a position."""
    async with asyncio.timeout(30):
        while True:
            rows = await world.fetch(
                "SELECT DISTINCT position FROM projections.checkpoints"
                " JOIN projections.elections USING (fold) WHERE id = election"
                f" AND id = '{election}' ORDER BY position"
            )
            positions = [row["position"] for row in rows]
            if position in positions:
                return positions
            await asyncio.sleep(0.05)


async def all_made(world: World, election: str, position: int) -> None:
    """Make what checkpoints there are to make of what serves."""
    (row,) = await world.fetch(f"SELECT fold FROM projections.elections WHERE id = '{election}'")
    engine = create_engine(world.url, pool_size=1)
    await make_checkpoints(engine, Fold(election, row["fold"]), position)
    await engine.dispose()


async def whole(world: World, election: str) -> None:
    async with asyncio.timeout(60):
        while await world.fetch(
            f"SELECT FROM projections.elections WHERE id = '{election}' AND history_from > 0"
        ):
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("seed", range(3))
async def test_at_every_position_and_time_it_is_what_the_slow_model_folds(
    world: World, service: Service, seed: int
) -> None:
    model = model_of(seed)
    entries = logged_by_the_model(model)
    await world.send(*entries)
    last = entries[-1].position
    await service.at(last)
    for said in slow_model.ELECTIONS:
        if said.id != PILKADA_2024.id:
            election = Election(
                said.id, said.polling_day, said.area, said.minimum_age, said.first_time_since
            )
            await put(service, election, status=201)
            await whole(world, said.id)
        await all_made(world, said.id, last)
        chance = random.Random(seed)
        for position in [0, last, *chance.sample(range(1, last), 25)]:
            assert (await as_of(service, position, said.id)) == (
                position,
                {
                    village: Counts._make(row[name] for name in Counts._fields)
                    for village, row in model.tallies(said, position).items()
                },
            )
        for _ in range(10):
            near = chance.choice(entries).recorded_at
            moment = near + timedelta(microseconds=chance.choice([-1, 0, 1]))
            at, counts = await as_of(service, moment.isoformat(), said.id)
            assert at == model.position_at(moment)
            assert counts == (await as_of(service, at, said.id))[1]


async def test_every_read_of_counts_takes_it(world: World, service: Service) -> None:
    entries = life_in_the_regency(400)
    await world.send(*entries)
    await service.at(400)
    then = expected(entries[:123], PILKADA_2024)
    villages = (await service.get("/villages", as_of=123)).json()
    assert counts_in({row["village"]: row for row in villages["villages"]}) == then
    one = (await service.get(f"/villages/{LEMPUR_TENGAH}", as_of=123)).json()
    assert one["position"] == 123
    assert Counts(**{name: one[name] for name in Counts._fields}) == then[LEMPUR_TENGAH]
    district = (await service.get("/villages", district="15.01.16", as_of=123)).json()
    rows = [row for row in villages["villages"] if row["district"] == "15.01.16"]
    assert district == {"position": 123, "villages": rows}
    districts = (await service.get("/districts", as_of=123)).json()
    total = (await service.get("/total", as_of=123)).json()
    assert (districts["position"], total["position"]) == (123, 123)
    for name in Counts._fields:
        summed = sum(getattr(counts, name) for counts in then.values())
        assert total[name] == summed == sum(row[name] for row in districts["districts"])
    answer = await service.http.get(
        PILKADA + "/villages", params={"as_of": 123}, headers={"Accept": "text/csv"}
    )
    assert answer.headers["x-cacah-position"] == "123"
    table = list(csv.DictReader(io.StringIO(answer.text, newline="")))
    assert {row["village"]: int(row["residents"]) for row in table} == {
        village: counts.residents for village, counts in then.items()
    }


async def test_a_time_is_the_last_position_recorded_by_then(world: World, service: Service) -> None:
    # Of one append many have the same time; `entry` gives each a second of its own.
    moments = [RECORDED_FROM + timedelta(seconds=n) for n in (10, 10, 10, 20, 20)]
    await world.send(
        *(
            registration(n, UUID(int=n))._replace(recorded_at=moment)
            for n, moment in enumerate(moments, 1)
        )
    )
    await service.at(5)
    instant = RECORDED_FROM + timedelta(seconds=10)
    for offset, position in [(-1, 0), (0, 3), (1, 3), (9_999_999, 3), (10_000_000, 5)]:
        moment = instant + timedelta(microseconds=offset)
        answer = (await service.get("/total", as_of=moment.isoformat())).json()
        assert (answer["position"], answer["residents"]) == (position, position)
    unencoded = instant.isoformat().replace("+", " ")
    assert (await service.get("/total", as_of=unencoded)).json()["position"] == 3
    long_ago = (await service.get("/villages", as_of="1945-08-17T10:00:00+07:00")).json()
    assert long_ago["position"] == 0
    assert len(long_ago["villages"]) == 287
    assert all(row["residents"] == 0 for row in long_ago["villages"])
    now = datetime.now(UTC).isoformat()
    assert (await service.get("/total", as_of=now)).json()["position"] == 5


@pytest.mark.parametrize(
    "written",
    [
        *("", "1.5", "-1", "x", "6", "9" * 30),
        *("2024-06-24", "2024-13-01", "2024-06-24T12:00:00", "2100-01-01T00:00:00Z"),
    ],
)
async def test_what_is_no_moment_of_the_log_is_invalid(service: Service, written: str) -> None:
    for path in ("/villages", f"/villages/{LEMPUR_TENGAH}", "/districts", "/total"):
        found = await refused(service, path, as_of=written)
        assert (found["type"], found["field"]) == ("invalid", "as_of")
        assert found["detail"].startswith("as_of ")


async def test_it_waits_by_itself_and_so_goes_without_min_position(service: Service) -> None:
    found = await refused(service, "/total", as_of="0", min_position=0)
    assert (found["type"], found["field"]) == ("invalid", "min_position")


async def test_elections_are_not_read_as_of_a_moment(service: Service) -> None:
    assert (await service.http.get("/v1/elections", params={"as_of": 0})).status_code == 400


async def test_a_position_not_counted_yet_is_waited_for(
    world: World, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.log(registration(1))
    monkeypatch.setattr("services.projections.reader.POSITION_TIMEOUT_S", 0.3)
    found = await refused(service, "/total", status=503, as_of=1)
    assert (found["type"], found["field"]) == ("not-yet", "as_of")
    monkeypatch.undo()
    waiting = asyncio.create_task(service.get("/total", as_of=1))
    await asyncio.sleep(0.2)
    assert not waiting.done()
    await world.publish(world.chain.events([registration(1)]) + world.chain.published(1))
    answer = (await waiting).json()
    assert (answer["position"], answer["residents"]) == (1, 1)


async def test_a_partition_that_is_ahead_does_not_show(world: World, service: Service) -> None:
    entries = life_in_the_regency(300)
    await world.send(*entries[:200])
    await service.at(200)
    await world.log(*entries[200:])
    # All partitions but one get everything: the cut stays, the tallies run ahead of it.
    records = world.chain.events(entries[200:]) + world.chain.published(300)
    await world.publish([record for record in records if record[0] != 5])
    async with asyncio.timeout(30):
        while not await world.fetch("SELECT FROM projections.marks WHERE position = 300"):
            await asyncio.sleep(0.05)
    assert await as_of(service, 200) == (200, expected(entries[:200], PILKADA_2024))
    assert await as_of(service, 130) == (130, expected(entries[:130], PILKADA_2024))
    await world.publish([record for record in records if record[0] == 5])
    assert await as_of(service, 300) == (300, expected(entries, PILKADA_2024))


async def test_after_a_put_the_past_is_by_the_new_definition_as_soon_as_it_is_filled_in(
    world: World, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = life_in_the_regency(600)
    await world.send(*entries[:500])
    await service.at(500)
    await made(world, "pilkada-2024", 500)
    go_on = asyncio.Event()

    async def fill_later(*given: Any) -> bool:
        await go_on.wait()
        return await folding.fill_history(*given)

    monkeypatch.setattr("services.projections.refolding.fill_history", fill_later)
    moved = replace(PILKADA_2024, polling_day=date(2021, 11, 27))
    await put(service, moved)
    await world.send(*entries[500:])
    await service.at(600)
    # What came after the switch is known from its end backwards.
    for position in (500, 555, 600):
        assert await as_of(service, position) == (position, expected(entries[:position], moved))
    for path in ("/total", "/villages", f"/villages/{LEMPUR_TENGAH}"):
        found = await refused(service, path, status=503, as_of=499)
        assert (found["type"], found["field"]) == ("not-yet", "as_of")
    assert not await world.fetch("SELECT FROM projections.checkpoints WHERE fold > 0")
    go_on.set()
    await whole(world, "pilkada-2024")
    assert await made(world, "pilkada-2024", 600) == list(range(EVERY, 601, EVERY))
    for position in (0, 1, 49, 50, 51, 333, 499, 555, 600):
        assert await as_of(service, position) == (position, expected(entries[:position], moved))
    async with asyncio.timeout(30):
        while await world.fetch("SELECT FROM projections.checkpoints WHERE fold = 0"):
            await asyncio.sleep(0.05)


async def test_an_election_put_later_is_read_as_of_before_it_was_put(
    world: World, service: Service
) -> None:
    entries = life_in_the_regency(500)
    await world.send(*entries)
    await service.at(500)
    await put(service, SECOND, status=201)
    await whole(world, "second")
    await made(world, "second", 500)
    for position in (0, 7, 100, 101, 499, 500):
        reading = await as_of(service, position, "second")
        assert reading == (position, expected(entries[:position], SECOND))


async def test_checkpoints_are_the_prefixes_and_are_read(world: World, service: Service) -> None:
    entries = life_in_the_regency(520)
    await world.send(*entries)
    await service.at(520)
    assert await made(world, "pilkada-2024", 500) == list(range(EVERY, 501, EVERY))
    rows = await world.fetch("SELECT * FROM projections.checkpoints WHERE position = 300")
    then = expected(entries[:300], PILKADA_2024)
    kept = {row["village"]: Counts(*(row[name] for name in Counts._fields)) for row in rows}
    assert kept == {village: then[village] for village in kept}
    assert all(then[village] == NOTHING for village in then.keys() - kept.keys())
    # They are used: one that is wrong shows, in what is after it and up to the next.
    await world.fetch("UPDATE projections.checkpoints SET tni = tni + 1000 WHERE position = 300")
    for position, wrong in [(299, 0), (300, 1000), (349, 1000), (350, 0)]:
        counts = (await as_of(service, position))[1]
        right = expected(entries[:position], PILKADA_2024)
        assert {counts[v].tni - right[v].tni for v in kept} == {wrong}


async def test_forgotten_checkpoints_are_made_anew_from_a_changed_history(
    world: World, service: Service
) -> None:
    entries = life_in_the_regency(360)
    await world.send(*entries[:300])
    await service.at(300)
    await made(world, "pilkada-2024", 300)
    (row,) = await world.fetch(
        "SELECT min(position) AS position FROM projections.history WHERE position > 150"
    )
    changed = row["position"]
    engine = create_engine(world.url, pool_size=1)
    async with engine.begin() as connection:
        await forget_checkpoints(connection, changed)
        left = await connection.exec_driver_sql("SELECT max(position) FROM projections.checkpoints")
        assert left.scalar_one() == 150
        late = await connection.exec_driver_sql(
            f"UPDATE projections.history SET tni = tni + 1 WHERE position = {changed}"
        )
        # Meanwhile the next would come due: it must not be made of the old history.
        await world.send(*entries[300:])
        await service.at(360)
        await asyncio.sleep(0.5)
    await engine.dispose()
    await made(world, "pilkada-2024", 350)
    for position, added in ((changed - 1, 0), (changed, 1), (299, 1), (355, 1)):
        counts = (await as_of(service, position))[1]
        right = expected(entries[:position], PILKADA_2024)
        difference = sum(counts[v].tni - right[v].tni for v in right)
        assert difference == added * late.rowcount


async def test_a_checkpointer_killed_again_and_again_leaves_the_right_ones(
    world: World, parts: Parts
) -> None:
    entries = life_in_the_regency(20_000)
    async with running_service(world.url, world.bootstrap) as service:
        await service.ready()
        await world.send(*entries)
        await service.at(20_000)
    await world.fetch("DELETE FROM projections.checkpoints")
    chance = random.Random(6)
    engine = create_engine(world.url, pool_size=1)
    for _ in range(5):
        with process(world, free_port()) as killed:
            await asyncio.sleep(1.2 + chance.random())
            killed.send_signal(signal.SIGKILL)
            killed.wait()
    # Those left over are made by the other door, as a replay makes them.
    await make_checkpoints(engine, Fold("pilkada-2024", 0), 20_000)
    assert await make_checkpoints(engine, Fold("pilkada-2024", 0), 20_000) == 0
    await engine.dispose()
    positions = [
        row["position"]
        for row in await world.fetch("SELECT DISTINCT position FROM projections.checkpoints")
    ]
    assert len(positions) >= 10
    async with running_service(world.url, world.bootstrap) as service:
        await service.ready()
        for position in [*positions[:10], 1_999, 10_001, 20_000]:
            then = expected(entries[:position], PILKADA_2024)
            assert await as_of(service, position) == (position, then)


async def explained(service: Service, village: str, **params: Any) -> dict[str, Any]:
    answer = await service.get(f"/villages/{village}/history", **params)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def test_the_events_that_made_the_difference_add_up_to_it(
    world: World, service: Service
) -> None:
    await world.send(*life_in_the_regency(2_000))
    await service.at(2_000)
    rows = await world.fetch(
        "SELECT village FROM projections.history GROUP BY village ORDER BY count(*) DESC LIMIT 1"
    )
    village = rows[0]["village"]
    events: list[dict[str, Any]] = []
    after: int | None = 500
    while after is not None:
        page = await explained(service, village, **{"from": after, "to": 1_500, "limit": 3})
        events += page["events"]
        after = page["next"]
    first = await explained(service, village, **{"from": 500, "to": 1_500})
    assert events == first["events"]
    assert len(events) > 5
    for name in Counts._fields:
        difference = sum(event["added"].get(name, 0) for event in events)
        assert first["before"][name] + difference == first["after"][name]
    assert first["after"] == (await as_of(service, 1_500))[1][village]._asdict()
    log = {each.position: each for each in life_in_the_regency(2_000)}
    for event in events:
        logged = log[event["position"]]
        assert event["type"] == logged.type
        assert event["resident_id"] == str(logged.resident_id)


async def test_each_event_is_told_in_words(world: World, service: Service) -> None:
    somebody, other = UUID(int=1), UUID(int=2)
    await world.send(
        registration(1, somebody),
        entry("ktp.recorded", 2, somebody),
        entry("relocation.started", 3, somebody, letter_no="1"),
        entry(
            "resident.relocated",
            4,
            somebody,
            to_village=LEMPUR_HILIR,
            effective_date="2024-05-01",
            letter_no="1",
        ),
        registration(5, other, birth_date="2010-01-01"),
        entry("resident.married", 6, other, married_on="2024-05-01"),
        entry("rights.revoked", 7, other, effective_date="2024-05-01", verdict_no="1"),
        entry("resident.died", 8, other, died_on="2024-05-01"),
    )
    await service.at(8)
    left = await explained(service, LEMPUR_TENGAH)
    assert [event["in_words"] for event in left["events"]] == [
        "registered",
        "recorded",
        "moving letter issued",
        "moved out",
        "registered",
        "became eligible: married",
        "no longer eligible: the right to vote was revoked",
        "died",
    ]
    assert left["events"][3]["other_village"] == LEMPUR_HILIR
    assert left["definition"] == {"fold": 0, "time": None, "position": 0}
    (arrived,) = (await explained(service, LEMPUR_HILIR))["events"]
    assert (arrived["effect"], arrived["other_village"]) == ("moved_in", LEMPUR_TENGAH)
    assert arrived["added"] == {
        "residents": 1,
        "eligible": 1,
        "eligible_male": 1,
        "eligible_recorded": 1,
    }


async def test_a_history_is_by_the_definition_that_serves_and_says_so(
    world: World, service: Service
) -> None:
    entries = life_in_the_regency(300)
    await world.send(*entries)
    await service.at(300)
    moved = replace(PILKADA_2024, polling_day=date(2021, 11, 27))
    await put(service, moved)
    await whole(world, "pilkada-2024")
    told = await explained(service, LEMPUR_TENGAH, **{"from": 100})
    assert told["definition"]["fold"] == 1
    assert told["definition"]["position"] == 300
    assert told["definition"]["time"].startswith(datetime.now(UTC).strftime("%Y-%m-%d"))
    assert told["after"] == expected(entries, moved)[LEMPUR_TENGAH]._asdict()


async def test_a_wrong_range_or_village_is_refused(world: World, service: Service) -> None:
    await world.send(registration(1), entry("ktp.recorded", 2))
    await service.at(2)
    path = f"/villages/{LEMPUR_TENGAH}/history"
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"from": 2, "to": 1}, "from"),
        ({"from": "x"}, "from"),
        ({"to": "3"}, "to"),
        ({"limit": 0}, "limit"),
        ({"as_of": 1}, "as_of"),
    ]
    for params, field in wrong:
        found = await refused(service, path, **params)
        assert (found["type"], found["field"]) == ("invalid", field)
    assert (await service.get("/villages/31.71.01.1001/history")).status_code == 404
