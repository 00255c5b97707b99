"""Folding a share of the residents in a process of its own, so that the service goes on counting.

`python -m services.projections.folding` reads a job from its input, one line of JSON, and writes
what came of it to its output, another. It ends with whoever started it: when its input is closed.
"""

import asyncio
import contextlib
import gc
import os
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final
from uuid import UUID

import orjson
from sqlalchemy.ext.asyncio import AsyncConnection

from services.projections import announced, fold_tables, queries, tables
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
from shared.events.facts import EventRetracted
from shared.events.records import partition_of

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

# Residents with retractions that are read at once.
READ_AT_ONCE: Final = 1_000

# The election that was there from the start begins with this one.
FIRST_FOLD: Final = 0

MOST_OUTPUT_BYTES: Final = 64 * 1024 * 1024


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


async def fold_share(
    database_url: str,
    fold: int,
    share: Share,
    redefinition: Redefinition,
    marks: Mapping[int, int],
) -> dict[str, Counts]:
    """Fold a share up to the marks in a process of its own: the tallies of it. The differences
    are kept by then. Raises FoldingFailedError."""
    result = await _in_a_process(
        {
            "task": "fold",
            "database_url": database_url,
            "fold": fold,
            "share": [str(share.first), str(share.last)],
            "marks": {str(partition): position for partition, position in marks.items()},
            "new": _written(redefinition.new),
            "old": redefinition.old and _written(redefinition.old),
        }
    )
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
    result = await _in_a_process(job)
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
    result = await _in_a_process(job)
    return bool(result["is_whole"])


async def _in_a_process(job: Mapping[str, Any]) -> dict[str, Any]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "services.projections.folding"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=MOST_OUTPUT_BYTES,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(orjson.dumps(job) + b"\n")
        line = await process.stdout.readline()
    finally:
        await _end(process)
    if not line.endswith(b"\n"):
        raise FoldingFailedError("a process that folds ended without a result")
    result: dict[str, Any] = orjson.loads(line)
    return result


async def _end(process: asyncio.subprocess.Process) -> None:
    """End a process at once: whatever it has done is committed, or shall not be."""
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    await process.wait()


def _written(election: Election) -> dict[str, Any]:
    return {"id": election.id, "definition": written_definition(election)}


def _defined(written: Mapping[str, Any]) -> Election:
    return queries.defined(written["id"], written["definition"])


async def _fold(job: Mapping[str, Any]) -> dict[str, Any]:
    """Fold the job's share in one transaction, of which nothing stays if it is broken off."""
    redefinition = Redefinition(_defined(job["new"]), job["old"] and _defined(job["old"]))
    marks = {int(partition): position for partition, position in job["marks"].items()}
    first, last = map(UUID, job["share"])
    folded = Folded()
    engine = create_engine(job["database_url"], pool_size=1)
    async with engine.begin() as connection:
        await fold_tables.prepare_bulk_read(connection)
        retracted: list[UUID] = []
        async for known in fold_tables.facts_between(connection, first, last):
            retracted += _count(folded, known, redefinition, marks)
            await fold_tables.add_differences(connection, job["fold"], folded.differences)
            folded.differences.clear()
        for ids in _batched(retracted):
            found = await tables.residents(connection, ids)
            for resident_id, resident in found.residents.items():
                at_the_marks = up_to(resident_id, resident, marks)
                fold_anew(folded, resident_id, at_the_marks, redefinition)
        await fold_tables.add_differences(connection, job["fold"], folded.differences)
    await engine.dispose()
    return {village: list(counts) for village, counts in tallies_of(folded.groups).items()}


def _count(
    folded: Folded,
    known: Mapping[UUID, fold_tables.KnownFacts],
    redefinition: Redefinition,
    marks: Marks,
) -> list[UUID]:
    """Count residents by their facts up to the marks; those with a retraction, of whom more must
    be known, are left out and given back."""
    retracted = []
    for resident_id, theirs in known.items():
        mark = marks[partition_of(resident_id, len(marks))]
        facts = [fact for position, fact in theirs if position <= mark]
        if any(type(fact) is EventRetracted for fact in facts):
            retracted.append(resident_id)
        else:
            count_anew(folded, resident_id, lived(facts), redefinition)
    return retracted


def _batched(ids: Sequence[UUID]) -> Iterator[Sequence[UUID]]:
    """Ids in batches."""
    for n in range(0, len(ids), READ_AT_ONCE):
        yield ids[n : n + READ_AT_ONCE]


async def _fill(job: Mapping[str, Any]) -> dict[str, Any]:
    """Fill in the history, some residents at a time, and rest in between."""
    election, fold = _defined(job["election"]), job["fold"]
    engine = create_engine(job["database_url"], pool_size=1)
    now_s = asyncio.get_running_loop().time
    resident_id: UUID | None = fold_tables.NOBODY
    serves = True
    while serves and resident_id is not None:
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


def _end_with_the_input() -> None:
    # Not by sys.stdin, whose lock would be held when the interpreter ends.
    while os.read(sys.stdin.fileno(), 1):
        pass
    os._exit(1)


def main() -> None:
    job = orjson.loads(sys.stdin.buffer.readline())
    threading.Thread(target=_end_with_the_input, daemon=True).start()
    # Half of the work would be the garbage collector's, which finds nothing.
    gc.disable()
    if job["task"] == "fold":
        os.nice(FOLDING_NICENESS)
        result = asyncio.run(_fold(job))
    elif job["task"] == "retell":
        os.nice(RETELLING_NICENESS)
        result = asyncio.run(_retell(job))
    else:
        os.nice(FILLING_NICENESS)
        result = asyncio.run(_fill(job))
    sys.stdout.buffer.write(orjson.dumps(result) + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
