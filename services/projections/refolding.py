"""Bringing what was put of an election to serve: all residents folded again, for it alone.

The counting goes on meanwhile. Processes of their own fold everybody up to the marks as they were
at the start, and what came since in rounds; the last of it, with the switch, is folded in one
transaction that holds the marks. Whatever breaks off leaves the old definition serving, and the
one that was put is taken up again at the next start.
"""

import asyncio
import logging
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

import asyncpg
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from services.projections import catching_up, fold_tables, metrics, queries, tables
from services.projections.announcing import announcement
from services.projections.domain.definitions import counts_alike
from services.projections.domain.refold import (
    Marks,
    Redefinition,
    differences_of,
    history_after,
    plus,
)
from services.projections.domain.resident import Resident
from services.projections.folding import Share, catch_up_share, fill_history, fold_share, shares
from services.projections.queries import Put
from services.projections.warm_processes import WarmProcess, warm_processes
from shared.calendar import office_date
from shared.counts import Counts
from shared.database import wait_for
from shared.elections import Election
from shared.regions import villages_in
from shared.topics import PARTITIONS

logger = logging.getLogger(__name__)

# Behind the waking after each put, for those that came to another process.
POLL_S: Final = 0.5

MOST_PROCESSES: Final = 4

# What came since is folded in rounds, as long as a round leaves so much less than the one before:
# the rest, about what comes while a round is done, is folded under the marks' locks.
WORTH_A_ROUND: Final = 0.7
FEW_EVENTS: Final = 100


@dataclass(slots=True)
class _Folding:
    """A folding under way: the tallies by the new definition, at the marks."""

    fold: int
    put_number: int
    redefinition: Redefinition
    marks: Marks
    tallies: dict[str, Counts]


class Refolder:
    """Brings to serve what is put, one election after another; one process at a time does."""

    def __init__(
        self, engine: AsyncEngine, database_url: str, on_switch: Callable[[], None]
    ) -> None:
        self._engine = engine
        self._database_url = database_url
        self._on_switch = on_switch
        self._turn = 0
        self._processes: Sequence[WarmProcess] = ()
        self.woken = asyncio.Event()

    async def run(self) -> None:
        """Work until something fails; what was begun is begun anew by calling again."""
        number = min(MOST_PROCESSES, os.cpu_count() or 1)
        async with (
            fold_tables.alone(self._engine, fold_tables.FOLDER_LOCK) as still_alone,
            warm_processes(number) as self._processes,
        ):
            while True:
                await still_alone()
                async with self._engine.connect() as connection:
                    waiting = await fold_tables.pending(connection)
                if waiting:
                    # In turn: one that fails again and again must not keep the others waiting.
                    self._turn += 1
                    async with fold_tables.alone(self._engine, fold_tables.GENERATION_LOCK):
                        await self._serve(waiting[self._turn % len(waiting)])
                else:
                    await wait_for(self.woken, POLL_S)
                    await self._warm()

    async def _warm(self) -> None:
        for process in self._processes:
            await process.warm()

    async def _serve(self, election_id: str) -> None:
        started = time.monotonic()
        async with self._engine.begin() as connection:
            known = await queries.election(connection, election_id)
            assert known is not None
            assert known.put is not None
            old = known.serving.election if known.serving else None
            if old is not None and counts_alike(old, known.put.election):
                await fold_tables.restage(connection, known.put.election, known.put.number)
                return
        folding = await self._fold(known.put, Redefinition(known.put.election, old))
        folded = time.monotonic()
        await self._catch_up(folding)
        caught_up = time.monotonic()
        await self._switch(folding)
        self._on_switch()
        _report(folding, (started, folded, caught_up, time.monotonic()))
        await self._tidy(folding.redefinition)

    async def _fold(self, put: Put, redefinition: Redefinition) -> _Folding:
        """Fold everybody up to the marks as they are now."""
        election = redefinition.new
        villages = await villages_of(election)
        async with self._engine.begin() as connection:
            fold = await fold_tables.begin_fold(connection, election.id)
            await fold_tables.add_villages(connection, election.id, villages)
        async with self._engine.connect() as connection:
            marks = await queries.marks(connection)
        folding = _Folding(fold, put.number, redefinition, marks, {})
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(
                    fold_share(self._database_url, fold, share, redefinition, marks, process.do)
                )
                for share, process in self._shares()
            ]
        for task in tasks:
            plus(folding.tallies, task.result())
        return folding

    def _shares(self) -> Iterable[tuple[Share, WarmProcess]]:
        return zip(shares(len(self._processes)), self._processes, strict=True)

    async def _catch_up(self, folding: _Folding) -> None:
        """Fold what came since, until it does not become less."""
        before = sys.maxsize
        while True:
            async with self._engine.connect() as connection:
                marks = await queries.marks(connection)
            came = max(marks.values()) - min(folding.marks.values())
            if came <= FEW_EVENTS or came > before * WORTH_A_ROUND:
                return
            await self._catch_up_to(folding, marks)
            before = came

    async def _catch_up_to(self, folding: _Folding, marks: Marks) -> None:
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(
                    catch_up_share(
                        *(self._database_url, folding.fold, share, folding.redefinition),
                        *(folding.marks, marks, process.do),
                    )
                )
                for share, process in self._shares()
            ]
        for task in tasks:
            plus(folding.tallies, task.result())
        folding.marks = marks

    async def _switch(self, folding: _Folding) -> None:
        """Fold the last of it and let the new definition serve, in one transaction."""
        started = time.monotonic()
        async with self._engine.begin() as connection:
            locked = await tables.lock_marks(connection, range(PARTITIONS))
            marks = {partition: mark.position for partition, mark in locked.items()}
            later = await _advance(connection, folding, marks)
            await _let_serve(connection, folding, later, datetime.now(UTC))
        metrics.SWITCH_SECONDS.observe(time.monotonic() - started)

    async def _tidy(self, redefinition: Redefinition) -> None:
        """Remove the rows of villages that left the area and were never told of."""
        if redefinition.old is None or redefinition.old.area == redefinition.new.area:
            return
        villages = await villages_of(redefinition.new)
        async with self._engine.begin() as connection:
            await fold_tables.remove_villages(connection, redefinition.new.id, villages)


async def villages_of(election: Election) -> list[str]:
    """The villages of an election's area; the country has so many that the loop must not wait."""
    found = await asyncio.to_thread(villages_in, election.area)
    return [village.code for village in found]


async def _advance(
    connection: AsyncConnection, folding: _Folding, marks: Marks
) -> dict[UUID, Resident]:
    """Take a folding to later marks; the residents of whom something came after its own."""
    advanced = await catching_up.advance(
        connection, folding.fold, folding.redefinition, folding.marks, marks
    )
    plus(folding.tallies, advanced.tallies)
    folding.marks = marks
    return advanced.later


async def _let_serve(
    connection: AsyncConnection,
    folding: _Folding,
    later: Mapping[UUID, Resident],
    moment: datetime,
) -> None:
    """Write the new tallies, say the difference, and name the folding as the one that serves.

    The marks are locked. Answers are given at the cut, by taking off what came after it: so the
    history after the cut must be there from the start; what lies before it is filled in later.
    """
    election = folding.redefinition.new
    position, cut = max(folding.marks.values()), min(folding.marks.values())
    switched = await fold_tables.switch(
        connection, election, folding.put_number, folding.fold, history_from=cut
    )
    if not switched:
        raise OvertakenError(election.id)
    await fold_tables.add_history_table(connection, folding.fold)
    history = history_after(later, election, cut, folding.marks)
    await tables.add_history(connection, history, {election.id: folding.fold})
    kept = await fold_tables.kept_tallies(connection, election.id)
    changes = list(differences_of(election.id, kept, folding.tallies, position, moment))
    await fold_tables.set_tallies(connection, changes)
    await tables.add_to_outbox(connection, [announcement(change, election) for change in changes])
    stage = election.stage_on(office_date(moment))
    await fold_tables.finish_fold(connection, folding.fold, moment, position, stage)


class OvertakenError(Exception):
    """Another process let a later folding of the election serve."""


def _report(folding: _Folding, moments: tuple[float, float, float, float]) -> None:
    started, folded, caught_up, switched = moments
    metrics.FOLDINGS.inc()
    metrics.FOLDING_SECONDS.observe(switched - started)
    logger.info(
        "an election was folded anew",
        extra={
            "election": folding.redefinition.new.id,
            "fold": folding.fold,
            "folding_s": round(folded - started, 3),
            "catching_up_s": round(caught_up - folded, 3),
            "switching_s": round(switched - caught_up, 3),
        },
    )


class Backfiller:
    """Fills in the history of foldings that serve and removes that of those that did."""

    def __init__(self, engine: AsyncEngine, database_url: str) -> None:
        self._engine = engine
        self._database_url = database_url
        self.woken = asyncio.Event()

    async def run(self) -> None:
        """Work until something fails."""
        async with fold_tables.alone(self._engine, fold_tables.BACKFILLER_LOCK) as still_alone:
            while True:
                await still_alone()
                if not (await self._fill() or await self._remove()):
                    await wait_for(self.woken, POLL_S)

    async def _fill(self) -> bool:
        """Fill one history, if one is not whole."""
        async with self._engine.connect() as connection:
            found = await fold_tables.fold_without_history(connection)
            known = found and await queries.election(connection, found.election)
        if not found or not known or not known.serving:
            return False
        is_whole = await fill_history(self._database_url, found.fold, known.serving.election)
        if is_whole:
            async with self._engine.begin() as connection:
                await fold_tables.finish_history(connection, found.election, found.fold)
        return True

    async def _remove(self) -> bool:
        """Remove a past history, if there is one that nobody reads."""
        try:
            async with self._engine.begin() as connection:
                past = await fold_tables.past_fold(connection)
                if past is None or await queries.is_awaited(connection):
                    return False
                await fold_tables.remove_history(connection, past)
        except asyncpg.LockNotAvailableError:
            return False
        return True
