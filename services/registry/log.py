"""The registry's tables: reading the world that arrivals touch, and appending what was decided.

The relay's marks, what operators do with parked submissions, and KPU's look-ups have their SQL in
modules of their own. Whoever calls `hold_head` holds the
one lock that orders the log until the transaction ends.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import orjson
from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.registry.domain.deciding import Claim, Entry, Kept, Key, Outcome
from services.registry.domain.resident import Resident, fold
from services.registry.domain.submissions import as_kept
from shared import log_chain
from shared.database import copy_in, driver_of
from shared.event_log import read_log
from shared.events.codec import VERSION
from shared.events.facts import LoggedFact
from shared.events.records import LogEntry, logged_fact
from shared.problems import Problem, ProblemType

SCHEMA: Final = "registry"

# Look-ups by key must stay look-ups as the tables grow, whatever the statistics say meanwhile.
APPENDER_SETTINGS: Final = {
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "enable_seqscan": "off",
    "jit": "off",
    "synchronous_commit": "on",
    "idle_in_transaction_session_timeout": "30s",
}

_HOLD_HEAD = text(
    "SELECT position, arrival, recorded_at, accepted_at FROM registry.head FOR UPDATE"
)
_MOVE_HEAD = text(
    "UPDATE registry.head SET position = :position, arrival = :arrival,"
    " recorded_at = :recorded_at, accepted_at = :accepted_at"
)
# In the order of an entry's members.
LOG_SELECTED: Final = (
    "l.position, l.recorded_at, l.type, l.version, l.time, l.source, l.event_id, l.resident_id,"
    " l.data::text AS data"
)
_CLAIM_COLUMNS = (
    "s.source AS s_source, s.event_id AS s_id, s.arrival, s.content_hash, s.first_outcome,"
    " s.outcome, s.warnings, s.problem::text AS problem, s.subject"
)
_CLAIMS = text(
    f"SELECT {_CLAIM_COLUMNS}, {LOG_SELECTED}"  # noqa: S608 - constants
    " FROM unnest(CAST(:sources AS text[]), CAST(:ids AS text[])) AS k(source, id)"
    " JOIN registry.submissions s ON s.source = k.source AND s.event_id = k.id AND s.claims"
    " LEFT JOIN registry.log l ON l.position = s.position"
)
_PARKED = text(
    f"SELECT {_CLAIM_COLUMNS}, s.content, s.received_at"  # noqa: S608 - constants
    " FROM registry.submissions s"
    " WHERE s.outcome = 'parked' AND s.subject = ANY(CAST(:subjects AS bytea[]))"
    " ORDER BY s.arrival"
)
# The constants are those of the partial index submissions_ahead.
_OVERTAKEN = text(
    "SELECT DISTINCT s.subject FROM registry.submissions s"
    " JOIN registry.residents r ON r.subject = s.subject"
    " JOIN registry.log l ON l.resident_id = r.resident_id"
    " WHERE s.outcome = 'parked' AND 'clock-ahead' = ANY(s.warnings)"
    " AND l.type = 'id.dukcapil.resident.died'"
)
_HISTORIES = (
    f"SELECT r.subject, {LOG_SELECTED}"  # noqa: S608 - constants
    " FROM registry.residents r JOIN registry.log l ON l.resident_id = r.resident_id"
    " WHERE r.subject = ANY(CAST($1 AS bytea[])) ORDER BY l.position"
)
_KEYS = text(
    "SELECT subject, wrapped_key FROM registry.vault_keys"
    " WHERE subject = ANY(CAST(:subjects AS bytea[]))"
)
_NAMING = text(
    "SELECT r.subject, s.content FROM registry.residents r"
    " JOIN registry.log l ON l.resident_id = r.resident_id AND l.type IN"
    " ('id.dukcapil.resident.registered', 'id.dukcapil.biodata.corrected')"
    " JOIN registry.submissions s"
    " ON s.source = l.source AND s.event_id = l.event_id AND s.claims"
    " WHERE r.subject = ANY(CAST(:subjects AS bytea[]))"
)
_MOVE_PARKED = text(
    "UPDATE registry.submissions s SET outcome = m.outcome, position = m.position,"
    " problem = CAST(m.problem AS json), warnings = string_to_array(m.warnings, ' ')"
    " FROM unnest(CAST(:arrivals AS bigint[]), CAST(:outcomes AS text[]),"
    " CAST(:positions AS bigint[]), CAST(:problems AS text[]), CAST(:warnings AS text[]))"
    " AS m(arrival, outcome, position, problem, warnings) WHERE s.arrival = m.arrival"
)
_CONTACT = text(
    "INSERT INTO registry.stations AS st (source, last_contact, received)"
    " SELECT source, :now, CAST(received AS int8multirange)"
    " FROM unnest(CAST(:sources AS text[]), CAST(:received AS text[])) AS n(source, received)"
    " ORDER BY source"
    " ON CONFLICT (source) DO UPDATE SET last_contact = excluded.last_contact,"
    " received = st.received + excluded.received"
)
_STATIONS = text(
    "SELECT source, last_contact, (SELECT array_agg(ARRAY[lower(r), upper(r) - 1] ORDER BY r)"
    " FROM unnest(received) r) AS received FROM registry.stations ORDER BY source"
)

_LAST_LINK = "SELECT position, root FROM registry.chain ORDER BY position DESC LIMIT 1"
_LINK = "INSERT INTO registry.chain (position, root) VALUES ($1, $2)"

# Entries without a link are read in pages of this size.
LINKED_AT_ONCE: Final = 5_000

SUBMISSION_COLUMNS: Final = (
    "arrival", "received_at", "sender", "source", "event_id", "content_hash", "claims",
    "outcome", "first_outcome", "problem", "warnings", "position", "subject", "content",
)  # fmt: skip
# In the order of an entry's members.
LOG_COLUMNS: Final = (
    "position", "recorded_at", "type", "version", "time", "source", "event_id", "resident_id",
    "data", "received_at",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Head:
    """The last position and arrival given, and when; `accepted_at` is when the log last grew."""

    position: int
    arrival: int
    recorded_at: datetime
    accepted_at: datetime


@dataclass(frozen=True, slots=True)
class ParkedRow:
    """A parked submission as kept; its content is still sealed."""

    key: Key
    claim: Claim
    content: bytes
    received_at: datetime


@dataclass(frozen=True, slots=True)
class Station:
    """What is known of a station: ranges of `stationseq` that arrived, both ends included."""

    source: str
    last_contact: datetime
    received: list[tuple[int, int]]


async def hold_head(connection: AsyncConnection) -> Head:
    """Lock the head of the log until the transaction ends."""
    return Head(*(await connection.execute(_HOLD_HEAD)).one())


async def move_head(connection: AsyncConnection, head: Head) -> None:
    await connection.execute(
        _MOVE_HEAD,
        {
            "position": head.position,
            "arrival": head.arrival,
            "recorded_at": head.recorded_at,
            "accepted_at": head.accepted_at,
        },
    )


async def read_claims(connection: AsyncConnection, keys: Iterable[Key]) -> dict[Key, Claim]:
    """The first submissions of these sources and ids, where there are any."""
    wanted = list(keys)
    rows = await connection.execute(
        _CLAIMS, {"sources": [key[0] for key in wanted], "ids": [key[1] for key in wanted]}
    )
    return {
        (row.s_source, row.s_id): _claim(row, logged(row) if row.position is not None else None)
        for row in rows
    }


def logged(row: Row[Any]) -> LoggedFact:
    """The fact of a row that has the columns LOG_SELECTED."""
    return logged_fact(
        LogEntry(
            row.position,
            row.recorded_at,
            row.type,
            row.version,
            row.time,
            row.source,
            row.event_id,
            row.resident_id,
            row.data,
        )
    )


def _claim(row: Row[Any], accepted: LoggedFact | None) -> Claim:
    return Claim(
        arrival=row.arrival,
        fingerprint=row.content_hash,
        first=Outcome(row.first_outcome),
        outcome=Outcome(row.outcome),
        warnings=tuple(row.warnings),
        problem=read_problem(row.problem) if row.problem else None,
        position=accepted.position if accepted else None,
        logged=accepted,
        subject=row.subject,
    )


async def read_residents(
    connection: AsyncConnection, subjects: list[bytes]
) -> dict[bytes, Resident | None]:
    """Who stands registered by each of these NIKs.

    A NIK whose registration was retracted may be registered anew, as another resident; at most
    one of them stands.
    """
    # By the driver itself: SQLAlchemy's rows cost as much again.
    driver = await driver_of(connection)
    histories: dict[bytes, list[LoggedFact]] = {}
    for subject, *entry in await driver.fetch(_HISTORIES, subjects):
        histories.setdefault(subject, []).append(logged_fact(LogEntry(*entry)))
    return {subject: fold(history) for subject, history in histories.items()}


async def read_parked(connection: AsyncConnection, subjects: list[bytes]) -> list[ParkedRow]:
    """What is parked for these subjects, in the order of arrival."""
    rows = await connection.execute(_PARKED, {"subjects": subjects})
    return [
        ParkedRow((row.s_source, row.s_id), _claim(row, None), row.content, row.received_at)
        for row in rows
    ]


async def read_overtaken(connection: AsyncConnection) -> set[bytes]:
    """The subjects of whom something parked may be refused by now because a day has passed: its
    clock ran ahead, and a death of its resident is in the log."""
    return set((await connection.execute(_OVERTAKEN)).scalars())


async def read_wrapped_keys(
    connection: AsyncConnection, subjects: list[bytes]
) -> dict[bytes, bytes | None]:
    """The wrapped keys of those of these subjects that are known; None where it was erased."""
    rows = await connection.execute(_KEYS, {"subjects": subjects})
    return {row.subject: row.wrapped_key for row in rows}


async def read_naming(
    connection: AsyncConnection, subjects: list[bytes]
) -> list[tuple[bytes, bytes]]:
    """By subject, the sealed contents of what told these people's names."""
    rows = await connection.execute(_NAMING, {"subjects": subjects})
    return [(row.subject, row.content) for row in rows]


async def append(connection: AsyncConnection, entries: Sequence[LogEntry]) -> None:
    """Append what follows the head; its link is still to come."""
    await copy_in(connection, SCHEMA, "log", LOG_COLUMNS, entries)


async def link(
    connection: AsyncConnection, head: Head, position: int, digests: Iterable[bytes]
) -> None:
    """Add the link of the hash chain at a position, over the entries since the head."""
    root = await _root_at(connection, head.position)
    driver = await driver_of(connection)
    await driver.execute(_LINK, position, log_chain.link(root, digests))


def written(entry: Entry) -> LogEntry:
    """An entry as its row in the log has it."""
    logged, submitted, received_at = entry
    return LogEntry(
        logged.position,
        logged.recorded_at,
        submitted.type,
        VERSION,
        submitted.time,
        logged.source,
        logged.id,
        logged.resident_id,
        submitted.data,
        received_at,
    )


async def _root_at(connection: AsyncConnection, position: int) -> bytes:
    """The root of the chain at the log's last position.

    The last link stands there, unless software of before the chain has appended since; what has
    no link is then given some.
    """
    driver = await driver_of(connection)
    last = await driver.fetchrow(_LAST_LINK)
    after, root = (last["position"], last["root"]) if last else (0, log_chain.GENESIS)
    while after < position:
        missed = await read_log(connection, after, LINKED_AT_ONCE, position)
        after, root = missed[-1].position, log_chain.extend(root, missed)
        await driver.execute(_LINK, after, root)
    return root


async def keep_submissions(
    connection: AsyncConnection, submissions: Sequence[tuple[Any, ...]]
) -> None:
    """Keep submissions, each as `submission` has it."""
    await copy_in(connection, SCHEMA, "submissions", SUBMISSION_COLUMNS, submissions)


def submission(kept: Kept, content: bytes, now: datetime) -> tuple[Any, ...]:
    """A submission with its content sealed, as its row has it."""
    fate, received = kept.fate, kept.received
    shown = str if kept.claims else as_kept
    return (
        kept.number,
        now,
        received.sender,
        shown(received.arrived.source),
        shown(received.arrived.id),
        received.fingerprint,
        kept.claims,
        fate.outcome,
        fate.first,
        write_problem(fate.problem) if fate.problem else None,
        list(fate.warnings),
        fate.position,
        fate.subject,
        content,
    )


async def keep_keys(connection: AsyncConnection, wrapped: dict[bytes, bytes]) -> None:
    await copy_in(
        connection, SCHEMA, "vault_keys", ("subject", "wrapped_key"), list(wrapped.items())
    )


async def keep_residents(
    connection: AsyncConnection, residents: Sequence[tuple[Any, bytes]]
) -> None:
    """Residents that were registered now: `(resident_id, subject)`."""
    await copy_in(connection, SCHEMA, "residents", ("resident_id", "subject"), residents)


async def move_parked(connection: AsyncConnection, moved: Sequence[Claim]) -> None:
    """Write what has become of submissions that were parked before."""
    await connection.execute(
        _MOVE_PARKED,
        {
            "arrivals": [claim.arrival for claim in moved],
            "outcomes": [claim.outcome.value for claim in moved],
            "positions": [claim.position for claim in moved],
            "problems": [write_problem(c.problem) if c.problem else None for c in moved],
            "warnings": [" ".join(claim.warnings) for claim in moved],
        },
    )


async def note_contact(
    connection: AsyncConnection, sequences: dict[str, set[int]], now: datetime
) -> None:
    """Note that these sources were heard of, and which of their numbers have arrived."""
    ordered = sorted(sequences)
    await connection.execute(
        _CONTACT,
        {
            "now": now,
            "sources": ordered,
            "received": [_multirange(sequences[source]) for source in ordered],
        },
    )


def _multirange(numbers: set[int]) -> str:
    return "{" + ",".join(f"[{n},{n}]" for n in sorted(numbers)) + "}"


async def read_stations(connection: AsyncConnection) -> list[Station]:
    """Every station that was ever heard of, by source."""
    rows = await connection.execute(_STATIONS)
    return [
        Station(row.source, row.last_contact, [(a, b) for a, b in row.received or []])
        for row in rows
    ]


def write_problem(problem: Problem) -> str:
    """A problem as a submission's row keeps it."""
    return orjson.dumps([problem.type, problem.detail, problem.field]).decode()


def read_problem(written: str) -> Problem:
    """A problem that `write_problem` wrote."""
    kind, detail, field = orjson.loads(written)
    return Problem(ProblemType(kind), detail, field)
