"""KPU's feed of voters: numbered, chained, and together the voters of each village."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from cli.verifying.folding import Folded, WrongVoter
from cli.verifying.proof import Proof, difference
from cli.verifying.questions import Question, first_fault
from cli.verifying.snapshot import Connection, Snapshot
from cli.verifying.waiting import until
from shared.counts import Counts, VillageKey

NAME: Final = "voters"
RESTORE: Final = (
    "restore the tables of notifier from a backup; KPU must begin again from its first change if it"
    " was told what is wrong"
)

QUESTIONS: Final = (
    Question(
        "SELECT election, number, sequence FROM (SELECT election, sequence, row_number()"
        " OVER (PARTITION BY election ORDER BY sequence) AS number FROM notifier.voter_changes)"
        " AS numbered WHERE number <> sequence ORDER BY election, sequence LIMIT 1",
        "{0}: change {1} of voters is missing, {2} comes in its place",
        RESTORE,
    ),
    Question(
        "SELECT election, sequence, voter FROM (SELECT election, sequence, voter, from_village,"
        " lag(to_village) OVER (PARTITION BY election, voter ORDER BY sequence) AS ended"
        " FROM notifier.voter_changes) AS chained WHERE from_village IS DISTINCT FROM ended"
        " ORDER BY election, sequence LIMIT 1",
        "{0}: change {1} does not begin where the change before it left voter {2}",
        RESTORE,
    ),
    Question(
        "SELECT election, sequence, kind FROM notifier.voter_changes"
        " WHERE kind <> CASE WHEN from_village IS NULL THEN 'added'"
        " WHEN to_village IS NULL THEN 'removed' ELSE 'moved' END"
        " OR from_village IS NOT DISTINCT FROM to_village ORDER BY election, sequence LIMIT 1",
        "{0}: change {1} of voters is no {2}",
        RESTORE,
    ),
    Question(
        "SELECT election, sequence, voter, changes.position FROM notifier.voter_changes AS changes"
        " LEFT JOIN registry.log ON log.position = changes.position"
        " WHERE reason NOT IN ('election.changed', 'counts.replayed', 'replay.undone')"
        " AND (log.resident_id IS DISTINCT FROM voter"
        " OR log.type NOT IN (reason, 'id.dukcapil.' || reason)) ORDER BY 1, 2 LIMIT 1",
        "{0}: change {1} of voter {2} names position {3}, which in the log is another event",
        RESTORE,
    ),
    Question(
        "SELECT election, heads.sequence, coalesce(told.sequence, 0) FROM notifier.voter_heads"
        " AS heads FULL JOIN (SELECT election, max(sequence) AS sequence"
        " FROM notifier.voter_changes GROUP BY election) AS told USING (election)"
        " WHERE heads.sequence IS DISTINCT FROM coalesce(told.sequence, 0) LIMIT 1",
        "{0}: the voters' feed says that its last change is {1}, it is {2}",
        RESTORE,
    ),
    Question(
        "WITH told AS (SELECT DISTINCT ON (election, voter) election, voter, to_village"
        " FROM notifier.voter_changes ORDER BY election, voter, sequence DESC)"
        " SELECT election, voter FROM told FULL JOIN notifier.voters USING (election, voter)"
        " WHERE told.to_village IS DISTINCT FROM voters.village"
        " ORDER BY election, voter LIMIT 1",
        "{0}: what notifier.voters has of voter {1} is not what the last change of theirs says",
        RESTORE,
    ),
)
_COUNTED: Final = "SELECT count(*) FROM notifier.voter_changes"
_NOW: Final = "SELECT village, fold, place FROM notifier.voters WHERE election = $1 AND voter = $2"

# Of so many at most it is looked whether they are told later.
LOOKED_AT: Final = 1_000


async def prove_voters(
    connection: Connection, snapshot: Snapshot, folded: Folded, wait_s: float
) -> Proof:
    """The voters' feed adds up to the voters that the log says, person by person."""
    changes = await connection.fetchval(_COUNTED)
    voters = folded.voters.total()
    figures = (
        f"{changes:,} changes are numbered without a gap, chained, and add up to the {voters:,}"
        " voters that the log says, in their villages"
    )
    fault = await first_fault(connection, QUESTIONS)
    if fault is not None:
        return Proof(NAME, figures, fault)
    if (fault := different_size(folded.tallies(), folded.voters)) is not None:
        return Proof(NAME, figures, difference(fault, RESTORE))
    late = await _still_wrong(snapshot.dsn, folded.wrong_voters, wait_s)
    if late:
        return Proof(NAME, figures, difference(said(late), RESTORE))
    if folded.wrong_voters:
        figures += f" (but {len(folded.wrong_voters):,} who were told meanwhile)"
    return Proof(NAME, figures)


def different_size(
    tallies: Mapping[VillageKey, Counts], voters: Mapping[VillageKey, int]
) -> str | None:
    """The first village that has not as many voters as eligible residents, in words."""
    for key in sorted(tallies.keys() | voters.keys()):
        eligible = tallies[key].eligible if key in tallies else 0
        if eligible != voters.get(key, 0):
            number = voters.get(key, 0)
            return f"{key.election} {key.village} has {number} voters and {eligible} eligible"
    return None


def said(wrong: Iterable[WrongVoter]) -> str:
    """The first of some wrong voters, in words."""
    first, *others = sorted(wrong, key=lambda each: (each.election, each.voter))
    told, right = (village or "no village" for village in (first.told, first.log_says))
    more = f" (and {len(others):,} others)" if others else ""
    return (
        f"{first.election}: KPU was told that voter {first.voter} is of {told}, the log says"
        f" {right}{more}"
    )


async def _still_wrong(
    dsn: str, wrong: Sequence[WrongVoter], wait_s: float
) -> Sequence[WrongVoter]:
    """Those of whom nothing else is told within a time."""
    late = list(wrong[:LOOKED_AT])

    async def is_told(connection: Connection) -> bool:
        late[:] = [each for each in late if not _is_told(each, await _now(connection, each))]
        return not late

    if late:
        await until(dsn, is_told, wait_s)
    return late


async def _now(connection: Connection, wrong: WrongVoter) -> Any:
    return await connection.fetchrow(_NOW, wrong.election, wrong.voter)


def _is_told(wrong: WrongVoter, now: Any) -> bool:
    return now is not None and (now["fold"], now["place"]) > wrong.place
