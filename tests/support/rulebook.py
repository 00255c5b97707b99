"""One hostile history of every type, raced by eight clients, with services killed and elections
put on the way; then every answer, tally and feed against the slow model (issue 5, Show 2)."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from tests.support.checking import check_log, check_submissions, check_topic, send_again
from tests.support.differences import agree, require
from tests.support.driving import parcels
from tests.support.electing import ADDED, Elections
from tests.support.feeds import check_villages, check_voters
from tests.support.histories import ALL
from tests.support.killing import Death, Killer, play_patiently
from tests.support.listening import VILLAGES, VOTERS, Listener
from tests.support.reading import ELECTION_ID, counted, get
from tests.support.reckoning import district_rows, tallied, village_rows
from tests.support.rounds import history
from tests.support.secrecy import check_secrecy
from tests.support.slow_model import COUNTS, Election, Model
from tests.support.system import SERVICES, System
from tests.support.verdicts import (
    check_answers,
    check_fates,
    check_order,
    decide_again,
    read_claims,
)
from tests.support.watching import watching

TOLD_WITHIN_S: Final = 120.0
PAUSE_S: Final = 0.1


@dataclass(frozen=True)
class History:
    """Which history is played: how often each service is killed is `rounds`."""

    seed: int
    events: int
    clients: int
    rounds: int


@dataclass(frozen=True)
class Ruled:
    """What a history came to: answers by kind, who was killed, and how often streams resumed."""

    answers: Counter[str]
    deaths: list[Death]
    resumed: int
    changes: dict[str, int]


async def rule(system: System, played: History, say: Callable[[str], None]) -> Ruled:
    """Play a history and hold all of it against the slow model. Raises DifferenceFound."""
    seed, size = played.seed, played.events
    events = history(seed, size, ALL)
    system.ledger.note(events)
    killer = Killer(system.stack, size, seed, played.rounds, say, SERVICES)
    elections = Elections(seed, size, say)
    lane = parcels(events, random.Random(f"parcels {seed}"))
    others = [Listener(ELECTION_ID, VOTERS), Listener(ADDED, VILLAGES), Listener(ADDED, VOTERS)]
    async with watching(system, others) as watch:
        async with asyncio.TaskGroup() as group:
            group.create_task(killer.run())
            group.create_task(elections.run(system.projections, lambda: killer.answered))
            sending = group.create_task(
                play_patiently(system, [lane] * played.clients, killer.heard)
            )
        sent = sending.result()
        await system.until_ready()
        await check_log(system)
        claims = await read_claims(system.stack.superuser_url)
        model = Model()
        decided = decide_again(claims, sent, model)
        agree([e.event for e in system.ledger.model.log], [e.event for e in model.log], "the log")
        check_answers(sent, decided)
        check_order(sent, claims)
        changes: dict[str, int] = {}
        for election_id in (ELECTION_ID, ADDED):
            changes |= await check_election(system, elections, election_id)
        await watch.agree(system)
    check_fates(await send_again(system, events), decided)
    await check_topic(system)
    await check_submissions(system)
    await check_secrecy(system)
    answers = Counter(one.answer.problem or one.answer.outcome for one in sent)
    return Ruled(answers, killer.deaths, watch.resumed, changes)


async def check_election(system: System, elections: Elections, election_id: str) -> dict[str, int]:
    """Every row of an election, and both of its feeds; how many changes each has."""
    definitions = elections.definitions(election_id)
    puts, election = elections.puts_of(election_id), definitions[-1]
    assert election is not None
    await check_rows(system, election)
    await until_told(system, election)
    villages = await Listener(election_id, VILLAGES).read(system.notifier)
    voters = await Listener(election_id, VOTERS).read(system.notifier)
    check_villages(villages, definitions, puts, system.ledger)
    check_voters(voters, definitions, puts, system.ledger)
    await check_snapshot(system, election, len(villages))
    return {f"{election_id} villages": len(villages), f"{election_id} voters": len(voters)}


async def check_rows(system: System, election: Election) -> None:
    """Every village, every kecamatan and the total."""
    model, position = system.ledger.model, len(system.ledger.log)
    for name, key, rows in (
        ("villages", "village", village_rows(model, election)),
        ("districts", "district", district_rows(model, election)),
    ):
        answer = await counted(system.projections, f"/{name}", position, election.id)
        agree(answer["position"], position, f"the position of {election.id}")
        found = {row[key]: row for row in answer[name]}
        agree([row[key] for row in answer[name]], [row[key] for row in rows], f"the {name}")
        for row in rows:
            agree(found[row[key]], row, f"{row[key]} in {election.id}")
    total = await counted(system.projections, "/total", position, election.id)
    agree(total, {"position": position} | model.total(election), f"the total of {election.id}")


async def until_told(system: System, election: Election) -> None:
    """Wait until both feeds add up; what they say otherwise at the end, the checks tell."""
    tallies = tallied(system.ledger.model, election)
    loop = asyncio.get_running_loop()
    deadline = loop.time() + TOLD_WITHIN_S
    while loop.time() < deadline:
        snapshot = await get(system.notifier, f"/v1/elections/{election.id}/snapshot")
        told = {row["village"]: {n: row[n] for n in COUNTS} for row in snapshot["villages"]}
        voters = await Listener(election.id, VOTERS).read(system.notifier)
        kinds = Counter(change["kind"] for change in voters)
        eligible = sum(row["eligible"] for row in tallies.values())
        if told == tallies and kinds["added"] - kinds["removed"] == eligible:
            return
        await asyncio.sleep(PAUSE_S)


async def check_snapshot(system: System, election: Election, last: int) -> None:
    """All at once, the tallies at the end of the feed."""
    snapshot = await get(system.notifier, f"/v1/elections/{election.id}/snapshot")
    agree(snapshot["sequence"], last, f"the snapshot's sequence of {election.id}")
    told = {row["village"]: row for row in snapshot["villages"]}
    for code, row in tallied(system.ledger.model, election).items():
        require(code in told, f"the snapshot of {election.id} lacks {code}")
        agree({n: told[code][n] for n in COUNTS}, row, f"the snapshot's {code}")
