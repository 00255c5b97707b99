"""Reads for the routes of projections, and waits for a position where a reader asks for it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from services.projections import queries
from services.projections.as_of import HistoryNotWholeError, tallies_as_of
from services.projections.domain.definitions import ID_FORM
from services.projections.explanations import Explained, explained
from services.projections.queries import Known, Reading
from services.projections.waiting import CutWatch
from shared.as_of import Moment, UnreadableMomentError, read_moment
from shared.elections import Election
from shared.event_log import BeyondTheLogError, last_position, position_at, recorded_at
from shared.problems import Problem, ProblemError, ProblemType

POSITION_TIMEOUT_S: Final = 10.0
READ_TIMEOUT_S: Final = 10.0
RETRY_AFTER_S: Final = 1


@dataclass(frozen=True, slots=True)
class Progress:
    """Where counting stands at the moment `now` of our clock.

    `position` is the one up to which everything is counted (or that was asked about), recorded at
    `recorded_at` (none for 0); `log_position` is the log's last; `waiting_since` is when the first
    event that is not counted was recorded, none where all are.
    """

    position: int
    recorded_at: datetime | None
    log_position: int
    waiting_since: datetime | None
    now: datetime


class Reader:
    """Answers the routes. Every method raises ProblemError where it cannot."""

    def __init__(self, engine: AsyncEngine, watch: CutWatch) -> None:
        self._engine = engine
        self._watch = watch

    async def elections(self) -> list[Known]:
        async with self._connection() as connection:
            return await queries.elections(connection)

    async def known(self, election_id: str) -> Known:
        """What there is of an election."""
        # Kept from PostgreSQL, which takes no NUL in a text.
        is_id = ID_FORM.fullmatch(election_id)
        async with self._connection() as connection:
            found = await queries.election(connection, election_id) if is_id else None
        if found is None:
            raise not_found("election", "GET /v1/elections lists those there are")
        return found

    async def election(self, election_id: str) -> Election:
        """The definition that the counts are by, if it is counted already."""
        known = await self.known(election_id)
        if known.serving is None:
            raise not_yet("The election is being counted for the first time; ask again.")
        return known.serving.election

    async def tallies(
        self,
        election: Election,
        min_position: int | None,
        as_of: str | None,
        area: str | None = None,
    ) -> Reading:
        """The tallies of the election's villages, or of an area's: as they stood at a moment if
        one is given, else as they stand."""
        if as_of is not None and min_position is not None:
            raise invalid(
                "min_position", "min_position goes without as_of, which waits by itself; omit one."
            )
        position = None if as_of is None else await self.counted_position(as_of, "as_of")
        if min_position:
            await self._wait_for(min_position, "min_position")
        async with self._connection() as connection:
            if position is None:
                return await queries.tallies(connection, election.id, area)
            try:
                return await tallies_as_of(connection, election.id, position, area)
            except HistoryNotWholeError:
                raise _not_filled_yet("as_of") from None

    async def counted_position(self, written: str, field: str) -> int:
        """The position that a moment means, once everything up to it is counted."""
        moment = moment_in(written, field)
        async with self._connection() as connection:
            try:
                position = await position_at(connection, moment)
            except BeyondTheLogError as error:
                raise invalid(field, f"{field} {error}") from None
        await self._wait_for(position, field)
        return position

    async def cut(self) -> int:
        """The position up to which everything is counted."""
        async with self._connection() as connection:
            return await queries.cut(connection)

    async def progress(self, as_of: str | None) -> Progress:
        """How far counting has come, or where in the log a moment lies."""
        asked = None if as_of is None else await self.counted_position(as_of, "as_of")
        async with self._connection() as connection:
            # The log's end after the cut, or it could lie before it.
            cut = await queries.cut(connection)
            position = cut if asked is None else asked
            last = await last_position(connection)
            recorded = await recorded_at(connection, position, cut + 1)
        now = datetime.now(UTC)
        return Progress(position, recorded.get(position), last, recorded.get(cut + 1), now)

    async def explained(
        self, election_id: str, village: str, after: int, up_to: int, limit: int
    ) -> Explained:
        """What made the difference of a village's tally between two counted positions."""
        # Several statements, one state of the tables.
        async with self._connection("REPEATABLE READ") as connection:
            try:
                found = await explained(connection, election_id, village, after, up_to, limit)
            except HistoryNotWholeError:
                raise _not_filled_yet("from") from None
        if found is None:
            raise not_found("village", "the election's list of villages has all of its area")
        return found

    @contextlib.asynccontextmanager
    async def _connection(self, isolation: str = "AUTOCOMMIT") -> AsyncIterator[AsyncConnection]:
        """A connection for statements that each see a state of their own: to begin and to end a
        transaction costs two more round trips, in which the counting may hold the reader up."""
        async with asyncio.timeout(READ_TIMEOUT_S), self._engine.connect() as connection:
            yield await connection.execution_options(isolation_level=isolation)

    async def _wait_for(self, position: int, field: str) -> None:
        if not await self._watch.reaches(position, POSITION_TIMEOUT_S):
            raise not_yet(f"The events up to {field} are not all counted yet; ask again.", field)


def moment_in(written: str, field: str) -> Moment:
    """What was written as a position or a time. Raises ProblemError."""
    try:
        return read_moment(written)
    except UnreadableMomentError as error:
        raise invalid(field, f"{field} {error}") from None


def not_yet(detail: str, field: str | None = None) -> ProblemError:
    return ProblemError(
        Problem(ProblemType.NOT_YET, detail, field), {"Retry-After": str(RETRY_AFTER_S)}
    )


def _not_filled_yet(field: str) -> ProblemError:
    return not_yet(
        "The election's definition is new, and its history so far back is still being filled in;"
        " ask again in some minutes.",
        field,
    )


def not_found(what: str, advice: str) -> ProblemError:
    return ProblemError(Problem(ProblemType.NOT_FOUND, f"There is no such {what}; {advice}."))


def invalid(field: str, detail: str) -> ProblemError:
    return ProblemError(Problem(ProblemType.INVALID, detail, field))
