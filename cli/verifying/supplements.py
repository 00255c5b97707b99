"""KPU's supplements: one chain for each election, and each still what the voters' feed told."""

from collections import Counter
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

import orjson

from cli.verifying.proof import Proof, difference
from cli.verifying.snapshot import CURSOR_ROWS, Connection
from services.notifier.domain.supplements import Closing, Entry, Head

NAME: Final = "supplements"
RESTORE: Final = (
    "restore the tables of notifier from a backup; whoever has the hash of a supplement can tell"
    " which state is the right one"
)

_ELECTIONS: Final = "SELECT DISTINCT election FROM notifier.supplements ORDER BY election"
_MADE: Final = (
    "SELECT election, number, made_at, from_sequence, to_sequence, villages_from, villages_to,"
    " encode(previous_hash, 'hex') AS previous_hash, encode(hash, 'hex') AS hash,"
    " totals::text AS totals FROM notifier.supplements WHERE election = $1 ORDER BY number"
)
_TOLD: Final = (
    "SELECT sequence, voter::text, kind, reason, from_village, to_village, position, time, stage"
    " FROM notifier.voter_changes WHERE election = $1 AND sequence > $2 AND sequence <= $3"
    " ORDER BY sequence"
)


async def prove_supplements(connection: Connection) -> Proof:
    """Every supplement follows the one before it, and its hash and totals are the feed's."""
    made, fault = 0, None
    for election in await connection.fetch(_ELECTIONS):
        rows = await connection.fetch(_MADE, election["election"])
        made += len(rows)
        fault = fault or await _fault(connection, rows)
    figures = (
        f"{made:,} supplements follow each other, and their hashes are those of what the feed told"
        if made
        else "none was made"
    )
    return Proof(NAME, figures, fault and difference(fault, RESTORE))


async def _fault(connection: Connection, rows: list[Any]) -> str | None:
    """What is wrong with the first supplement of an election that is not as it was made."""
    voters: Mapping[str, int] = {}
    end, before = 0, None
    for number, row in enumerate(rows, start=1):
        head = Head(**{name: row[name] for name in Head._fields})
        which = f"{head.election}: supplement {head.number}"
        if head.number != number:
            return f"{head.election}: supplement {number} is missing, {head.number} follows"
        if number == 1:
            end = head.from_sequence
            voters = await _voters_at(connection, head.election, end)
        if (head.from_sequence, head.previous_hash) != (end, before):
            return f"{which} does not follow the one before it"
        closing = Closing(head, voters)
        last = head.from_sequence
        async for entries in _told(connection, head.election, end, head.to_sequence):
            if [entry.sequence for entry in entries] != list(
                range(last + 1, last + 1 + len(entries))
            ):
                return f"{which}: the voters' feed has a gap after change {last}"
            last = entries[-1].sequence
            closing.take(entries)
        if last != head.to_sequence:
            return f"{which} goes up to change {head.to_sequence}, the voters' feed has {last}"
        totals, digest = closing.finish()
        if orjson.loads(row["totals"]) != [total._asdict() for total in totals]:
            return f"{which}: its totals are not what the voters' feed adds up to"
        if digest.hex() != row["hash"]:
            return f"{which}: its hash is not that of its head, its changes and its totals"
        end, before = head.to_sequence, row["hash"]
        voters = {total.village: total.after for total in totals if total.after}
    return None


async def _voters_at(connection: Connection, election: str, sequence: int) -> dict[str, int]:
    """By village, how many voters the feed has told of up to a sequence."""
    voters: Counter[str] = Counter()
    async for entries in _told(connection, election, 0, sequence):
        for entry in entries:
            if entry.from_village is not None:
                voters[entry.from_village] -= 1
            if entry.to_village is not None:
                voters[entry.to_village] += 1
    return {village: count for village, count in voters.items() if count}


async def _told(
    connection: Connection, election: str, after: int, last: int
) -> AsyncIterator[list[Entry]]:
    cursor = await connection.cursor(_TOLD, election, after, last)
    while rows := await cursor.fetch(CURSOR_ROWS):
        yield [Entry(*row) for row in rows]
