"""Runs the proofs over one state of the database, the long ones in two processes of their own."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final

from cli.verifying import (
    announced,
    counter,
    facts,
    feed,
    history,
    log,
    submissions,
    supplements,
    tallies,
    topic,
    voters,
)
from cli.verifying.counted import Counted, read_counted
from cli.verifying.folding import Folded, Job, fold_share
from cli.verifying.proof import Proof
from cli.verifying.snapshot import HEAD, Connection, Snapshot, held
from services.projections.folding import shares

WORKERS: Final = 2
# More than workers, so that neither waits long for the other at the end.
SHARES: Final = 8

# The log is read so many times, and the topic once.
PASSES: Final = 4


@dataclass(frozen=True, slots=True)
class Servers:
    """Where PostgreSQL and Kafka are."""

    dsn: str
    bootstrap: str


@dataclass(frozen=True, slots=True)
class Screen:
    """What is told of the proofs while they run: which begins, what one says, what is to read."""

    begin: Callable[[str], None]
    tell: Callable[[Proof], None]
    expect: Callable[[int, Any], None]


@dataclass(frozen=True, slots=True)
class Workers:
    """The processes that read the log; `read` counts the rows that they have read."""

    pool: Executor
    read: Any


@contextmanager
def workers() -> Iterator[Workers]:
    """Two processes, for one run or for several."""
    read = counter.PROCESSES.Value("q", 0)
    pool = ProcessPoolExecutor(
        WORKERS, counter.PROCESSES, initializer=counter.begin, initargs=(read,)
    )
    try:
        yield Workers(pool, read)
    finally:
        pool.shutdown(cancel_futures=True)


async def run(servers: Servers, seed: int, wait_s: float, screen: Screen, readers: Workers) -> bool:
    """Run every proof, whatever the others say; whether all hold."""
    async with held(servers.dsn) as (connection, snapshot):
        counted = await read_counted(connection, seed)
        screen.expect(PASSES * counted.head, readers.read)
        over_all = _Run(servers, connection, snapshot, counted, readers.pool, wait_s, screen)
        return await over_all.all()


async def run_since(servers: Servers, since: int, screen: Screen, readers: Workers) -> bool:
    """Prove the log alone, from the last link at or before a position; whether it holds."""
    async with held(servers.dsn) as (connection, snapshot):
        head = await connection.fetchval(HEAD)
        screen.expect(max(0, head - since), readers.read)
        screen.begin(log.NAME)
        proof: Proof = await _in(readers.pool, log.prove_log, snapshot, since)
    screen.tell(proof)
    return proof.holds


def _in(pool: Executor, work: Callable[..., Any], *arguments: Any) -> "asyncio.Future[Any]":
    return asyncio.get_running_loop().run_in_executor(pool, work, *arguments)


@dataclass(frozen=True, slots=True)
class _Run:
    """One run over everything."""

    servers: Servers
    connection: Connection
    snapshot: Snapshot
    counted: Counted
    pool: Executor
    wait_s: float
    screen: Screen

    async def all(self) -> bool:
        """Start what takes long at once, and tell the proofs in their order."""
        in_log = _in(self.pool, log.prove_log, self.snapshot)
        folding = [_in(self.pool, fold_share, self._job(), share) for share in shares(SHARES)]
        # The last of the long ones, beside what the database answers when all is folded.
        in_topic = _in(self.pool, topic.prove_topic, self.snapshot, self.servers.bootstrap)
        under_way = [in_log, *folding, in_topic]
        try:
            holds = await self._tell(log.NAME, in_log)
            holds &= await self._tell(
                submissions.NAME, submissions.prove_submissions(self.connection)
            )
            holds &= await self._of_folded(await self._folded(folding))
            return holds & await self._tell(topic.NAME, in_topic)
        finally:
            # After a fault the others shall end too, and say nothing more.
            for each in under_way:
                each.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)

    async def _folded(self, folding: Sequence["asyncio.Future[Folded]"]) -> Folded:
        self.screen.begin("folding the log anew")
        folded = Folded()
        for part in await asyncio.gather(*folding):
            folded.take(part)
        return folded

    async def _of_folded(self, folded: Folded) -> bool:
        connection, counted, snapshot = self.connection, self.counted, self.snapshot
        tell, wait_s = self._tell, self.wait_s
        holds = await tell(facts.NAME, facts.prove_facts(connection, counted, folded))
        holds &= await tell(tallies.NAME, tallies.prove_tallies(connection, counted, folded))
        holds &= await tell(history.NAME, self._history(folded))
        holds &= await tell(feed.NAME, feed.prove_feed(connection, snapshot, wait_s))
        holds &= await tell(voters.NAME, voters.prove_voters(connection, snapshot, folded, wait_s))
        holds &= await tell(supplements.NAME, supplements.prove_supplements(connection))
        return holds & await tell(
            announced.NAME, announced.prove_announced(connection, self.servers.bootstrap)
        )

    async def _tell(self, name: str, proof: Awaitable[Proof]) -> bool:
        self.screen.begin(name)
        found = await proof
        self.screen.tell(found)
        return found.holds

    def _job(self) -> Job:
        counted = self.counted
        return Job(
            *(self.snapshot, counted.elections, counted.marks),
            *(counted.history_from, counted.thresholds),
        )

    async def _history(self, folded: Folded) -> Proof:
        kept = await history.read_sums(self.connection, self.counted)
        fault = history.sampled_fault(kept, folded.sums, self.counted)
        wrong = history.wrong_village(kept, folded.sums)
        if wrong is not None:
            # Which row it is costs another folding, and is asked only now.
            job = replace(self._job(), kept=wrong)
            again = await self._folded(
                [_in(self.pool, fold_share, job, share) for share in shares(SHARES)]
            )
            fault = await history.row_fault(self.connection, wrong, again)
        return await history.prove_history(self.connection, self.counted, fault)
