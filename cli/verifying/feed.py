"""KPU's feed of villages: numbered without a gap, each change from where the last one ended, and
all of them together the tallies."""

from collections.abc import Mapping
from typing import Any, Final

from cli.verifying.proof import Proof, difference
from cli.verifying.questions import Question, first_fault
from cli.verifying.snapshot import Connection, Snapshot
from cli.verifying.waiting import until
from shared.counts import Counts, VillageKey

NAME: Final = "feed"
RESTORE: Final = (
    "restore the tables of notifier from a backup; KPU must begin again from a snapshot if it was"
    " told what is wrong"
)
# Which of the two is wrong, the proof of the tallies knows.
TALLIES_FIRST: Final = f"if the proof of the tallies does not hold, mend that first; else {RESTORE}"
RESTART: Final = "restart the notifier, and look into its log"

_ZEROS: Final = ", ".join(f"'{name}', 0" for name in Counts._fields)

# All but the last are of each change and the one before it.
QUESTIONS: Final = (
    Question(
        "SELECT election, number, sequence FROM (SELECT election, sequence, row_number()"
        " OVER (PARTITION BY election ORDER BY sequence) AS number FROM notifier.changes)"
        " AS numbered WHERE number <> sequence ORDER BY election, sequence LIMIT 1",
        "{0}: change {1} is missing, {2} comes in its place",
        RESTORE,
    ),
    Question(
        "SELECT election, village, sequence, earlier FROM (SELECT election, village, sequence,"  # noqa: S608 - our own columns
        " coalesce('`after` of change ' || lag(sequence) OVER (PARTITION BY election, village"
        " ORDER BY sequence), 'zeros') AS earlier, before::jsonb,"
        " coalesce(lag(after::jsonb) OVER (PARTITION BY election, village"
        f" ORDER BY sequence), jsonb_build_object({_ZEROS})) AS ended FROM notifier.changes)"
        " AS chained WHERE before <> ended ORDER BY election, sequence LIMIT 1",
        "{0} {1}: `before` of change {2} is not {3}",
        RESTORE,
    ),
    Question(
        "SELECT election, sequence FROM notifier.changes WHERE before::jsonb = after::jsonb"
        " ORDER BY election, sequence LIMIT 1",
        "{0}: change {1} changes nothing",
        RESTORE,
    ),
    Question(
        "SELECT election, sequence, told_position, risen FROM (SELECT election, sequence,"
        " told_position, max(position) OVER (PARTITION BY election ORDER BY sequence) AS risen"
        " FROM notifier.changes) AS told WHERE told_position <> risen"
        " ORDER BY election, sequence LIMIT 1",
        "{0}: change {1} says that the feed had told position {2} by then, it was {3}",
        RESTORE,
    ),
    Question(
        "SELECT election, sequence FROM (SELECT election, sequence, numbered_at,"
        " lag(numbered_at) OVER (PARTITION BY election ORDER BY sequence) AS earlier"
        " FROM notifier.changes) AS timed WHERE numbered_at < earlier"
        " ORDER BY election, sequence LIMIT 1",
        "{0}: change {1} was numbered before the one before it",
        RESTORE,
    ),
    Question(
        "SELECT election, sequence, changes.position FROM notifier.changes"
        " LEFT JOIN registry.log ON log.position = changes.position"
        " WHERE changes.position > 0 AND log.position IS NULL ORDER BY 1, 2 LIMIT 1",
        "{0}: change {1} names position {2}, which the log does not have",
        RESTORE,
    ),
    Question(
        "SELECT election, heads.sequence, heads.position, coalesce(told.sequence, 0),"
        " coalesce(told.position, 0) FROM notifier.heads FULL JOIN (SELECT election,"
        " max(sequence) AS sequence, max(position) AS position FROM notifier.changes"
        " GROUP BY election) AS told USING (election)"
        " WHERE heads.sequence IS DISTINCT FROM coalesce(told.sequence, 0)"
        " OR heads.position IS DISTINCT FROM coalesce(told.position, 0)"
        " ORDER BY election LIMIT 1",
        "{0}: the feed's head is at change {1} and position {2}, its last change at {3} and {4}",
        RESTORE,
    ),
    Question(
        "SELECT election, heads.area, elections.area FROM notifier.heads"
        " JOIN projections.elections ON elections.id = heads.election"
        " WHERE told_fold = elections.fold AND heads.fold = elections.fold"
        " AND heads.area IS DISTINCT FROM elections.area LIMIT 1",
        "{0}: the notifier says that the area is {1}, projections count {2}",
        RESTART,
    ),
    Question(
        "WITH told AS (SELECT DISTINCT ON (election, village) election, village, after::jsonb"  # noqa: S608 - our own columns
        " FROM notifier.changes ORDER BY election, village, sequence DESC)"
        " SELECT election, village FROM told FULL JOIN notifier.villages"
        " USING (election, village) WHERE coalesce(told.after,"
        f" jsonb_build_object({_ZEROS})) IS DISTINCT FROM villages.counts::jsonb"
        " ORDER BY election, village LIMIT 1",
        "{0} {1}: what notifier.villages has is not `after` of the village's last change",
        RESTORE,
    ),
)

_MEMBERS: Final = ", ".join(f"(told.counts->>'{name}')::bigint" for name in Counts._fields)
_COUNTS: Final = ", ".join(f"tallies.{name}" for name in Counts._fields)
_TOLD: Final = (
    f"SELECT election, village, tallies.revision, told.revision, {_COUNTS}, {_MEMBERS}"  # noqa: S608 - our own columns
    " FROM projections.tallies FULL JOIN notifier.villages AS told USING (election, village)"
    " ORDER BY election, village"
)
_REVISIONS: Final = "SELECT election, village, revision FROM notifier.villages"
_COUNTED: Final = "SELECT count(*), count(DISTINCT election) FROM notifier.changes"


async def prove_feed(connection: Connection, snapshot: Snapshot, wait_s: float) -> Proof:
    """The feed's chain, and that it adds up to the tallies."""
    changes, elections = await connection.fetchrow(_COUNTED)
    figures = f"{changes:,} changes of {elections} election(s) are numbered without a gap, chained,"
    fault = await first_fault(connection, QUESTIONS)
    if fault is not None:
        return Proof(NAME, figures, fault)
    behind: dict[VillageKey, int] = {}
    for row in await connection.fetch(_TOLD):
        if (fault := _fault_of(row, behind)) is not None:
            return Proof(NAME, figures, difference(fault, TALLIES_FIRST))
    late = await _still_behind(snapshot.dsn, behind, wait_s)
    if late:
        key, revision = min(late.items())
        fault = f"{key.election} {key.village}: revision {revision} of its tally was never told"
        return Proof(NAME, figures, difference(fault, RESTART))
    word = f" (but {len(behind):,} villages, whose change was on its way)" if behind else ""
    return Proof(NAME, f"{figures} and add up to the tallies{word}")


def _fault_of(row: Any, behind: dict[VillageKey, int]) -> str | None:
    """What is wrong with a village; if it is only told later, it is noted in `behind`."""
    key, revision, told = VillageKey(row[0], row[1]), row[2] or 0, row[3] or 0
    if told > revision:
        return f"{key.election} {key.village} was told revision {told}, its tally has {revision}"
    if told < revision:
        behind[key] = revision
        return None
    counts, sums = row[4 : 4 + len(Counts._fields)], row[4 + len(Counts._fields) :]
    for name, count, summed in zip(Counts._fields, counts, sums, strict=True):
        if (count or 0) != (summed or 0):
            return (
                f"{key.election} {key.village} {name}: the changes add up to {summed or 0},"
                f" the tally is {count or 0}"
            )
    return None


async def _still_behind(
    dsn: str, behind: Mapping[VillageKey, int], wait_s: float
) -> dict[VillageKey, int]:
    """Those that the feed has not told within a time."""
    late = dict(behind)

    async def is_told(connection: Connection) -> bool:
        for election, village, revision in await connection.fetch(_REVISIONS):
            key = VillageKey(election, village)
            if revision >= late.get(key, revision + 1):
                del late[key]
        return not late

    if late:
        await until(dsn, is_told, wait_s)
    return late
