"""What projections read of the log: their copy of it, their marks, what they set aside, and the
definitions that serve."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

import orjson

from cli.verifying.counted import Counted
from cli.verifying.folding import Folded
from cli.verifying.proof import REPLAY, Proof, difference
from cli.verifying.questions import Question, first_fault
from cli.verifying.snapshot import CURSOR_ROWS, Connection
from services.projections.queries import defined
from shared.elections import PILKADA_2024, Election
from shared.events.records import partition_of

NAME: Final = "facts"
RETRY: Final = "restart projections; if it stays so, run `cacah replay`"
PUT_AGAIN: Final = "put the election's definition again with PUT /v1/elections/{id}"

# Only what differs leaves the server. The text differs where it was written anew on the way.
_DIFFERING: Final = (
    "SELECT position, coalesce(log.resident_id, facts.resident_id) AS resident_id,"
    " facts.position IS NULL AS is_missing FROM registry.log"
    " FULL JOIN projections.facts USING (position)"
    " WHERE (log.resident_id, log.recorded_at, log.type, log.version, log.source, log.event_id)"
    " IS DISTINCT FROM (facts.resident_id, facts.recorded_at, facts.type, facts.version,"
    " facts.source, facts.event_id) OR (log.data::text <> facts.data::text"
    " AND log.data::jsonb <> facts.data::jsonb) ORDER BY position"
)
_PARKED: Final = (
    "SELECT position, why, dropped_at IS NULL FROM projections.parked WHERE position IS NOT NULL"
)
_PUTS: Final = "SELECT election, number, definition::text FROM projections.puts"
_SERVED: Final = "SELECT id, put_number FROM projections.elections"

QUESTIONS: Final = (
    Question(
        "SELECT parked.position, log.resident_id IS NULL FROM projections.parked"
        " LEFT JOIN registry.log USING (position) WHERE parked.position IS NOT NULL"
        " AND parked.resident_id IS DISTINCT FROM log.resident_id ORDER BY 1 LIMIT 1",
        "position {0} is parked in projections as another resident's than in the log",
        REPLAY,
    ),
    Question(
        "SELECT elections.id FROM projections.elections LEFT JOIN projections.folds"
        " ON folds.fold = elections.fold AND folds.election = elections.id"
        " WHERE folds.switched_at IS NULL ORDER BY 1 LIMIT 1",
        "{0} is served by a folding that never came to serve",
        REPLAY,
    ),
)


async def prove_facts(connection: Connection, counted: Counted, folded: Folded) -> Proof:
    """Each position up to the marks is a fact of projections, the same as in the log, or parked
    because no rule can apply it."""
    rows = await connection.fetch(_PARKED)
    parked = {position for position, _, _ in rows}
    waiting = {position: why for position, why, waits in rows if waits}
    fault = _fault_of_marks(counted) or fault_of_parked(waiting, folded.unapplied)
    fault = fault or await _differing_fact(connection, counted, parked)
    fault = (
        (fault and difference(fault, RETRY))
        or await first_fault(connection, QUESTIONS)
        or await _fault_of_definitions(connection, counted.elections)
    )
    figures = (
        f"{counted.cut - len(parked):,} positions are counted as they stand in the log,"
        f" {len(parked):,} are set aside{counted.behind()}"
    )
    return Proof(NAME, figures, fault)


def _fault_of_marks(counted: Counted) -> str | None:
    for partition, mark in counted.marks.items():
        if mark > counted.head:
            return (
                f"partition {partition} is counted up to {mark}, but the log ends at {counted.head}"
            )
    return None


def fault_of_parked(parked: Mapping[int, str], unapplied: Mapping[int, str]) -> str | None:
    """The first position that is set aside without need, or is not though no rule can apply it."""
    for position in sorted(parked.keys() ^ unapplied.keys()):
        if position in parked:
            return f"position {position} is set aside ({parked[position]}), but can be counted"
        return (
            f"position {position} cannot be counted ({unapplied[position]}), but is not set aside"
        )
    return None


async def _differing_fact(
    connection: Connection, counted: Counted, parked: Collection[int]
) -> str | None:
    cursor = await connection.cursor(_DIFFERING)
    while rows := await cursor.fetch(CURSOR_ROWS):
        for row in rows:
            if (fault := _fault_of(row, counted.marks, parked)) is not None:
                return fault
    return await _fact_beyond_its_mark(connection, counted.marks)


def _fault_of(row: Any, marks: Mapping[int, int], parked: Collection[int]) -> str | None:
    """What is wrong with a position whose fact and entry differ, none if it is only to come."""
    position, resident_id, is_missing = row
    if not is_missing:
        return f"the fact of position {position} is not what the log has there"
    if position in parked or position > marks[partition_of(resident_id, len(marks))]:
        return None
    return f"the fact of position {position} is missing, though counted"


async def _fact_beyond_its_mark(connection: Connection, marks: Mapping[int, int]) -> str | None:
    beyond = await connection.fetch(
        "SELECT position, resident_id FROM projections.facts WHERE position > $1 ORDER BY position",
        min(marks.values(), default=0),
    )
    for position, resident_id in beyond:
        partition = partition_of(resident_id, len(marks))
        if position > marks[partition]:
            return (
                f"the fact of position {position} is there, but partition {partition} is counted"
                f" up to {marks[partition]} alone"
            )
    return None


async def _fault_of_definitions(
    connection: Connection, elections: Iterable[Election]
) -> str | None:
    """The first election that is counted by another definition than the one that was put."""
    numbers = dict(await connection.fetch(_SERVED))
    puts = {row[0]: (row[1], row[2]) for row in await connection.fetch(_PUTS)}
    for election in elections:
        number, definition = puts.get(election.id, (0, None))
        if number != numbers[election.id]:
            continue
        put = PILKADA_2024 if definition is None else defined(election.id, orjson.loads(definition))
        if put != election:
            what = f"{election.id} is counted by another definition than was put"
            return difference(what, PUT_AGAIN.format(id=election.id))
    return None
