"""Folding a share of the residents in a process of its own, so that the service goes on counting.

`python -m services.projections.folding` reads jobs from its input, each a line of JSON, and writes
what came of each to its output, another. It ends with whoever started it: when its input is
closed.
"""

import asyncio
import contextlib
import gc
import os
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from queue import SimpleQueue
from typing import Any, Final
from uuid import UUID

import orjson
from sqlalchemy.ext.asyncio import AsyncConnection

from services.projections import announced, catching_up, fold_tables, queries, tables
from services.projections.announcing import voter_news
from services.projections.domain.definitions import written_definition
from services.projections.domain.electorate import votes_in
from services.projections.domain.refold import (
    Folded,
    Marks,
    Redefinition,
    count_anew,
    fold_anew,
    tallies_of,
    up_to,
)
from services.projections.domain.resident import Resident, lived
from services.projections.domain.tally import project
from services.projections.queries import Serving
from shared.counts import Counts
from shared.database import create_engine
from shared.elections import Election

# Counting goes before folding, and folding before filling histories.
FOLDING_NICENESS: Final = 1
FILLING_NICENESS: Final = 15

RETELLING_NICENESS: Final = 5

# Residents of whom is told again in one transaction.
RETOLD_AT_ONCE: Final = 500

# Residents whose history is filled in one transaction; then it rests, so many times as long as it
# worked.
FILLED_AT_ONCE: Final = 500
REST: Final = 3

# While somebody waits for an election, filling rests, and looks so often whether it may go on.
AWAITED_POLL_S: Final = 0.5

# Residents that are read at once of those whom the bulk read does not do for.
READ_AT_ONCE: Final = 1_000

# The election that was there from the start begins with this one.
FIRST_FOLD: Final = 0

MOST_OUTPUT_BYTES: Final = 64 * 1024 * 1024


# Does a job in another process: what came of it.
Does = Callable[[Mapping[str, Any]], Awaitable[dict[str, Any]]]


class FoldingFailedError(Exception):
    """A process that folds ended without a result."""


@dataclass(frozen=True, slots=True)
class Share:
    """The residents from one id to another."""

    first: UUID
    last: UUID


def shares(number: int) -> list[Share]:
    """All residents in so many shares; ids are random, so they are of about one size."""
    bounds = [2**128 * n // number for n in range(number + 1)]
    return [Share(UUID(int=begin), UUID(int=end - 1)) for begin, end in pairwise(bounds)]


async def in_a_process(job: Mapping[str, Any]) -> dict[str, Any]:
    """Do a job in a process that ends with it. Raises FoldingFailedError."""
    process = await start_process()
    try:
        return await do(process, job)
    finally:
        await end_process(process)


async def fold_share(
    database_url: str,
    fold: int,
    share: Share,
    redefinition: Redefinition,
    marks: Mapping[int, int],
    does: Does = in_a_process,
) -> dict[str, Counts]:
    """Fold a share up to the marks in another process: the tallies of it. The differences are
    kept by then. Raises FoldingFailedError."""
    job = {"task": "fold", "marks": _written_marks(marks)}
    return _counts(await does(job | _common(database_url, fold, share, redefinition)))


async def catch_up_share(
    database_url: str,
    fold: int,
    share: Share,
    redefinition: Redefinition,
    before: Mapping[int, int],
    after: Mapping[int, int],
    does: Does,
) -> dict[str, Counts]:
    """Take a share from some marks to later ones in another process: what that adds to the
    tallies. The differences are kept by then. Raises FoldingFailedError."""
    marks = {"before": _written_marks(before), "after": _written_marks(after)}
    job = {"task": "catch_up"} | marks | _common(database_url, fold, share, redefinition)
    return _counts(await does(job))


def _common(
    database_url: str, fold: int, share: Share, redefinition: Redefinition
) -> dict[str, Any]:
    return {
        "database_url": database_url,
        "fold": fold,
        "share": [str(share.first), str(share.last)],
        "new": _written(redefinition.new),
        "old": redefinition.old and _written(redefinition.old),
    }


def _written_marks(marks: Marks) -> dict[str, int]:
    return {str(partition): position for partition, position in marks.items()}


def _read_marks(written: Mapping[str, int]) -> Marks:
    return {int(partition): position for partition, position in written.items()}


def _counts(result: Mapping[str, Sequence[int]]) -> dict[str, Counts]:
    return {village: Counts._make(counts) for village, counts in result.items()}


async def fill_history(database_url: str, fold: int, election: Election) -> bool:
    """Add the history of a folding that serves in a process of its own; false if it serves no
    more. Raises FoldingFailedError."""
    job = {
        "task": "fill",
        "database_url": database_url,
        "fold": fold,
        "election": _written(election),
    }
    result = await in_a_process(job)
    return bool(result["is_whole"])


async def retell_voters(database_url: str, fold: int, election: Election) -> bool:
    """Put everybody's last change as a voter into the outbox again, in a process of its own;
    false if the folding serves no more. Raises FoldingFailedError."""
    job = {
        "task": "retell",
        "database_url": database_url,
        "fold": fold,
        "election": _written(election),
    }
    result = await in_a_process(job)
    return bool(result["is_whole"])


async def start_process() -> asyncio.subprocess.Process:
    """A process that takes jobs."""
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "services.projections.folding"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=MOST_OUTPUT_BYTES,
    )


async def do(process: asyncio.subprocess.Process, job: Mapping[str, Any]) -> dict[str, Any]:
    """Have a process do a job. Raises FoldingFailedError; then it must do no other."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(orjson.dumps(job) + b"\n")
    line = await process.stdout.readline()
    if not line.endswith(b"\n"):
        raise FoldingFailedError("a process that folds ended without a result")
    result: dict[str, Any] = orjson.loads(line)
    return result


async def end_process(process: asyncio.subprocess.Process) -> None:
    """End a process at once: whatever it has done is committed, or shall not be."""
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    await process.wait()


def _written(election: Election) -> dict[str, Any]:
    return {"id": election.id, "definition": written_definition(election)}


def _defined(written: Mapping[str, Any]) -> Election:
    return queries.defined(written["id"], written["definition"])


def _redefinition(job: Mapping[str, Any]) -> Redefinition:
    return Redefinition(_defined(job["new"]), job["old"] and _defined(job["old"]))


async def _fold(job: Mapping[str, Any]) -> dict[str, Any]:
    """Fold the job's share in one transaction, of which nothing stays if it is broken off."""
    redefinition, (first, last) = _redefinition(job), map(UUID, job["share"])
    marks = _read_marks(job["marks"])
    folded = Folded()
    engine = create_engine(job["database_url"], pool_size=1)
    async with engine.begin() as connection:
        await fold_tables.prepare_bulk_read(connection)
        others: list[UUID] = []
        least = min(marks.values())
        async for read in fold_tables.facts_between(connection, first, last, least):
            for resident_id, facts in read.facts:
                count_anew(folded, resident_id, lived(facts), redefinition)
            others += read.others
            await fold_tables.add_differences(connection, job["fold"], folded.differences)
            folded.differences.clear()
        for ids in _batched(others):
            found = await tables.residents(connection, ids)
            for resident_id, resident in found.residents.items():
                at_the_marks = up_to(resident_id, resident, marks)
                fold_anew(folded, resident_id, at_the_marks, redefinition)
        await fold_tables.add_differences(connection, job["fold"], folded.differences)
    await engine.dispose()
    return {village: list(counts) for village, counts in tallies_of(folded.groups).items()}


def _batched(ids: Sequence[UUID]) -> Iterator[Sequence[UUID]]:
    """Ids in batches."""
    for n in range(0, len(ids), READ_AT_ONCE):
        yield ids[n : n + READ_AT_ONCE]


async def _catch_up(job: Mapping[str, Any]) -> dict[str, Any]:
    """Take the job's share to later marks in one transaction."""
    redefinition, (first, last) = _redefinition(job), map(UUID, job["share"])
    before, after = _read_marks(job["before"]), _read_marks(job["after"])
    engine = create_engine(job["database_url"], pool_size=1)
    async with engine.begin() as connection:
        advanced = await catching_up.advance(
            connection, job["fold"], redefinition, before, after, first, last
        )
    await engine.dispose()
    return {village: list(counts) for village, counts in advanced.tallies.items()}


async def _fill(job: Mapping[str, Any]) -> dict[str, Any]:
    """Fill in the history, some residents at a time, and rest in between."""
    election, fold = _defined(job["election"]), job["fold"]
    engine = create_engine(job["database_url"], pool_size=1)
    now_s = asyncio.get_running_loop().time
    resident_id: UUID | None = fold_tables.NOBODY
    serves = True
    while serves and resident_id is not None:
        async with engine.connect() as connection:
            is_awaited = await queries.is_awaited(connection)
        if is_awaited:
            await asyncio.sleep(AWAITED_POLL_S)
            continue
        began_s = now_s()
        async with engine.begin() as connection:
            serves = await fold_tables.serves(connection, election.id, fold)
            residents = await fold_tables.residents_after(connection, resident_id, FILLED_AT_ONCE)
            events = [logged for known in residents.values() for logged in known.facts]
            deltas = project({}, events, [election]).deltas
            await fold_tables.fill_history(connection, deltas, fold)
            resident_id = max(residents, default=None)
        await asyncio.sleep(REST * (now_s() - began_s))
    await engine.dispose()
    return {"is_whole": serves}


async def _retell(job: Mapping[str, Any]) -> dict[str, Any]:
    """Tell of everybody again, some residents at a time."""
    serving = Serving(_defined(job["election"]), job["fold"], put_number=0)
    engine = create_engine(job["database_url"], pool_size=1)
    resident_id: UUID | None = fold_tables.NOBODY
    serves = True
    while serves and resident_id is not None:
        async with engine.begin() as connection:
            serves = await announced.hold_fold(connection, serving.election.id, serving.fold)
            if serves:
                residents = await fold_tables.residents_after(
                    connection, resident_id, RETOLD_AT_ONCE
                )
                await _retell_some(connection, residents, serving)
                resident_id = max(residents, default=None)
    await engine.dispose()
    return {"is_whole": serves}


async def _retell_some(
    connection: AsyncConnection, residents: Mapping[UUID, Resident], serving: Serving
) -> None:
    """Put the last change of each back into the outbox as it was told first.

    Who was never a voter by an election's first definition was never told of. By a later one
    they may have been a voter before, and that they are none now was told with the folding.
    """
    events = [logged for known in residents.values() for logged in known.facts]
    last = {
        step.logged.resident_id: step
        for step in project({}, events, [serving.election]).steps
        if votes_in(step.before) != votes_in(step.after)
    }
    reasons = await announced.types_at(connection, [step.logged.position for step in last.values()])
    await announced.put_back_voters(connection, voter_news(last.values(), [serving], reasons))
    if serving.fold > FIRST_FOLD:
        await announced.put_back_differences(
            connection, serving.fold, residents.keys() - last.keys()
        )


_TASKS: Final = {
    "fold": (_fold, FOLDING_NICENESS),
    "catch_up": (_catch_up, FOLDING_NICENESS),
    "fill": (_fill, FILLING_NICENESS),
    "retell": (_retell, RETELLING_NICENESS),
}


def _read_jobs(jobs: SimpleQueue[bytes]) -> None:
    """Take the jobs from the input, and end with it, whatever is under way."""
    # Not by sys.stdin, whose lock would be held when the interpreter ends.
    with open(sys.stdin.fileno(), "rb", closefd=False) as lines:
        for line in lines:
            jobs.put(line)
    os._exit(1)


def main() -> None:
    jobs: SimpleQueue[bytes] = SimpleQueue()
    threading.Thread(target=_read_jobs, args=(jobs,), daemon=True).start()
    # Half of the work would be the garbage collector's, which finds nothing.
    gc.disable()
    gc.freeze()
    niceness = os.nice(0)
    while True:
        job = orjson.loads(jobs.get())
        task, nicer = _TASKS[job["task"]]
        os.nice(niceness + nicer - os.nice(0))
        result = asyncio.run(task(job))
        sys.stdout.buffer.write(orjson.dumps(result) + b"\n")
        sys.stdout.buffer.flush()
        # What a job leaves goes while nobody waits.
        del job, result
        fold_tables.forget_facts()
        gc.collect()


if __name__ == "__main__":
    main()
