"""Kafka's data thrown away while events flow: the whole system must find back by itself."""

import asyncio
import shutil
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import asyncpg

from cli.stack import Stack
from tests.support.checking import check_everything
from tests.support.driving import CLIENTS, Sent
from tests.support.killing import check_all_fates, play_patiently
from tests.support.reading import ELECTION, get
from tests.support.rounds import history, lanes_apart
from tests.support.slow_model import PILKADA_2024
from tests.support.system import System
from tests.support.watching import watching

HEALED_WITHIN_S: Final = 60.0
POLL_S: Final = 0.1
PAGE: Final = 1_000


@dataclass(frozen=True)
class Found:
    """What a run came to: how long the broker was away; how long after its return until all that
    the log had then was published again, counted, and told of villages and persons, while events
    went on; and the slowest answer of the registry."""

    sent: list[Sent]
    away_s: float
    healed_s: float
    slowest_answer_s: float


@dataclass
class Flow:
    """Holds the clients back to a rate, and knows how much was answered."""

    rate: int
    answered: int = 0

    async def heard(self, sent: Sequence[Sent]) -> None:
        self.answered += len(sent)
        await asyncio.sleep(len(sent) * CLIENTS / self.rate)


def lose_data(stack: Stack) -> None:
    """Kill Kafka and throw its data away, topics, offsets, groups and all; start it again.

    Of a broker whose files are taken from it one by one, this much stays: it writes it in dying.
    """
    stack.kill_part("kafka")
    data = stack.home / "kafka" / "data"
    shutil.rmtree(data)
    data.mkdir()
    (data / "replication-offset-checkpoint").write_text("0\n0\n")
    stack.start_part("kafka")


async def lose_broker(
    system: System, seed: int, size: int, rate: int, say: Callable[[str], None] = lambda _: None
) -> Found:
    """Play a history, lose the broker in the middle, and hold everything against the model."""
    events, flow = history(seed, size), Flow(rate)
    system.ledger.note(events)
    async with watching(system) as watch:
        losing = asyncio.create_task(_lose_in_the_middle(system, flow, size, say))
        sent = await play_patiently(system, lanes_apart(events, seed), flow.heard)
        away_s, healed_s = await losing
        await _until_healed(system, time.monotonic())
        say("the events are over, and everything is checked")
        await check_everything(system)
        await check_voters(system)
        await watch.agree(system)
    await check_all_fates(system, events, sent)
    slowest = max(one.ended - one.began for one in sent)
    return Found(sent, away_s, healed_s, slowest)


async def _lose_in_the_middle(
    system: System, flow: Flow, size: int, say: Callable[[str], None]
) -> tuple[float, float]:
    """How long the broker was away, and how long healing took from its return."""
    while flow.answered < size // 2:
        await asyncio.sleep(POLL_S)
    say(f"Kafka's data are thrown away after {flow.answered} events")
    began_s = time.monotonic()
    await asyncio.to_thread(lose_data, system.stack)
    back_s = time.monotonic()
    say(f"Kafka is back, empty, after {back_s - began_s:.1f} s")
    await _until_healed(system, back_s)
    healed_s = time.monotonic() - back_s
    say(f"healed {healed_s:.1f} s after it was back, of {flow.answered} events answered by now")
    return back_s - began_s, healed_s


async def _until_healed(system: System, back_s: float) -> None:
    """Wait until all that is in the log now is counted, published again and given to the notifier,
    whatever comes meanwhile."""
    last = (await get(system.registry, "/v1/log", limit=1))["last"]
    connection = await asyncpg.connect(system.stack.superuser_url)
    try:
        while not _is_whole(state := await _state(connection, last), last):
            assert time.monotonic() - back_s < HEALED_WITHIN_S, state
            await asyncio.sleep(POLL_S)
    finally:
        await connection.close()


_STATE: Final = """
    SELECT (SELECT min(position) FROM projections.marks) AS counted,
        (SELECT min(published_up_to) FROM registry.relay_marks) AS published,
        (SELECT count(*) FROM registry.republications WHERE finished_at IS NOT NULL) AS again,
        (SELECT count(*) FROM registry.republications WHERE finished_at IS NULL) AS unfinished,
        (SELECT count(*) FROM projections.outbox
            WHERE (value ->> 'position')::bigint <= $1) AS villages,
        (SELECT count(*) FROM projections.voter_outbox WHERE position <= $1) AS voters,
        (SELECT asked - told FROM projections.retelling) AS to_retell,
        (SELECT asked FROM projections.retelling) AS retold
"""


async def _state(connection: Any, last: int) -> dict[str, Any]:
    return dict(await connection.fetchrow(_STATE, last))


def _is_whole(state: dict[str, Any], last: int) -> bool:
    waiting = [state[name] for name in ("unfinished", "villages", "voters", "to_retell")]
    has_all = min(state["counted"], state["published"]) >= last
    return has_all and not any(waiting) and state["again"] > 0 and state["retold"] > 0


async def voters_told(system: System) -> dict[str, set[int]]:
    """The voters of each village as the feed of persons adds up; it must be gapless, and each
    change begin where the last one ended."""
    lives_in: dict[str, str | None] = {}
    after = 0
    while True:
        page = await get(system.notifier, f"{ELECTION}/voters/changes", after=after, limit=PAGE)
        for change in page["changes"]:
            after += 1
            assert change["sequence"] == after
            assert change["from_village"] == lives_in.get(change["voter"]), change
            assert change["from_village"] != change["to_village"], change
            lives_in[change["voter"]] = change["to_village"]
        if not page["changes"]:
            break
    voters: defaultdict[str, set[int]] = defaultdict(set)
    for voter, village in lives_in.items():
        if village is not None:
            voters[village].add(system.ledger.residents[voter])
    return dict(voters)


async def check_voters(system: System) -> None:
    """The feed of persons adds up to the model's voters; it may be a moment behind."""
    expected = system.ledger.model.voters(PILKADA_2024)
    async with asyncio.timeout(HEALED_WITHIN_S):
        while await voters_told(system) != expected:
            await asyncio.sleep(POLL_S)
