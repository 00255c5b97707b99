"""Everybody who takes over KPU's feed, while the notifier is killed again and again.

Two clients listen to streams, a receiver takes webhooks, `cacah follow` writes villages into
PostgreSQL and voters into a file, and is itself killed now and then. Each must end with every
sequence from 1 on, once, and with sums that are the tallies of projections.
"""

import asyncio
import contextlib
import random
import secrets
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import asyncpg
from standardwebhooks.webhooks import Webhook

from cli.stack import Stack
from services.notifier.signing import Scheme, new_key
from tests.support.differences import agree, require
from tests.support.follower_process import CommandProcess, Row, rows_of_csv, rows_of_postgres
from tests.support.kpu import NOTHING, villages_adder, voters_adder
from tests.support.reading import ELECTION, ELECTION_ID, counted, get
from tests.support.slow_model import COUNTS
from tests.support.system import System
from tests.support.webhook_receiver import Behaviour, Received, answering, receiving

POLL_S: Final = 0.1
NUMBERS_WITHIN_S: Final = 120.0
SETTLES_WITHIN_S: Final = 180.0
QUIET_S: Final = 1.0
# Most deaths are to tear through numbering: a notifier that starts has to wait until its group has
# given up the one that was killed. The others may come whenever, while it starts too.
KILLED_WHILE_NUMBERING: Final = 0.6
FOLLOWER_LIVES_S: Final = (2.0, 7.0)

Say = Callable[[str], None]
Tallies = dict[str, dict[str, int]]


@dataclass
class Killer:
    """Ends the notifier at moments of chance, the first time while it numbers, later such a share
    of the times; counts how often, how often events were flowing and changes being numbered."""

    stack: Stack
    chance: random.Random
    kills: int
    lives_s: tuple[float, float]
    say: Say
    while_numbering: float = KILLED_WHILE_NUMBERING
    done: int = 0
    under_load: int = 0
    numbering: int = 0

    async def run(self, flowing: Callable[[], bool], told: Callable[[], int]) -> None:
        """Kill, and start at once what was killed; `told` is how many changes were told so far."""
        for number in range(1, self.kills + 1):
            began = told()
            if number == 1 or self.chance.random() < self.while_numbering:
                await self._until(lambda: told() > began)  # noqa: B023 - it is over by then
            await asyncio.sleep(self.chance.uniform(*self.lives_s))
            await self._until(lambda: self.stack.pid("notifier") is not None)
            self.under_load += flowing()
            self.numbering += told() > began
            await asyncio.to_thread(self.stack.kill_part, "notifier")
            self.done += 1
            await asyncio.to_thread(self.stack.start_part, "notifier", wait=False)
            if number % 10 == 0:
                self.say(f"the notifier was killed {number} times")

    async def _until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(NUMBERS_WITHIN_S):
            while not holds():
                await asyncio.sleep(POLL_S / 10)


@dataclass
class WebhookBook:
    """What a receiver of webhooks adds up: of each village in order, each change once."""

    secret: str
    stands: Tallies = field(default_factory=dict)
    sequences: set[int] = field(default_factory=set)
    requests: int = 0

    def behave(self) -> Behaviour:
        """Keep what comes, then answer."""
        kept = answering(204)

        async def behave(received: Received, writer: asyncio.StreamWriter) -> None:
            self.keep(received)
            await kept(received, writer)

        return behave

    def keep(self, received: Received) -> None:
        """Verify, and add up what is new."""
        event = Webhook(self.secret).verify(received.body, received.headers)
        self.requests += 1
        change: Row = event["data"]
        if change["sequence"] not in self.sequences:
            self.sequences.add(change["sequence"])
            village = change["village"]
            agree(change["before"], self.stands.get(village, NOTHING), f"before in {change}")
            self.stands[village] = change["after"]


@dataclass(frozen=True)
class Followed:
    """What a run came to."""

    kills: int
    under_load: int
    numbering: int
    followers_killed: int
    position: int
    sequence: int
    voters_sequence: int
    resumed: int
    requests: int
    flowed_s: float
    settled_s: float


@dataclass
class Taking:
    """Those who take over, and where."""

    webhooks: WebhookBook
    dsn: str
    voters_file: Path
    to_postgres: CommandProcess
    to_file: CommandProcess
    villages: Any = field(default_factory=villages_adder)
    voters: Any = field(default_factory=voters_adder)

    @property
    def followers(self) -> list[CommandProcess]:
        return [self.to_postgres, self.to_file]

    async def have(self, sequence: int, voters_sequence: int) -> bool:
        """Whether everybody has got so far."""
        return (
            self.villages.last == sequence
            and self.voters.last == voters_sequence
            and len(self.webhooks.sequences) == sequence
            and await self._reached("villages") == sequence
            and len(rows_of_csv(self.voters_file)) == voters_sequence
        )

    async def _reached(self, feed: str) -> int:
        rows = await rows_of_postgres(self.dsn, "cacah_followed")
        return next((row["sequence"] for row in rows if row["feed"] == feed), 0)

    async def check(self, sequence: int, voters_sequence: int, tallies: Tallies) -> None:
        """Every sequence once, and the sums. Raises DifferenceFound."""
        agree(standing(self.villages.stands), tallies, "the sums of the stream")
        agree(self.villages.last, sequence, "the last sequence of the stream")
        agree(self.webhooks.sequences, set(range(1, sequence + 1)), "the webhooks' sequences")
        agree(standing(self.webhooks.stands), tallies, "the sums of the webhooks")
        rows = await rows_of_postgres(self.dsn, "cacah_village_changes")
        require_each_once(rows, sequence, "the rows in PostgreSQL")
        agree(standing(sums_of(rows)), tallies, "the sums of the rows in PostgreSQL")
        kept = await rows_of_postgres(self.dsn, "cacah_villages")
        stands = {row["village"]: {name: row[name] for name in COUNTS} for row in kept}
        agree(standing(stands), tallies, "the tallies in PostgreSQL")
        self._check_voters(voters_sequence, tallies)

    def _check_voters(self, voters_sequence: int, tallies: Tallies) -> None:
        eligible = {code: row["eligible"] for code, row in tallies.items() if row["eligible"]}
        agree(dict(self.voters.voters()), eligible, "the voters by the stream")
        rows = rows_of_csv(self.voters_file)
        require_each_once(rows, voters_sequence, "the rows in the file")
        adder = voters_adder()
        for row in rows:
            adder.add(row)
        agree(dict(adder.voters()), eligible, "the voters by the file")


def standing(tallies: Tallies) -> Tallies:
    """Without the villages where nobody is."""
    return {village: row for village, row in tallies.items() if any(row.values())}


def require_each_once(rows: list[Row], last: int, about: str) -> None:
    """Raises DifferenceFound where a sequence is missing, doubled or out of order."""
    for number, row in enumerate(rows, start=1):
        require(
            row["sequence"] == number, f"{about}: {row['sequence']} is in the place of {number}"
        )
    agree(len(rows), last, about)


def sums_of(rows: list[Row]) -> Tallies:
    """What rows of changes add up to."""
    sums: Tallies = {}
    for row in rows:
        counts = sums.setdefault(row["village"], dict(NOTHING))
        for name in COUNTS:
            counts[name] += row[f"after_{name}"] - row[f"before_{name}"]
    return sums


async def follow_through(
    system: System,
    killer: Killer,
    flow: Callable[[asyncio.Event], Awaitable[None]],
    follower_lives_s: tuple[float, float] = FOLLOWER_LIVES_S,
) -> Followed:
    """Let events flow while the notifier and the followers die, and check what everybody has.

    `flow` sends until it has sent everything, or until its event is set. Raises DifferenceFound.
    """
    over = asyncio.Event()
    async with taking(system) as takers, asyncio.TaskGroup() as group:
        began = time.monotonic()
        listening = [
            group.create_task(takers.villages.follow(system.notifier)),
            group.create_task(takers.voters.follow(system.notifier)),
        ]
        dying = [
            group.create_task(follower.die_until(over, killer.chance, *follower_lives_s))
            for follower in takers.followers
        ]
        flowing = asyncio.ensure_future(flow(over))
        told = lambda: takers.villages.last + takers.voters.last  # noqa: E731
        await killer.run(lambda: not flowing.done(), told)
        over.set()
        await asyncio.gather(flowing, *dying)
        killer.say(f"killed {killer.done} times; waiting until everybody has everything")
        calm = time.monotonic()
        await system.until_ready()
        position = await quiet_log(system)
        tallies = await tallies_at(system, position)
        sequence, voters_sequence = await settled(system, takers, tallies)
        await takers.check(sequence, voters_sequence, tallies)
        for task in listening:
            task.cancel()
        for follower in takers.followers:
            await follower.until_following()
            agree(await follower.end(), 0, f"how a follower ended: {follower.said()}")
    return Followed(
        killer.done,
        killer.under_load,
        killer.numbering,
        sum(follower.starts - 1 for follower in takers.followers),
        position,
        sequence,
        voters_sequence,
        takers.villages.resumed + takers.voters.resumed,
        takers.webhooks.requests,
        calm - began,
        time.monotonic() - calm,
    )


@contextlib.asynccontextmanager
async def taking(system: System) -> AsyncIterator[Taking]:
    """A database, a file, a receiver and what takes changes there, all of them gone at the end."""
    stack, name = system.stack, f"kpu_{secrets.token_hex(4)}"
    book = WebhookBook(new_key(Scheme.V1).secret())
    dsn = stack.superuser_url.rpartition("/")[0] + "/" + name
    door = stack.urls["notifier"], stack.operator_token
    await _execute(stack.superuser_url, f"CREATE DATABASE {name}")
    with tempfile.TemporaryDirectory(prefix="cacah-follow-") as home:
        at = Path(home)
        voters = ("follow", ELECTION_ID, "--voters", "--to", str(at / "voters.csv"))
        villages = CommandProcess(*door, "follow", ELECTION_ID, said=at / "villages.err")
        villages.environment["CACAH_FOLLOW_TO"] = dsn
        persons = CommandProcess(*door, *voters, said=at / "voters.err")
        takers = Taking(book, dsn, at / "voters.csv", villages, persons)
        async with receiving(book.behave()) as receiver:
            asked = {"url": receiver.url, "elections": [ELECTION_ID], "secret": book.secret}
            made = await system.notifier.post("/v1/subscriptions", json=asked)
            require(made.status_code == 201, made.text)
            try:
                for follower in takers.followers:
                    await follower.start()
                yield takers
            finally:
                for follower in takers.followers:
                    await follower.close()
                await system.notifier.delete(f"/v1/subscriptions/{made.json()['id']}")
    await _execute(stack.superuser_url, f"DROP DATABASE {name} WITH (FORCE)")


async def quiet_log(system: System) -> int:
    """The last position, once no more come."""
    last = -1
    while (now := (await get(system.registry, "/v1/log", limit=1))["last"]) != last:
        last = now
        await asyncio.sleep(QUIET_S)
    return int(last)


async def tallies_at(system: System, position: int) -> Tallies:
    """The tallies of projections once all is counted, without the villages where nobody is."""
    answer = await counted(system.projections, "/villages", position)
    rows = {row["village"]: {name: row[name] for name in COUNTS} for row in answer["villages"]}
    return standing(rows)


async def settled(system: System, takers: Taking, tallies: Tallies) -> tuple[int, int]:
    """The last sequences of both feeds, once the feed adds up and everybody has them; what is
    still missing when the time is up is for the checks to say."""
    eligible = {code: row["eligible"] for code, row in tallies.items() if row["eligible"]}
    last = 0, 0
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(SETTLES_WITHIN_S):
            while True:
                snapshot = await get(system.notifier, f"{ELECTION}/snapshot")
                voters = await get(system.notifier, f"{ELECTION}/voters/changes", limit=1)
                last = snapshot["sequence"], voters["last"]
                summed = standing(takers.villages.stands) == tallies
                if summed and takers.voters.voters() == eligible and await takers.have(*last):
                    break
                await asyncio.sleep(POLL_S)
    return last


async def _execute(dsn: str, statement: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
