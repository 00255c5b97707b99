"""Replaying the log into a new generation beside the live one, and letting it serve.

The next generation is made of the log as far as every partition is counted; processes of their own
fold the residents, each once. What comes meanwhile is brought in in rounds, as the counting does
it; the last of it, with the comparison and the switch, in one transaction that holds the marks.
Whatever breaks off before its commit leaves the generation that serves as it was. Undoing is the
same, with the generation before in the place of the log.
"""

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

import asyncpg
from sqlalchemy.ext.asyncio import AsyncConnection

from services.projections import fold_tables, generations, queries, tables
from services.projections.announcing import announcement
from services.projections.checkpoints import make_checkpoint
from services.projections.domain.definitions import counts_alike, written_definition
from services.projections.domain.refold import Marks, differences_of
from services.projections.domain.tally import AN_EARLIER_ONE_WAITS, added, project, sums
from services.projections.fold_tables import Fold
from services.projections.folding import Share, shares
from services.projections.generations import REPLAYED, UNDONE, Before
from services.projections.projecting import hold_back, set_unapplied_aside, work_of
from services.projections.queries import Serving
from services.projections.refolding import villages_of
from services.projections.sharing import Answer, Room, processes, room_beside, work_through
from services.projections.tables import add_facts
from shared.calendar import office_date
from shared.counts import NOTHING, Counts
from shared.database import create_engine
from shared.elections import Election
from shared.event_log import read_log
from shared.events.records import LogEntry, partition_of
from shared.topics import PARTITIONS

# Facts of a share, about: so often the progress moves, and so much is one transaction. While events
# arrive, those who read may have to wait for one.
SHARE_FACTS: Final = 10_000
SMALL_SHARE_FACTS: Final = 2_000
LEAST_SHARES: Final = 4

# Entries of the log that are brought in at once.
ROUND_ENTRIES: Final = 5_000

# Another round is worth it as long as it leaves so much less than the one before, and more than so
# many entries: the rest is brought in while counting stands still.
WORTH_A_ROUND: Final = 0.7
FEW_ENTRIES: Final = 200

# A replay that was killed holds its lock until PostgreSQL has noticed.
CONNECTION_CHECK_MS: Final = 500
ALONE_WITHIN_S: Final = 3.0
LOOK_EVERY_S: Final = 0.25

SWITCH_ATTEMPTS: Final = 20
SWITCH_REST_S: Final = 1.0


class ReplayError(Exception):
    """A replay that cannot be, and what to do instead: one sentence."""


class Mode(StrEnum):
    """What is to be done."""

    REPLAY = "replay"
    DRY_RUN = "dry-run"
    UNDO = "undo"


class Stage(StrEnum):
    """What a replay is doing."""

    WAITING = "waiting for an election that is being folded"
    FILLING = "waiting until the history of an election is whole"
    COPYING = "copying the generation before"
    FOLDING = "folding"
    INDEXING = "indexing"
    CATCHING_UP = "catching up"
    COMPARING = "comparing"
    SWITCHING = "switching"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a stage is: events done of all, none where it does not say."""

    stage: Stage
    done: int = 0
    total: int = 0


Tell = Callable[[Progress], None]


@dataclass(frozen=True, slots=True)
class Difference:
    """A village that the next generation counts otherwise than the one that serves."""

    election: str
    village: str
    before: Counts
    after: Counts


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a replay ended: `position` is the last that both generations have counted, `voters` how
    many people vote in another village, once for each election."""

    position: int
    differences: list[Difference]
    voters: int
    serves: bool
    folded_s: float
    switched_s: float


async def replay(database_url: str, mode: Mode, tell: Tell) -> Outcome:
    """Make the next generation, compare, and switch to it unless it is a dry run.

    Raises ReplayError; then, and when it is cancelled, what served goes on.
    """
    settings = {"client_connection_check_interval": str(CONNECTION_CHECK_MS)}
    engine = create_engine(database_url, pool_size=1, settings=settings)
    try:
        async with engine.connect() as connection, _alone(connection, tell):
            return await _Replay(connection, database_url, mode, tell).run()
    finally:
        await engine.dispose()


@contextlib.asynccontextmanager
async def _alone(connection: AsyncConnection, tell: Tell) -> AsyncIterator[None]:
    """Have no other replay and no folding beside us for as long as the connection lasts: the
    switch is made on it, and cannot be once the locks are gone."""
    try:
        refuse_after = time.monotonic() + ALONE_WITHIN_S
        while not await _locks(connection, generations.REPLAY_LOCK):
            if time.monotonic() > refuse_after:
                raise ReplayError(
                    "another replay is running; wait until it has ended, or stop it with Ctrl-C"
                    " where it was started"
                )
            await asyncio.sleep(LOOK_EVERY_S)
        while not await _locks(connection, fold_tables.GENERATION_LOCK):
            tell(Progress(Stage.WAITING))
            await asyncio.sleep(LOOK_EVERY_S)
        yield
    finally:
        # The locks are the session's: with the connection they go.
        await connection.invalidate()


async def _locks(connection: AsyncConnection, lock: int) -> bool:
    async with connection.begin():
        return await generations.try_lock(connection, lock)


@dataclass(slots=True)
class _Next:
    """The generation in the making: its foldings by election, and how far and to what it is."""

    folds: dict[str, int]
    marks: dict[int, int] = field(default_factory=dict)
    tallies: dict[str, dict[str, Counts]] = field(default_factory=dict)
    compared_to: int = 0


class _Replay:
    def __init__(
        self, connection: AsyncConnection, database_url: str, mode: Mode, tell: Tell
    ) -> None:
        self._connection = connection
        self._database_url = database_url
        self._mode = mode
        self._tell = tell
        self._serving: list[Serving] = []
        self._villages: dict[str, list[str]] = {}

    async def run(self) -> Outcome:
        started = time.monotonic()
        async with self._connection.begin():
            await generations.remove_unfinished(self._connection)
        try:
            await self._until_histories_are_whole()
            following = await self._make()
            await self._catch_up(following)
            await self._compare(following)
            folded = time.monotonic()
            return await self._switch(following, folded - started)
        finally:
            await self._tidy()

    async def _tidy(self) -> None:
        """Leave nothing behind where we can; where not, the next replay removes it."""
        with contextlib.suppress(Exception):
            async with self._connection.begin():
                await generations.remove_unfinished(self._connection)

    async def _until_histories_are_whole(self) -> None:
        """What people were told is read from the histories."""
        while True:
            async with self._connection.begin():
                self._serving = await queries.serving(self._connection)
                missing = await generations.histories_missing(self._connection)
            if not missing:
                break
            self._tell(Progress(Stage.FILLING))
            await asyncio.sleep(LOOK_EVERY_S)
        if not self._serving:
            raise ReplayError("no election is counted yet; start projections first")
        # Read before the switch, which holds the marks: the codes of the country take a second.
        self._villages = {each.id: await villages_of(each) for each in self._elections}

    @property
    def _elections(self) -> list[Election]:
        return [each.election for each in self._serving]

    async def _make(self) -> _Next:
        """The next generation, as far as it is made at leisure."""
        async with room_beside(self._database_url) as room:
            return await (self._undo(room) if self._mode is Mode.UNDO else self._build(room))

    async def _build(self, room: Room) -> _Next:
        """The next generation out of the log, as far as every partition is counted."""
        connection = self._connection
        async with connection.begin():
            following = _Next(await generations.begin(connection, self._elections, REPLAYED))
            up_to = await queries.cut(connection)
            entries = await generations.count_log(connection, up_to)
        if entries != up_to:
            raise _hole(f"{up_to - entries:,} of its positions up to {up_to:,}")
        following.marks = dict.fromkeys(range(PARTITIONS), up_to)
        await self._fold(following, up_to, room)
        await self._index(following, room)
        return following

    async def _index(self, following: _Next, room: Room) -> None:
        """Give what was loaded its indexes; what else a history needs to be read is made here."""
        self._tell(Progress(Stage.INDEXING))
        for statement in generations.indexing(following.folds.values()):
            async with room.turn(), self._connection.begin():
                # Those who read wait for a processor too.
                others = 0 if room.events_arrive else processes() - 1
                await generations.index(self._connection, statement, others)
        # The past is asked for at once when the generation serves.
        for election, fold in following.folds.items():
            await self._make_checkpoints(Fold(election, fold), min(following.marks.values()), room)

    async def _make_checkpoints(self, fold: Fold, up_to: int, room: Room) -> None:
        made: int | None = 0
        while made is not None:
            async with room.turn(), self._connection.begin():
                made = await make_checkpoint(
                    self._connection, fold, up_to, generations.history_table(fold.fold)
                )

    async def _fold(self, following: _Next, up_to: int, room: Room) -> None:
        done = 0

        def on_answer(answer: Answer) -> None:
            nonlocal done
            done += answer["events"]
            self._tell(Progress(Stage.FOLDING, done, up_to))

        self._tell(Progress(Stage.FOLDING, 0, up_to))
        elections = self._elections
        job = {
            "database_url": self._database_url,
            "elections": [{"id": e.id, "definition": written_definition(e)} for e in elections],
            "folds": [following.folds[election.id] for election in elections],
            "up_to": up_to,
        }
        module = "services.projections.replay_share"
        for answer in await work_through(module, job, shares_of(up_to, room), room, on_answer):
            for election, tallies in zip(elections, answer["tallies"], strict=True):
                add_tallies(
                    following.tallies.setdefault(election.id, {}),
                    {village: Counts._make(counts) for village, counts in tallies.items()},
                )

    async def _undo(self, room: Room) -> _Next:
        """The next generation out of the one before."""
        connection = self._connection
        async with connection.begin():
            before = await generations.before(connection)
            if before is None:
                raise ReplayError(
                    "there is no generation before the one that serves; nothing was replayed yet"
                )
            if not _same_elections(before.serving, self._serving):
                raise ReplayError(
                    "an election was added or changed since the last replay, so the generation"
                    " before it cannot serve; run `cacah replay` instead"
                )
            following = _Next(await generations.begin(connection, self._elections, UNDONE))
            following.tallies = await generations.tallies_before(connection, before)
            await generations.copy_parked(connection)
        following.marks = before.marks
        await self._copy(before, following, room)
        await self._index(following, room)
        return following

    async def _copy(self, before: Before, following: _Next, room: Room) -> None:
        """Bring the facts and histories of the generation before in, piece by piece."""
        connection, up_to = self._connection, max(before.marks.values())
        folds = [
            (each.election.id, each.fold, following.folds[each.election.id])
            for each in before.serving
        ]
        pieces, copied = shares_of(up_to, room), 0
        for number, piece in enumerate(pieces, start=1):
            self._tell(Progress(Stage.COPYING, copied, up_to))
            async with room.turn(), connection.begin():
                await generations.copy_facts(connection, piece.first, piece.last)
            after, copied = copied, up_to * number // len(pieces)
            async with room.turn(), connection.begin():
                await generations.copy_history(connection, folds, after, copied)

    async def _catch_up(self, following: _Next) -> None:
        """Bring in what came since, until it does not become less."""
        before = sys.maxsize
        while True:
            async with self._connection.begin():
                marks = await queries.marks(self._connection)
                left = await self._advance(following, marks)
            if left <= FEW_ENTRIES or left > before * WORTH_A_ROUND:
                return
            before = left

    async def _advance(self, following: _Next, marks: Marks) -> int:
        """Take the next generation to marks of the one that serves; how much was brought in."""
        first = after = min(following.marks.values())
        up_to = max(marks.values())
        brought = 0
        while after < up_to:
            entries = await read_log(self._connection, after, ROUND_ENTRIES, up_to)
            if not entries or entries[-1].position != after + len(entries):
                raise _hole(f"a position after {after:,}")
            after = entries[-1].position
            missing = [each for each in entries if _is_between(each, following.marks, marks)]
            await self._take(following, missing)
            brought += len(missing)
            self._tell(Progress(Stage.CATCHING_UP, after - first, up_to - first))
        following.marks = {p: max(mark, marks[p]) for p, mark in following.marks.items()}
        return brought

    async def _take(self, following: _Next, entries: Sequence[LogEntry]) -> None:
        """Bring some entries in, as the counting would."""
        if not entries:
            return
        connection, schema = self._connection, generations.NEXT
        work = work_of(entries, following.marks)
        ids = {news.event.logged.resident_id for news in work.news}
        waiting = await tables.waiting_residents(connection, ids, schema)
        found = await tables.residents(connection, ids, schema)
        hold_back(work, dict.fromkeys(waiting, AN_EARLIER_ONE_WAITS) | found.unreadable)
        projected = project(
            found.residents, [news.event.logged for news in work.news], self._elections
        )
        set_unapplied_aside(work, projected)
        await add_facts(connection, work.news, schema)
        await generations.add_history(connection, projected.deltas, following.folds)
        await generations.park(connection, work.parked)
        for key, delta in sums(projected.deltas).items():
            add_tallies(following.tallies.setdefault(key.election, {}), {key.village: delta.counts})

    async def _compare(self, following: _Next) -> None:
        """Compare what both have up to one position, after which little is left to compare."""
        self._tell(Progress(Stage.COMPARING))
        async with self._connection.begin():
            await self._compare_voters(following, min(following.marks.values()))

    async def _compare_voters(self, following: _Next, up_to: int) -> int:
        """Compare where people vote by the events up to a position; how many vote elsewhere."""
        connection, after = self._connection, following.compared_to
        folds = [(each.fold, following.folds[each.election.id]) for each in self._serving]
        if after:
            await generations.forget_compared(connection, after)
        await generations.note_differing(connection, folds, after, up_to)
        following.compared_to = up_to
        return await generations.compare_voters(connection, folds, up_to)

    async def _switch(self, following: _Next, folded_s: float) -> Outcome:
        """Bring in the last of it, compare, and let the next generation serve."""
        self._tell(Progress(Stage.SWITCHING))
        for _ in range(SWITCH_ATTEMPTS):
            try:
                return await self._try_to_switch(following, folded_s)
            except asyncpg.LockNotAvailableError:
                await asyncio.sleep(SWITCH_REST_S)
                await self._catch_up(following)
        raise ReplayError(
            "another program reads the facts all the time, so the new generation could not come to"
            " serve; end it (see pg_stat_activity) and run the same command again"
        )

    async def _try_to_switch(self, following: _Next, folded_s: float) -> Outcome:
        connection = self._connection
        started = time.monotonic()
        async with connection.begin() as transaction:
            locked = await tables.lock_marks(connection, range(PARTITIONS))
            marks = {partition: mark.position for partition, mark in locked.items()}
            if self._mode is not Mode.DRY_RUN:
                await generations.lock_tables(connection)
            await self._advance(following, marks)
            voters = await self._compare_voters(following, max(marks.values()))
            moment = datetime.now(UTC)
            differences = await self._differences(following)
            if self._mode is not Mode.DRY_RUN:
                await generations.keep_before(connection)
                await self._let_serve(following, marks, moment)
                await generations.move_in(connection, following.folds)
            else:
                await transaction.rollback()
        return Outcome(
            position=min(marks.values()),
            differences=differences,
            voters=voters,
            serves=self._mode is not Mode.DRY_RUN,
            folded_s=folded_s,
            switched_s=time.monotonic() - started,
        )

    async def _differences(self, following: _Next) -> list[Difference]:
        """What is counted otherwise, village by village."""
        differences: list[Difference] = []
        for each in self._serving:
            election_id = each.election.id
            rows = await generations.rows_of(self._connection, election_id)
            old = {village: row.counts for village, row in rows.items()}
            new = following.tallies.get(election_id, {})
            differences += differences_between(election_id, old, new)
        return differences

    async def _let_serve(self, following: _Next, marks: Marks, moment: datetime) -> None:
        """Write the tallies and say the differences, as when an election is folded anew."""
        connection, position = self._connection, max(marks.values())
        for election in self._elections:
            fold = following.folds[election.id]
            await fold_tables.add_villages(
                connection, election.id, self._villages[election.id], position + fold
            )
            kept = await generations.rows_of(connection, election.id)
            tallies = following.tallies.get(election.id, {})
            changes = list(differences_of(election.id, kept, tallies, position, moment))
            await fold_tables.set_tallies(connection, changes)
            await tables.add_to_outbox(
                connection, [announcement(change, election) for change in changes]
            )
            stage = election.stage_on(office_date(moment))
            await fold_tables.finish_fold(connection, fold, moment, position, stage)


def shares_of(facts: int, room: Room) -> list[Share]:
    """All residents, of so many facts together, in shares to be worked through one by one."""
    size = SMALL_SHARE_FACTS if room.events_arrive else SHARE_FACTS
    return shares(max(LEAST_SHARES, processes(), facts // size))


def _hole(missing: str) -> ReplayError:
    return ReplayError(
        f"the log lacks {missing}, so nothing can be counted from it; run `cacah verify`, and"
        " restore the log from its backup"
    )


def _is_between(entry: LogEntry, after: Marks, up_to: Marks) -> bool:
    partition = partition_of(entry.resident_id, PARTITIONS)
    return after[partition] < entry.position <= up_to[partition]


def add_tallies(tallies: dict[str, Counts], more: Mapping[str, Counts]) -> None:
    """Add to some tallies."""
    for village, counts in more.items():
        tallies[village] = added(tallies.get(village, NOTHING), counts)


def differences_between(
    election_id: str, old: Mapping[str, Counts], new: Mapping[str, Counts]
) -> list[Difference]:
    """The villages whose tallies differ, in their order."""
    return [
        Difference(election_id, village, before, after)
        for village in sorted(old.keys() | new.keys())
        if (before := old.get(village, NOTHING)) != (after := new.get(village, NOTHING))
    ]


def _same_elections(before: Sequence[Serving], now: Sequence[Serving]) -> bool:
    return len(before) == len(now) and all(
        old.election.id == new.election.id and counts_alike(old.election, new.election)
        for old, new in zip(before, now, strict=True)
    )
