"""What stations sent against the log, and the registry's other tables against both."""

from typing import Final

from cli.verifying.proof import RESTORE, Proof
from cli.verifying.questions import Question, first_fault
from cli.verifying.snapshot import Connection
from shared.stations import SOURCE_FORM

NAME: Final = "submissions"
DROP: Final = "drop it with `cacah parked drop`, or restore registry.vault_keys from a backup"

QUESTIONS: Final = (
    Question(
        "SELECT position, outcome, arrival FROM registry.submissions"
        " WHERE (outcome = 'accepted') <> (position IS NOT NULL) ORDER BY arrival LIMIT 1",
        "submission {2} is {1} with the position {0}: accepted ones alone have one",
        RESTORE,
    ),
    Question(
        "SELECT position, count(*) FROM registry.submissions WHERE outcome = 'accepted'"
        " GROUP BY position HAVING count(*) > 1 ORDER BY position LIMIT 1",
        "position {0} belongs to {1} accepted submissions",
        RESTORE,
    ),
    Question(
        "SELECT position, CASE WHEN sent.position IS NULL THEN 'has no accepted submission'"
        " WHEN log.position IS NULL THEN 'is in no log, but a submission was accepted with it'"
        " ELSE 'is another event in the log than the one accepted with it' END FROM registry.log"
        " FULL JOIN (SELECT position, source, event_id FROM registry.submissions"
        " WHERE outcome = 'accepted') AS sent USING (position)"
        " WHERE (log.source, log.event_id) IS DISTINCT FROM (sent.source, sent.event_id)"
        " ORDER BY position LIMIT 1",
        "position {0} {1}",
        RESTORE,
    ),
    Question(
        "SELECT max(submissions.arrival), min(head.arrival) FROM registry.submissions"
        " CROSS JOIN registry.head HAVING max(submissions.arrival) > min(head.arrival)",
        "submission {0} is there, but the head says that {1} is the last",
        RESTORE,
    ),
    Question(
        "SELECT source, last_contact, heard FROM registry.stations FULL JOIN"  # noqa: S608
        " (SELECT source, max(received_at) AS heard FROM registry.submissions"
        f" WHERE claims AND source ~ '^{SOURCE_FORM.pattern}$' GROUP BY source) AS sent"
        " USING (source) WHERE heard IS NOT NULL AND (last_contact >= heard) IS NOT TRUE"
        " ORDER BY source LIMIT 1",
        "{0} was last heard of at {1} by registry.stations, but something came at {2}",
        RESTORE,
    ),
    Question(
        "SELECT arrival FROM registry.submissions LEFT JOIN registry.vault_keys USING (subject)"
        " WHERE outcome = 'parked' AND wrapped_key IS NULL ORDER BY arrival LIMIT 1",
        "parked submission {0} has no key in the vault, so it can never be tried again",
        DROP,
    ),
    Question(
        "SELECT arrival FROM registry.submissions LEFT JOIN registry.vault_keys AS known"
        " USING (subject) WHERE submissions.subject IS NOT NULL AND known IS NULL"
        " ORDER BY arrival LIMIT 1",
        "submission {0} is of somebody who is not in registry.vault_keys",
        RESTORE,
    ),
    Question(
        "SELECT position, resident_id FROM registry.log LEFT JOIN registry.residents"
        " USING (resident_id) WHERE residents.subject IS NULL ORDER BY position LIMIT 1",
        "resident {1} of position {0} is not in registry.residents",
        RESTORE,
    ),
    Question(
        "SELECT resident_id FROM registry.residents WHERE NOT EXISTS (SELECT FROM registry.log"
        " WHERE log.resident_id = residents.resident_id"
        " AND type = 'id.dukcapil.resident.registered') ORDER BY resident_id LIMIT 1",
        "resident {0} is in registry.residents, but no registration of theirs is in the log",
        RESTORE,
    ),
    Question(
        "SELECT log.position, log.resident_id FROM registry.log"
        " JOIN registry.residents USING (resident_id)"
        " JOIN registry.submissions ON submissions.position = log.position"
        " WHERE outcome = 'accepted' AND type = 'id.dukcapil.resident.registered'"
        " AND residents.subject IS DISTINCT FROM submissions.subject"
        " ORDER BY log.position LIMIT 1",
        "resident {1}, registered at position {0}, is another person in registry.residents",
        RESTORE,
    ),
)
_COUNTED: Final = (
    "SELECT count(*), count(*) FILTER (WHERE outcome = 'accepted'),"
    " count(*) FILTER (WHERE outcome = 'parked'), count(*) FILTER (WHERE outcome = 'rejected')"
    " FROM registry.submissions"
)


async def prove_submissions(connection: Connection) -> Proof:
    """Each accepted submission is one position of the log, and the other way round."""
    sent, accepted, parked, rejected = await connection.fetchrow(_COUNTED)
    figures = (
        f"{sent:,} were sent: each of {accepted:,} accepted is one position of the log,"
        f" {parked:,} parked and {rejected:,} rejected have none"
    )
    return Proof(NAME, figures, await first_fault(connection, QUESTIONS))
