"""The voters' feed on the real parts: every change of a person once, whatever dies or is put."""

import asyncio
import random
import signal
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import date
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio

from services.projections.domain.electorate import standing_for, votes_in
from services.projections.domain.resident import Resident
from shared.access import Role, Tokens
from shared.database import create_engine
from shared.elections import PILKADA_2024, Election
from shared.events.facts import LoggedFact
from shared.events.records import LogEntry, logged_fact
from tests.integration.test_elections import SECOND, SIULAK, put
from tests.integration.test_notifier import MakeNotifier, make_notifier, notifier, topic
from tests.integration.test_projections import World, life_in_the_regency
from tests.support.notifier_process import (
    ELECTION,
    WAIT_S,
    NotifierProcess,
    TopicWriter,
    running,
    streamed,
)
from tests.support.parts import Parts
from tests.support.projections_service import Service
from tests.support.voter_records import SOMEBODY, area, written

__all__ = ["make_notifier", "notifier", "topic"]

HERE, THERE = "15.01.09.2001", "15.01.05.2003"
PEOPLE = [UUID(int=n) for n in range(1, 8)]

Votes = dict[str, str]


@pytest.fixture
def world(parts: Parts, database: str, topics: None) -> World:
    return World(parts, database)


@pytest_asyncio.fixture
async def service(world: World) -> AsyncIterator[Service]:
    async with world.service() as started:
        await started.ready()
        yield started


async def voter_changes(notifier: NotifierProcess, election: str = ELECTION) -> list[Any]:
    """The whole feed, in pages."""
    feed: list[Any] = []
    while True:
        answer = await notifier.client.get(
            f"/v1/elections/{election}/voters/changes", params={"after": len(feed), "limit": 1_000}
        )
        if answer.status_code == 404:
            return feed
        page = answer.json()
        feed += page["changes"]
        if len(feed) == page["last"]:
            return feed


def added_up(feed: Sequence[dict[str, Any]]) -> Votes:
    """Who votes where; sequences without a gap, each change from where the last one ended."""
    assert [change["sequence"] for change in feed] == list(range(1, len(feed) + 1))
    votes: Votes = {}
    for change in feed:
        assert change["from_village"] == votes.pop(change["voter"], None)
        assert change["from_village"] != change["to_village"]
        if change["to_village"] is not None:
            votes[change["voter"]] = change["to_village"]
    return votes


async def until_votes(notifier: NotifierProcess, expected: Votes, election: str = ELECTION) -> Any:
    """Wait until the feed adds up to these voters, and return it."""
    async with asyncio.timeout(WAIT_S * 2):
        while added_up(feed := await voter_changes(notifier, election)) != expected:
            await asyncio.sleep(0.2)
    return feed


def voters(entries: Sequence[LogEntry], election: Election) -> Votes:
    """Who votes where after a log, by the pure rules."""
    known: dict[UUID, list[LoggedFact]] = {}
    for each in entries:
        known.setdefault(each.resident_id, []).append(logged_fact(each))
    votes = {
        str(who): votes_in(standing_for(Resident(tuple(facts)), election))
        for who, facts in known.items()
    }
    return {who: village for who, village in votes.items() if village is not None}


def moves(first: int, last: int) -> list[bytes]:
    """Everybody moves to and fro; each of the places once."""
    return [
        written(person, (HERE, THERE)[place % 2], place=place, reason="id.dukcapil.x")
        for place in range(first, last + 1)
        for person in PEOPLE
    ]


def all_at(village: str) -> Votes:
    return {str(person): village for person in PEOPLE}


async def test_a_record_becomes_a_change_as_the_contract_words_it(
    notifier: NotifierProcess, topic: TopicWriter
) -> None:
    await topic.write_persons([written(to=HERE, place=41)])
    (change,) = await until_votes(notifier, {str(SOMEBODY): HERE})
    assert change == {
        "sequence": 1,
        "election": ELECTION,
        "voter": str(SOMEBODY),
        "kind": "added",
        "reason": "id.dukcapil.resident.registered",
        "from_village": None,
        "to_village": HERE,
        "position": 41,
        "time": "2024-08-20T01:00:00.123456Z",
        "stage": "dps",
    }


async def test_records_delivered_twice_are_told_once_by_page_and_by_stream(
    notifier: NotifierProcess, topic: TopicWriter
) -> None:
    await topic.write_persons([*moves(1, 10), *moves(4, 10), *moves(1, 11)])
    feed = await until_votes(notifier, all_at(THERE))
    assert len(feed) == 11 * len(PEOPLE)
    assert await streamed(notifier, last=len(feed), feed="/voters") == feed
    middle = await streamed(
        notifier, last=len(feed), after=0, feed="/voters", **{"Last-Event-ID": "20"}
    )
    assert middle == feed[20:]
    assert (await notifier.changes())["changes"] == []


@pytest.mark.parametrize("place", ["before-commit", "before-ack"])
async def test_a_notifier_killed_around_the_commit_neither_repeats_nor_skips(
    make_notifier: MakeNotifier, topic: TopicWriter, place: str
) -> None:
    dying = make_notifier(module="tests.support.dying_notifier")
    dying.environment["CACAH_TEST_DIES"] = f"{place}:2"
    await dying.start()
    for step in range(1, 400):
        await topic.write_persons(moves(step, step))
        if dying.process is not None and dying.process.returncode is not None:
            break
        await asyncio.sleep(0.02)
    assert await dying.ended() == -signal.SIGKILL
    await dying.close()
    async with running(make_notifier()) as risen:
        await topic.write_persons(moves(step + 1, step + 2))
        async with asyncio.timeout(WAIT_S):
            while len(feed := await voter_changes(risen)) < (step + 2) * len(PEOPLE):
                await asyncio.sleep(0.1)
        assert added_up(feed) == all_at((HERE, THERE)[step % 2])
        assert len(feed) == (step + 2) * len(PEOPLE)


async def test_an_unreadable_record_harms_no_other(
    notifier: NotifierProcess, topic: TopicWriter
) -> None:
    await topic.write_persons([written(to="15.01"), *moves(1, 2)])
    await until_votes(notifier, all_at(HERE))
    assert await notifier.metric("cacah_notifier_unreadable_total") == 1


async def test_an_election_is_known_with_its_area_before_anything_happens(
    notifier: NotifierProcess, topic: TopicWriter
) -> None:
    await topic.write_persons([area("second", "15.01.16", fold=2), area("second", "15", fold=1)])
    async with asyncio.timeout(WAIT_S):
        while len(listed := (await notifier.client.get("/v1/elections")).json()["elections"]) < 2:
            await asyncio.sleep(0.05)
    assert listed[1] == {"id": "second", "area": "15.01.16", "sequence": 0, "position": 0}
    snapshot = (await notifier.client.get("/v1/elections/second/snapshot")).json()
    assert [village["village"] for village in snapshot["villages"]] == SIULAK
    for path in ("changes", "voters/changes"):
        page = (await notifier.client.get(f"/v1/elections/second/{path}")).json()
        assert page == {"changes": [], "last": 0}


async def test_kpu_reads_the_voters_and_a_station_does_not(
    notifier: NotifierProcess, parts: Parts, database: str
) -> None:
    engine = create_engine(parts.url(database))
    tokens = Tokens(engine, None)
    kpu, station = await tokens.create(Role.KPU, "kpu"), await tokens.create(Role.STATION, "S1")
    await engine.dispose()
    for path in ("changes", "stream"):
        url = f"/v1/elections/{ELECTION}/voters/{path}"
        statuses = []
        for token in (kpu, station, "no"):
            headers = {"Authorization": f"Bearer {token}"}
            async with notifier.client.stream("GET", url, headers=headers) as answer:
                statuses.append(answer.status_code)
        assert statuses == [200, 403, 401], path


async def test_a_wrong_question_names_the_member(notifier: NotifierProcess) -> None:
    for path, kind in [
        ("pilkada-1955/voters/changes", "not-found"),
        ("pilkada-1955/voters/stream", "not-found"),
        (f"{ELECTION}/voters/changes?after=1", "invalid"),
        (f"{ELECTION}/voters/stream?after=x", "invalid"),
        (f"{ELECTION}/voters/changes?limit=0", "invalid"),
    ]:
        problem = (await notifier.client.get(f"/v1/elections/{path}")).json()
        assert problem["type"].rpartition("/")[2] == kind, path


async def test_from_the_log_to_kpu_every_person_once_with_the_reason(
    world: World, service: Service, make_notifier: MakeNotifier
) -> None:
    entries = life_in_the_regency(3_000)
    async with running(make_notifier()) as notifier:
        await world.send(*entries)
        feed = await until_votes(notifier, voters(entries, PILKADA_2024))
        by_position = {each.position: each for each in entries}
        for change in feed:
            entry = by_position[change["position"]]
            assert change["reason"] == entry.type
            assert change["voter"] == str(entry.resident_id)
            assert change["stage"] == "dp4"
        rows = await service.at(3_000)
        sizes = [sum(v == code for v in added_up(feed).values()) for code in rows]
        assert sizes == [row["eligible"] for row in rows.values()]


async def test_with_elections_put_and_notifiers_killed_while_events_flow_nothing_is_lost(
    world: World, service: Service, make_notifier: MakeNotifier
) -> None:
    entries = life_in_the_regency(6_000)
    await world.send(*entries[:2_000])
    moved = replace(SECOND, area="15.01", polling_day=date(2027, 11, 27))
    smaller = replace(PILKADA_2024, area="15.01.01")

    async def flow() -> None:
        for begin in range(2_000, 6_000, 100):
            await world.send(*entries[begin : begin + 100])
            await asyncio.sleep(0.05)

    async def change() -> None:
        await put(service, SECOND, status=201)
        await put(service, moved)
        await put(service, smaller)

    working = asyncio.gather(flow(), change())
    while not working.done():
        victim = make_notifier()
        await victim.start()
        await asyncio.sleep(random.uniform(1, 4))
        await victim.signal(signal.SIGKILL)
        await victim.close()
    await working
    async with running(make_notifier()) as notifier:
        feed = await until_votes(notifier, voters(entries, moved), "second")
        assert {"election.changed", "id.dukcapil.resident.registered"} <= {
            change["reason"] for change in feed
        }
        await until_votes(notifier, voters(entries, smaller))
        listed = (await notifier.client.get("/v1/elections")).json()["elections"]
        assert {each["id"]: each["area"] for each in listed} == {
            "pilkada-2024": "15.01.01",
            "second": "15.01",
        }


async def test_what_projections_tell_twice_changes_nothing(
    world: World, service: Service, make_notifier: MakeNotifier
) -> None:
    await world.fetch(
        "CREATE FUNCTION crash() RETURNS trigger LANGUAGE plpgsql AS"
        " 'BEGIN RAISE EXCEPTION ''crash''; END'"
    )
    for table in ("voter_outbox", "voter_differences"):
        await world.fetch(
            f"CREATE TRIGGER crash BEFORE DELETE ON projections.{table} EXECUTE FUNCTION crash()"
        )
    entries = life_in_the_regency(600)
    await world.send(*entries[:400])
    await service.at(400)
    async with running(make_notifier()) as notifier:
        await until_votes(notifier, voters(entries[:400], PILKADA_2024))
        for table in ("voter_outbox", "voter_differences"):
            await world.fetch(f"DROP TRIGGER crash ON projections.{table}")
        await put(service, replace(PILKADA_2024, minimum_age=30))
        await world.send(*entries[400:])
        feed = await until_votes(notifier, voters(entries, replace(PILKADA_2024, minimum_age=30)))
        assert await notifier.metric("cacah_notifier_repeats_total") > 0
        assert len({change["sequence"] for change in feed}) == len(feed)
    async with asyncio.timeout(20):
        while await world.fetch("SELECT FROM projections.voter_outbox"):
            await asyncio.sleep(0.1)
