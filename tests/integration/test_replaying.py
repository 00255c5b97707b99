"""A replay makes the counts anew from the log alone, and says what differs, on the real parts."""

import asyncio
import textwrap
import time
from collections.abc import AsyncIterator, Sequence
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from services.projections.domain.tally import project
from services.projections.generations import REPLAY_LOCK
from services.projections.rehearsing import rehearse
from services.projections.replaying import Mode, Outcome, Progress, ReplayError, replay
from shared.counts import NOTHING, Counts
from shared.elections import PILKADA_2024, Election
from shared.events.records import LogEntry, logged_fact
from tests.bench.elections import told as told_to_kpu
from tests.integration.test_elections import SECOND, counted, expected, put, until_told
from tests.integration.test_notifier import MakeNotifier, make_notifier
from tests.integration.test_projections import World, counts_in, life_in_the_regency
from tests.integration.test_voters import until_votes, voter_changes, voters
from tests.support.facts import entry, registration
from tests.support.notifier_process import NotifierProcess, running
from tests.support.parts import Parts
from tests.support.projections_service import Service, all_changes

__all__ = ["make_notifier"]

PILKADA_ID = PILKADA_2024.id


@pytest.fixture
def world(parts: Parts, database: str, topics: None) -> World:
    return World(parts, database)


@pytest.fixture
async def service(world: World) -> AsyncIterator[Service]:
    async with world.service() as running:
        await running.ready()
        yield running


def quiet(_: Progress) -> None:
    """Nobody looks."""


async def replayed(world: World, mode: Mode = Mode.REPLAY) -> Outcome:
    async with asyncio.timeout(120):
        return await replay(world.url, mode, quiet)


async def execute(world: World, statement: str) -> None:
    connection = await asyncpg.connect(world.parts.dsn(world.database))
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


async def test_a_replay_that_finds_no_difference_serves_and_says_nothing(
    world: World, service: Service
) -> None:
    entries = life_in_the_regency(6_000)
    await world.send(*entries[:5_000])
    await service.at(5_000)
    await put(service, SECOND, status=201)
    await until_told(world, SECOND.id, await counted(service, SECOND.id, 5_000))
    await until_told(world, PILKADA_ID, expected(entries[:5_000], PILKADA_2024))
    before = len(await all_changes(world.bootstrap))
    outcome = await replayed(world)
    assert (outcome.serves, outcome.differences, outcome.voters) == (True, [], 0)
    assert outcome.position == 5_000
    await asyncio.sleep(1.5)
    assert len(await all_changes(world.bootstrap)) == before
    assert await world.fetch("SELECT FROM projections.voter_differences") == []
    for election in (PILKADA_2024, SECOND):
        assert await counted(service, election.id, 5_000) == expected(entries[:5_000], election)
    await history_is(world, entries[:5_000], SECOND)
    await no_litter(world)
    await world.send(*entries[5_000:])
    for election in (PILKADA_2024, SECOND):
        assert await counted(service, election.id, 6_000) == expected(entries, election)
        await until_told(world, election.id, expected(entries, election))
    await history_is(world, entries, SECOND)


async def history_is(world: World, entries: Sequence[LogEntry], *others: Election) -> None:
    """The history that serves has what each event added, and its time."""
    rows = await world.fetch(
        "SELECT history.* FROM projections.history"
        " JOIN projections.elections ON id = election AND elections.fold = history.fold"
        " ORDER BY election, position, village"
    )
    deltas = project({}, [logged_fact(each) for each in entries], [PILKADA_2024, *others]).deltas
    deltas.sort(key=lambda delta: (delta.key.election, delta.position, delta.key.village))
    found = [
        (
            (row["election"], row["village"]),
            row["position"],
            row["recorded_at"],
            Counts._make(row[name] for name in Counts._fields),
        )
        for row in rows
    ]
    assert found == [
        (tuple(delta.key), delta.position, delta.recorded_at, delta.counts) for delta in deltas
    ]


async def no_litter(world: World) -> None:
    assert await world.fetch("SELECT FROM pg_namespace WHERE nspname = 'projections_next'") == []
    assert await world.fetch("SELECT FROM projections.folds WHERE switched_at IS NULL") == []
    strays = await world.fetch(
        "SELECT FROM projections.voter_differences WHERE fold NOT IN"
        " (SELECT fold FROM projections.folds)"
    )
    assert strays == []


async def settled(world: World, service: Service, entries: Sequence[LogEntry]) -> None:
    """Everything counted right, and told; persons' changes are on their way."""
    last = entries[-1].position
    assert await counted(service, PILKADA_ID, last) == expected(entries, PILKADA_2024)
    await until_last_told(world, expected(entries, PILKADA_2024))
    async with asyncio.timeout(30):
        while await world.fetch(
            "SELECT FROM projections.voter_differences UNION ALL"
            " SELECT FROM projections.voter_outbox"
        ):
            await asyncio.sleep(0.1)


async def until_last_told(world: World, tallies: dict[str, Counts]) -> None:
    """Wait until the last change of each village leads to its tally. What was planted was never
    told, so a change may begin where none has ended; the notifier makes that right."""
    async with asyncio.timeout(30):
        while await last_told(world) != {v: c for v, c in tallies.items() if c != NOTHING}:
            await asyncio.sleep(0.2)


async def last_told(world: World) -> dict[str, Counts]:
    revisions: dict[str, int] = {}
    stands: dict[str, Counts] = {}
    for change in await all_changes(world.bootstrap):
        village = change["village"]
        if change["revision"] > revisions.get(village, 0):
            assert change["revision"] == revisions.get(village, 0) + 1
            revisions[village] = change["revision"]
            stands[village] = Counts(**change["after"])
    return {village: counts for village, counts in stands.items() if counts != NOTHING}


async def test_what_was_planted_is_mended_told_and_can_be_undone_and_done_again(
    world: World, service: Service
) -> None:
    entries = life_in_the_regency(4_000)
    await world.send(*entries[:3_000])
    await settled(world, service, entries[:3_000])
    planted = await plant(world)
    assert counts_in(await service.at(3_000)) != expected(entries[:3_000], PILKADA_2024)

    tried = await replayed(world, Mode.DRY_RUN)
    assert not tried.serves
    assert {each.village for each in tried.differences} == planted
    await no_litter(world)
    with_faults = counts_in(await service.at(3_000))
    assert with_faults != expected(entries[:3_000], PILKADA_2024)

    outcome = await replayed(world)
    assert outcome.differences == tried.differences
    await settled(world, service, entries[:3_000])
    await history_is(world, entries[:3_000])
    facts = await world.fetch("SELECT position FROM projections.facts ORDER BY position")
    assert [row["position"] for row in facts] == list(range(1, 3_001))
    await world.send(*entries[3_000:])
    await settled(world, service, entries)

    undone = await replayed(world, Mode.UNDO)
    assert {each.village for each in undone.differences} >= planted
    now = counts_in(await service.at(4_000))
    assert now != expected(entries, PILKADA_2024)
    await until_last_told(world, now)

    again = await replayed(world, Mode.UNDO)
    assert len(again.differences) == len(undone.differences)
    await settled(world, service, entries)
    await history_is(world, entries)
    await no_litter(world)


async def plant(world: World) -> set[str]:
    """A wrong tally; a fact that is missing and one too many, with what they told; the villages."""
    (tally,) = await world.fetch(
        "SELECT village FROM projections.tallies WHERE residents > 0 ORDER BY village LIMIT 1"
    )
    await execute(
        world,
        "UPDATE projections.tallies SET residents = residents + 5"
        f" WHERE village = '{tally['village']}'",
    )
    # Somebody whom nobody registered, counted and told as if the log had them.
    await execute(
        world,
        "INSERT INTO projections.facts SELECT gen_random_uuid(), position, recorded_at, type,"
        " version, source, event_id, data FROM projections.facts WHERE position = 1",
    )
    (first,) = await world.fetch("SELECT village FROM projections.history WHERE position = 1")
    await execute(
        world,
        "UPDATE projections.tallies SET residents = residents + 1, under_age = under_age + 1"
        f" WHERE village = '{first['village']}'",
    )
    # A voter of whom nothing is known.
    (voter,) = await world.fetch(
        "SELECT village, position FROM projections.history WHERE eligible = 1"
        f" AND village NOT IN ('{tally['village']}', '{first['village']}')"
        " ORDER BY position DESC LIMIT 1"
    )
    await execute(world, f"DELETE FROM projections.facts WHERE position = {voter['position']}")
    counts = ", ".join(f"{name} = tallies.{name} - history.{name}" for name in Counts._fields)
    await execute(
        world,
        f"UPDATE projections.tallies SET {counts} FROM projections.history"
        f" WHERE history.position = {voter['position']}"
        " AND tallies.village = history.village",
    )
    await execute(world, f"DELETE FROM projections.history WHERE position = {voter['position']}")
    return {tally["village"], first["village"], voter["village"]}


async def test_a_voter_who_was_lost_is_told_with_the_replay_as_the_reason(world: World) -> None:
    entries = life_in_the_regency(500)
    async with world.service() as service:
        await world.send(*entries)
        await settled(world, service, entries)
    await plant(world)
    assert (await replayed(world, Mode.DRY_RUN)).voters == 1
    await no_litter(world)
    assert await world.fetch("SELECT FROM projections.voter_differences") == []
    outcome = await replayed(world)
    assert outcome.voters == 1
    await no_litter(world)
    (row,) = await world.fetch(
        "SELECT cause, resident_id, to_village FROM projections.voter_differences"
        " JOIN projections.folds USING (fold)"
    )
    assert row["cause"] == "counts.replayed"
    (person,) = await world.fetch(
        f"SELECT resident_id FROM registry.log WHERE resident_id = '{row['resident_id']}' LIMIT 1"
    )
    assert person["resident_id"] == row["resident_id"]
    undone = await replayed(world, Mode.UNDO)
    assert undone.voters == 1
    (_, row) = await world.fetch(
        "SELECT cause, to_village FROM projections.voter_differences"
        " JOIN projections.folds USING (fold) ORDER BY fold"
    )
    assert (row["cause"], row["to_village"]) == ("replay.undone", None)


async def test_kpu_hears_of_a_replay_as_of_anything_else(
    world: World, service: Service, make_notifier: MakeNotifier
) -> None:
    entries = life_in_the_regency(600)
    person = next(iter(before := voters(entries, PILKADA_2024)))
    entries.append(entry("resident.died", 601, UUID(person), died_on="2024-05-01"))
    async with running(make_notifier()) as notifier:
        await world.send(*entries[:600])
        await until_votes(notifier, before)
        # A death that was passed over, by the program as it was before somebody corrected it.
        await world.log(entries[600])
        await execute(world, "UPDATE projections.marks SET position = 601")
        outcome = await replayed(world)
        assert (len(outcome.differences), outcome.voters) == (1, 1)
        feed = await until_votes(notifier, voters(entries, PILKADA_2024))
        assert (feed[-1]["voter"], feed[-1]["kind"]) == (person, "removed")
        assert (feed[-1]["reason"], feed[-1]["position"]) == ("counts.replayed", 601)
        await until_kpu_has(notifier, expected(entries, PILKADA_2024))
        assert (await replayed(world)).differences == []
        assert (await replayed(world, Mode.UNDO)).differences == []
        await asyncio.sleep(2)
        assert len(await voter_changes(notifier)) == len(feed)
        await until_kpu_has(notifier, expected(entries, PILKADA_2024))


async def test_undoing_is_told_with_its_own_reason(
    world: World, service: Service, make_notifier: MakeNotifier
) -> None:
    entries = life_in_the_regency(300)
    async with running(make_notifier()) as notifier:
        await world.send(*entries)
        voting = voters(entries, PILKADA_2024)
        await until_votes(notifier, voting)
        assert (await replayed(world)).voters == 0
        person = next(iter(voting))
        village = voting[person]
        # The generation before never knew of somebody.
        await execute(
            world,
            "DELETE FROM projections.history USING registry.log, projections_before.elections"
            f" WHERE log.resident_id = '{person}' AND history.position = log.position"
            " AND history.fold = elections.fold",
        )
        await execute(world, f"DELETE FROM projections_before.facts WHERE resident_id = '{person}'")
        assert (await replayed(world, Mode.UNDO)).voters == 1
        without = {who: where for who, where in voting.items() if who != person}
        feed = await until_votes(notifier, without)
        assert (feed[-1]["reason"], feed[-1]["from_village"]) == ("replay.undone", village)
        assert (await replayed(world, Mode.UNDO)).voters == 1
        await until_votes(notifier, voting)


async def until_kpu_has(notifier: NotifierProcess, tallies: dict[str, Counts]) -> None:
    """Wait until the numbered changes, which must chain without a gap, add up to the tallies."""
    lived_in = {v: c._asdict() for v, c in tallies.items() if c.residents}
    async with asyncio.timeout(30):
        while await told_to_kpu(notifier.client, PILKADA_ID) != lived_in:
            await asyncio.sleep(0.2)


async def test_a_village_whose_row_is_lost_or_was_never_told_is_mended(
    world: World, service: Service, make_notifier: MakeNotifier
) -> None:
    entries = life_in_the_regency(400)
    async with running(make_notifier()) as notifier:
        await world.send(*entries)
        await settled(world, service, entries)
        await until_kpu_has(notifier, expected(entries, PILKADA_2024))
        rows = "projections.tallies WHERE village = (SELECT min(village) FROM projections.tallies"
        await execute(world, f"DELETE FROM {rows} WHERE residents > 0)")
        await execute(
            world,
            "UPDATE projections.tallies SET residents = 3 WHERE village ="
            " (SELECT min(village) FROM projections.tallies WHERE revision = 0)",
        )
        assert len((await replayed(world)).differences) == 2
        assert counts_in(await service.at(400)) == expected(entries, PILKADA_2024)
        await until_kpu_has(notifier, expected(entries, PILKADA_2024))


async def test_a_clock_that_jumps_changes_no_count_and_no_duration(
    world: World, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Jumping:
        @staticmethod
        def now(zone: tzinfo) -> datetime:
            return datetime(1970, 1, 2, tzinfo=zone)

    entries = life_in_the_regency(1_500)
    await world.send(*entries[:1_000])
    await settled(world, service, entries[:1_000])
    await plant(world)
    monkeypatch.setattr("services.projections.replaying.datetime", Jumping)
    monkeypatch.setattr(time, "time", lambda: 0.0)
    outcome = await replayed(world)
    monkeypatch.undo()
    assert 0 < outcome.switched_s < outcome.folded_s < 60
    await settled(world, service, entries[:1_000])
    await world.send(*entries[1_000:])
    await settled(world, service, entries)
    await history_is(world, entries)


async def test_facts_that_cannot_be_read_are_parked_as_the_counting_parks_them(
    world: World, service: Service
) -> None:
    entries = life_in_the_regency(800)
    by_person: dict[Any, list[LogEntry]] = {}
    for each in entries:
        by_person.setdefault(each.resident_id, []).append(each)
    busy = max(by_person.values(), key=len)
    odd = busy[1]._replace(version=99)
    far = registration(801, resident_id=type(odd.resident_id)(int=7))._replace(
        data='{"sex": "L", "birth_date": "9999-01-01", "marital_status": "B",'
        ' "village": "15.01.01.1004"}',
    )
    entries = [odd if each is busy[1] else each for each in entries]
    await world.send(*entries, far)
    await service.at(801)
    columns = "partition, position, resident_id, type, why"
    query = f"SELECT {columns} FROM projections.parked ORDER BY position"
    parked = [tuple(row) for row in await world.fetch(query)]
    assert len(parked) == len(busy)
    facts = await world.fetch("SELECT * FROM projections.facts ORDER BY position")
    outcome = await replayed(world)
    assert (outcome.differences, outcome.voters) == ([], 0)
    assert [tuple(row) for row in await world.fetch(query)] == parked
    assert await world.fetch("SELECT * FROM projections.facts ORDER BY position") == facts
    undone = await replayed(world, Mode.UNDO)
    assert undone.differences == []
    assert [tuple(row) for row in await world.fetch(query)] == parked


async def test_a_replay_while_events_flow_catches_up_and_no_read_fails(
    world: World, service: Service
) -> None:
    entries = life_in_the_regency(12_000)
    await world.send(*entries[:6_000])
    await service.at(6_000)
    reading = True
    seen: list[int] = []

    async def flow() -> None:
        for begin in range(6_000, 12_000, 100):
            await world.send(*entries[begin : begin + 100])
            await asyncio.sleep(0.05)

    async def read() -> None:
        while reading:
            answer = await service.get("/total")
            assert answer.status_code == 200, answer.text
            body = answer.json()
            assert body["residents"] == residents_at(entries, body["position"])
            seen.append(body["position"])
            await asyncio.sleep(0.01)

    flowing = asyncio.create_task(flow())
    readers = [asyncio.create_task(read()) for _ in range(4)]
    outcomes = [await replayed(world), await replayed(world), await replayed(world, Mode.UNDO)]
    await flowing
    reading = False
    await asyncio.gather(*readers)
    assert [(each.differences, each.voters) for each in outcomes] == [([], 0)] * 3
    assert outcomes[0].position < outcomes[2].position
    assert len(seen) > 50
    await settled(world, service, entries)
    await history_is(world, entries)


def residents_at(entries: Sequence[LogEntry], position: int) -> int:
    """Everybody who was ever registered: these people do not leave the regency or die."""
    return sum(each.type.endswith("resident.registered") for each in entries[:position])


async def test_an_election_put_meanwhile_waits_and_then_undoing_is_refused(
    world: World, service: Service
) -> None:
    entries = life_in_the_regency(3_000)
    await world.send(*entries)
    await service.at(3_000)
    with pytest.raises(ReplayError, match="nothing was replayed yet"):
        await replayed(world, Mode.UNDO)
    replaying = asyncio.create_task(replayed(world))
    await asyncio.sleep(0.3)
    await put(service, SECOND, status=201)
    outcome = await replaying
    assert outcome.serves
    assert await counted(service, SECOND.id, 3_000) == expected(entries, SECOND)
    with pytest.raises(ReplayError, match="run `cacah replay` instead"):
        await replayed(world, Mode.UNDO)
    assert (await replayed(world)).differences == []
    assert (await replayed(world, Mode.UNDO)).differences == []
    assert await counted(service, SECOND.id, 3_000) == expected(entries, SECOND)


async def test_of_two_replays_the_second_is_refused(world: World, service: Service) -> None:
    await world.send(*life_in_the_regency(5_000))
    await service.at(5_000)
    connection = await asyncpg.connect(world.parts.dsn(world.database))
    await connection.execute("SELECT pg_advisory_lock($1)", REPLAY_LOCK)
    with pytest.raises(ReplayError, match="another replay is running"):
        await replayed(world)
    await connection.close()
    assert (await replayed(world)).serves


async def test_over_a_hole_in_the_log_nothing_is_counted(world: World) -> None:
    entries = life_in_the_regency(1_000)
    async with world.service() as service:
        await world.send(*entries)
        await service.at(1_000)
    await execute(world, "DELETE FROM registry.log WHERE position = 500")
    with pytest.raises(ReplayError, match="the log lacks 1 of its positions up to 1,000"):
        await replayed(world)
    await no_litter(world)
    assert await replay_serves(world) == 0
    await execute(world, "UPDATE projections.marks SET position = 400 WHERE partition = 3")
    with pytest.raises(ReplayError, match="the log lacks a position after 400"):
        await replayed(world)
    await no_litter(world)


async def replay_serves(world: World) -> int:
    (row,) = await world.fetch("SELECT fold FROM projections.elections")
    return int(row["fold"])


RULES = """
    from services.projections.domain import electorate
    from services.projections.domain.electorate import VoterClass

    usual = electorate.class_of

    def class_of(life, election):
        print("a rule may print")
        if life.is_ikd_active:
            return VoterClass.TNI
        return usual(life, election)
"""


def module(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "rules.py"
    path.write_text(textwrap.dedent(text))
    return path


async def everything(world: World) -> dict[str, list[Any]]:
    names = await world.fetch(
        "SELECT schemaname || '.' || tablename AS name FROM pg_tables"
        " WHERE schemaname LIKE 'projections%'"
    )
    return {
        row["name"]: [
            tuple(each) for each in await world.fetch(f"SELECT t::text FROM {row['name']} t")
        ]
        for row in names
    }


async def test_changed_rules_are_rehearsed_and_nothing_is_touched(
    world: World, tmp_path: Path
) -> None:
    entries = life_in_the_regency(2_000)
    async with world.service() as service:
        await world.send(*entries)
        await settled(world, service, entries)
    before = await everything(world)
    rehearsal = await rehearse(world.url, module(tmp_path, RULES), quiet)
    assert rehearsal.replaced == ["class_of"]
    assert rehearsal.position == 2_000
    usual = expected(entries, PILKADA_2024)
    moved = {each.village: each for each in rehearsal.differences}
    voters = 0
    for village, counts in usual.items():
        if village not in moved:
            assert counts.ikd_active == 0
            continue
        difference = moved[village]
        assert difference.before == counts
        assert difference.after.tni == counts.ikd_active
        assert difference.after.residents == counts.residents
        voters += counts.eligible - difference.after.eligible
    assert rehearsal.voters == voters > 0
    assert await everything(world) == before


async def test_a_rule_that_raises_is_reported_with_where_and_of_whom(
    world: World, tmp_path: Path
) -> None:
    entries = life_in_the_regency(1_000)
    async with world.service() as service:
        await world.send(*entries)
        await settled(world, service, entries)
    before = await everything(world)
    raising = """
        def is_relocating(life):
            if life.is_ikd_active and life.is_recorded:
                raise KeyError("no such card")
            return False
    """
    with pytest.raises(ReplayError) as raised:
        await rehearse(world.url, module(tmp_path, raising), quiet)
    said = str(raised.value)
    assert "rules.py, line 4 raised KeyError: 'no such card'" in said
    position = int(said.partition("position ")[2].partition(",")[0])
    person = entries[position - 1].resident_id
    assert f"resident_id {person}" in said
    kinds = {each.type for each in entries[:position] if each.resident_id == person}
    assert entries[position - 1].type.endswith(("ktp.recorded", "ikd.activated"))
    assert {"id.dukcapil.ktp.recorded", "id.dukcapil.ikd.activated"} <= kinds
    assert await everything(world) == before
    for text, why in [
        ("x = 1", "defines none of the rules"),
        ("1 / 0", "cannot be run: ZeroDivisionError"),
        ("def class_of(:", "cannot be run: SyntaxError"),
    ]:
        with pytest.raises(ReplayError, match=why):
            await rehearse(world.url, module(tmp_path, text), quiet)
    with pytest.raises(ReplayError, match="no such file"):
        await rehearse(world.url, tmp_path / "none.py", quiet)
