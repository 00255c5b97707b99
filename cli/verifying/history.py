"""Projections' history and checkpoints: what each event added, and what that adds up to."""

from collections.abc import Iterator, Mapping
from typing import Final

from cli.verifying.counted import Counted
from cli.verifying.folding import (
    WEIGHT_FACTOR,
    WEIGHT_MODULUS,
    WEIGHT_STEP,
    WEIGHTS,
    Folded,
    Sum,
    Sums,
    both,
)
from cli.verifying.proof import REPLAY, Proof, difference
from cli.verifying.questions import Question, first_fault
from cli.verifying.snapshot import Connection
from cli.verifying.tallies import different_count
from shared.counts import NOTHING, Counts, VillageKey

NAME: Final = "history"
NOTHING_HERE: Final = Sum()

_NAMES: Final = Counts._fields
_SUMS: Final = ", ".join(f"sum({name})::bigint" for name in _NAMES)
_WEIGHT: Final = (
    f"((position * {WEIGHT_FACTOR} + {WEIGHT_STEP}) % {WEIGHT_MODULUS})::numeric * ("
    + " + ".join(f"{name}::bigint * {weight}" for name, weight in zip(_NAMES, WEIGHTS, strict=True))
    + ")"
)
_SERVING: Final = (
    "projections.history JOIN projections.elections ON elections.id = history.election"
    " AND elections.fold = history.fold"
)
_HISTORY: Final = (
    "SELECT election, village, width_bucket(position, $1::bigint[]),"  # noqa: S608 - our own columns
    f" sum({_WEIGHT}), {_SUMS} FROM {_SERVING} WHERE position > history_from GROUP BY 1, 2, 3"
)
_ROWS: Final = (
    f"SELECT position, {', '.join(_NAMES)} FROM {_SERVING}"  # noqa: S608 - our own columns
    " WHERE position > history_from AND election = $1 AND village = $2"
)
_COUNT: Final = (
    f"SELECT (SELECT count(*) FROM {_SERVING} WHERE position > history_from),"  # noqa: S608 - our own columns
    " (SELECT count(DISTINCT (election, fold, position)) FROM projections.checkpoints)"
)

# Of what serves: a past folding's history is taken away bit by bit before its checkpoints are.
# A checkpoint less the one before it is what the history has between them.
_DIFFERENCES: Final = ", ".join(
    f"{name} - lag({name}, 1, 0) OVER earlier AS {name}" for name in _NAMES
)
_BETWEEN: Final = ", ".join(f"sum({name}) AS {name}" for name in _NAMES)
_SAME: Final = " OR ".join(
    f"coalesce(made.{name}, 0) <> coalesce(kept.{name}, 0)" for name in _NAMES
)
CHECKPOINTS: Final = Question(
    f"""
    WITH places AS (
        SELECT election, fold, array_agg(position ORDER BY position) AS ends
        FROM (SELECT DISTINCT election, fold, position FROM projections.checkpoints) AS those
        JOIN projections.elections AS served USING (fold)
        WHERE served.id = election AND history_from = 0 GROUP BY election, fold
    ),
    kept AS (
        SELECT election, fold, position, village, {_DIFFERENCES}
        FROM projections.checkpoints JOIN places USING (election, fold)
        WINDOW earlier AS (PARTITION BY election, fold, village ORDER BY position)
    ),
    made AS (
        SELECT election, fold, ends[width_bucket(position - 1, ends) + 1] AS position, village,
            {_BETWEEN}
        FROM places JOIN projections.history USING (election, fold)
        WHERE position <= ends[array_upper(ends, 1)] GROUP BY 1, 2, 3, 4
    )
    SELECT election, village, position FROM kept FULL JOIN made
        USING (election, fold, position, village)
    WHERE {_SAME} ORDER BY position, election, village LIMIT 1
    """,  # noqa: S608 - our own columns
    "{0} {1}: the checkpoint at position {2} is not what the history adds up to",
    "delete the rows of projections.checkpoints, which are made again by themselves",
)


async def read_sums(connection: Connection, counted: Counted) -> Sums:
    """What the history that serves adds up to between the samples."""
    rows = await connection.fetch(_HISTORY, counted.thresholds)
    return {
        (row[0], row[1], row[2]): Sum(Counts._make(map(int, row[4:])), int(row[3])) for row in rows
    }


def sampled_fault(kept: Sums, folded: Sums, counted: Counted) -> str | None:
    """The first sample at which the history does not add up to the prefix of the log."""
    for sample, ours, theirs in _at_samples(kept, folded, counted):
        for key in sorted(ours.keys() | theirs.keys()):
            fault = different_count(key, ours.get(key, NOTHING), theirs.get(key, NOTHING))
            if fault is not None:
                return f"at position {sample}, {fault}"
    return None


def _at_samples(
    kept: Sums, folded: Sums, counted: Counted
) -> Iterator[tuple[int, Mapping[VillageKey, Counts], Mapping[VillageKey, Counts]]]:
    ours: dict[VillageKey, Sum] = {}
    theirs: dict[VillageKey, Sum] = {}
    for bucket, sample in enumerate(counted.samples):
        for sums, into in ((kept, ours), (folded, theirs)):
            for (election, village, number), more in sums.items():
                if number == bucket:
                    key = VillageKey(election, village)
                    into[key] = both(into.get(key), more)
        yield (
            sample,
            {key: total.counts for key, total in ours.items()},
            {key: total.counts for key, total in theirs.items()},
        )


def wrong_village(kept: Sums, folded: Sums) -> VillageKey | None:
    """The first village of whose history some row is not what the log makes it, none if all are."""
    wrong = [
        VillageKey(*key[:2])
        for key in kept.keys() | folded.keys()
        if key[2] >= 0 and kept.get(key, NOTHING_HERE) != folded.get(key, NOTHING_HERE)
    ]
    return min(wrong, default=None)


async def row_fault(connection: Connection, key: VillageKey, folded: Folded) -> str:
    """The first row of a village's history that is not what the log makes it, in words."""
    rows = await connection.fetch(_ROWS, *key)
    kept = {row[0]: Counts._make(row[1:]) for row in rows}
    for position in sorted(kept.keys() | folded.kept.keys()):
        ours, theirs = kept.get(position, NOTHING), folded.kept.get(position, NOTHING)
        if (fault := different_count(key, ours, theirs)) is not None:
            return f"what position {position} added to {fault}"
    return f"{key.election} {key.village}: a row that changes nothing is too many or missing"


async def prove_history(connection: Connection, counted: Counted, fault: str | None) -> Proof:
    """What was found in the history, and the checkpoints held against it."""
    rows, checkpoints = await connection.fetchrow(_COUNT)
    figures = (
        f"{rows:,} rows are what the log makes them, their sums hold at {len(counted.samples)}"
        f" sampled positions{_between(counted)}, and so do {checkpoints:,} checkpoints"
    )
    if fault is not None:
        return Proof(NAME, figures, difference(fault, REPLAY))
    return Proof(NAME, figures, await first_fault(connection, [CHECKPOINTS]))


def _between(counted: Counted) -> str:
    if not counted.samples:
        return ""
    return f" from {counted.samples[0]:,} to {counted.samples[-1]:,}"
