"""Writing projections' tables: marks, facts, tallies, history, outbox, what is parked."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import orjson
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.projections.domain.arrivals import News
from services.projections.domain.definitions import written_definition
from services.projections.domain.resident import Resident
from services.projections.domain.tally import Delta, TallyChange, subtracted
from services.projections.queries import IS_AWAITED
from shared import database
from shared.counts import NOTHING, Counts, VillageKey
from shared.database import driver_of
from shared.elections import Election
from shared.events.codec import UnreadableFactError, read_fact
from shared.events.facts import LoggedFact

SCHEMA: Final = "projections"
COUNT_COLUMNS: Final = Counts._fields

# A process that was stopped in the middle of a transaction must not keep its locks: PostgreSQL
# ends the transaction of one that says nothing for so long.
SILENCE_MS: Final = 10_000
_LIMIT_SILENCE: Final = f"set_config('idle_in_transaction_session_timeout', '{SILENCE_MS}', true)"

# Arbitrary numbers of our own for advisory locks.
ANNOUNCER_LOCK: Final = 0x6361_6361_6803
VOTER_ANNOUNCER_LOCK: Final = 0x6361_6361_6806


@dataclass(frozen=True, slots=True)
class Mark:
    """How far a partition is counted, and the epoch of the process that may count it."""

    position: int
    epoch: int


async def lock_marks(connection: AsyncConnection, partitions: Collection[int]) -> dict[int, Mark]:
    """The marks of some partitions, locked until the transaction ends."""
    rows = await connection.execute(
        text(
            f"WITH limited AS MATERIALIZED (SELECT {_LIMIT_SILENCE})"  # noqa: S608 - a constant
            " SELECT partition, position, epoch FROM projections.marks CROSS JOIN limited"
            " WHERE partition = ANY(:partitions) ORDER BY partition FOR UPDATE OF marks"
        ),
        {"partitions": sorted(partitions)},
    )
    return {row.partition: Mark(row.position, row.epoch) for row in rows}


async def move_marks(connection: AsyncConnection, positions: Mapping[int, int]) -> None:
    """Say how far some partitions, locked before, are counted."""
    await connection.execute(
        text(
            "UPDATE projections.marks SET position = moved.position"
            " FROM unnest(CAST(:partitions AS smallint[]), CAST(:positions AS bigint[]))"
            " AS moved (partition, position)"
            " WHERE marks.partition = moved.partition AND marks.position < moved.position"
        ),
        {"partitions": list(positions), "positions": list(positions.values())},
    )


async def raise_epochs(connection: AsyncConnection, partitions: Collection[int]) -> dict[int, int]:
    """Take some partitions over: whoever holds an older epoch can no longer commit."""
    await lock_marks(connection, partitions)
    rows = await connection.execute(
        text(
            "UPDATE projections.marks SET epoch = epoch + 1 WHERE partition = ANY(:partitions)"
            " RETURNING partition, epoch"
        ),
        {"partitions": sorted(partitions)},
    )
    return {row.partition: row.epoch for row in rows}


async def seed_election(
    connection: AsyncConnection, election: Election, villages: Iterable[str]
) -> None:
    """Add an election, and a tally of zeros for each village of its area; what is there stays."""
    await connection.execute(
        text(
            "INSERT INTO projections.elections"
            " (id, polling_day, area, minimum_age, first_time_since, stages)"
            " VALUES (:id, :polling_day, :area, :minimum_age, :first_time_since, :stages)"
            " ON CONFLICT (id) DO NOTHING"
        ),
        {
            "id": election.id,
            "polling_day": election.polling_day,
            "area": election.area,
            "minimum_age": election.minimum_age,
            "first_time_since": election.first_time_since,
            "stages": orjson.dumps(written_definition(election)["stages"]).decode(),
        },
    )
    await connection.execute(
        text(
            "INSERT INTO projections.tallies (election, village)"
            " SELECT :election, village FROM unnest(CAST(:villages AS text[])) AS village"
            " ON CONFLICT DO NOTHING"
        ),
        {"election": election.id, "villages": sorted(villages)},
    )


@dataclass(slots=True)
class Found:
    """Residents by their facts; `unreadable` are those with a fact that this version of the
    software cannot read, and why."""

    residents: dict[UUID, Resident] = field(default_factory=dict)
    unreadable: dict[UUID, str] = field(default_factory=dict)


async def residents(
    connection: AsyncConnection, resident_ids: Collection[UUID], schema: str = SCHEMA
) -> Found:
    """The residents with these ids, as far as anything is known of them; `schema` is that of the
    generation, where it is not the one that serves."""
    driver = await driver_of(connection)
    rows = await driver.fetch(
        "SELECT resident_id, position, recorded_at, type, version, source, event_id, data::text"  # noqa: S608 - our own schemas
        f" FROM {schema}.facts WHERE resident_id = ANY($1) ORDER BY resident_id, position",
        list(resident_ids),
    )
    facts: dict[UUID, list[LoggedFact]] = {}
    found = Found()
    for row in rows:
        resident_id, position, recorded_at, event_type, version, source, event_id, data = row
        try:
            fact = read_fact(event_type, orjson.loads(data), version)
        except UnreadableFactError as error:
            found.unreadable[resident_id] = str(error)
            continue
        logged = LoggedFact(position, recorded_at, source, event_id, resident_id, fact)
        facts.setdefault(resident_id, []).append(logged)
    found.residents = {resident_id: Resident(tuple(known)) for resident_id, known in facts.items()}
    return found


async def copy_in(
    connection: AsyncConnection,
    table: str,
    columns: Sequence[str],
    rows: list[tuple[Any, ...]],
    schema: str = SCHEMA,
) -> None:
    """Add rows to a table of a generation in bulk."""
    await database.copy_in(connection, schema, table, columns, rows)


async def add_facts(
    connection: AsyncConnection, news: Iterable[News], schema: str = SCHEMA
) -> None:
    """Keep the facts that were applied."""
    rows = [
        (
            event.logged.resident_id,
            event.logged.position,
            event.logged.recorded_at,
            event.type,
            event.version,
            event.logged.source,
            event.logged.id,
            orjson.dumps(event.data).decode(),
        )
        for event in (item.event for item in news)
    ]
    columns = (
        *("resident_id", "position", "recorded_at", "type", "version"),
        *("source", "event_id", "data"),
    )
    await copy_in(connection, "facts", columns, rows, schema)


HISTORY_COLUMNS: Final = ("election", "village", "fold", "position", "recorded_at", *COUNT_COLUMNS)


def history_row(delta: Delta, fold: int) -> tuple[Any, ...]:
    """A delta as a row of its election's history by a folding."""
    return (*delta.key, fold, delta.position, delta.recorded_at, *delta.counts)


async def add_history(
    connection: AsyncConnection, deltas: Iterable[Delta], folds: Mapping[str, int]
) -> None:
    """Keep what each event alone added to each village; `folds` has each election's folding."""
    rows = [history_row(delta, folds[delta.key.election]) for delta in deltas]
    await copy_in(connection, "history", HISTORY_COLUMNS, rows)


_TALLY_COLUMNS: Final = ("election", "village", *COUNT_COLUMNS, "position", "recorded_at")
_TALLY_TYPES: Final = ("text", "text", *["integer"] * len(COUNT_COLUMNS), "bigint", "timestamptz")
# One row after another in the order of the arrays: two processes that add to the same villages
# lock them in the same order.
_ADD_TO_TALLIES: Final = f"""
    INSERT INTO projections.tallies AS tally ({", ".join(_TALLY_COLUMNS)}, revision)
    SELECT added.*, 1 FROM unnest({
    ", ".join(f"${n}::{kind}[]" for n, kind in enumerate(_TALLY_TYPES, 1))
}) AS added
    ON CONFLICT (election, village) DO UPDATE SET
        {", ".join(f"{name} = tally.{name} + excluded.{name}" for name in COUNT_COLUMNS)},
        revision = tally.revision + 1,
        position = greatest(tally.position, excluded.position),
        recorded_at = greatest(tally.recorded_at, excluded.recorded_at)
    RETURNING election, village, revision, {", ".join(COUNT_COLUMNS)}
"""  # noqa: S608 - only the names of our own columns


async def add_to_tallies(
    connection: AsyncConnection, added: Mapping[VillageKey, Delta]
) -> list[TallyChange]:
    """Add to the tallies in the order of their keys; what changed, in that order."""
    deltas = [added[key] for key in sorted(added) if added[key].counts != NOTHING]
    if not deltas:
        return []
    rows = [(*delta.key, *delta.counts, delta.position, delta.recorded_at) for delta in deltas]
    driver = await driver_of(connection)
    stored = await driver.fetch(_ADD_TO_TALLIES, *map(list, zip(*rows, strict=True)))
    changes = []
    for row in stored:
        key = VillageKey(row["election"], row["village"])
        delta, after = added[key], Counts._make(row[3:])
        before = subtracted(after, delta.counts)
        changes.append(
            TallyChange(key, row["revision"], delta.position, delta.recorded_at, before, after)
        )
    return changes


@dataclass(frozen=True, slots=True)
class Parked:
    """A record set aside: by its position where it has one, else by Kafka's offset."""

    partition: int
    why: str
    record: bytes
    offset: int | None = None
    position: int | None = None
    resident_id: UUID | None = None
    type: str | None = None


async def park(connection: AsyncConnection, parked: Sequence[Parked]) -> None:
    """Set records aside; one that was set aside before stays as it is."""
    if not parked:
        return
    await connection.execute(
        text(
            "INSERT INTO projections.parked"
            " (partition, why, record, record_offset, position, resident_id, type)"
            " VALUES (:partition, :why, :record, :offset, :position, :resident_id, :type)"
            " ON CONFLICT DO NOTHING"
        ),
        [asdict(item) for item in parked],
    )


async def waiting_residents(
    connection: AsyncConnection, resident_ids: Collection[UUID], schema: str = SCHEMA
) -> set[UUID]:
    """Those of some residents who have an event parked: what follows it must wait too."""
    rows = await connection.execute(
        text(
            f"SELECT DISTINCT resident_id FROM {schema}.parked"  # noqa: S608 - our own schemas
            " WHERE position IS NOT NULL AND dropped_at IS NULL"
            " AND resident_id = ANY(CAST(:ids AS uuid[]))"
        ),
        {"ids": list(resident_ids)},
    )
    return {row.resident_id for row in rows}


async def parked_count(connection: AsyncConnection) -> int:
    """How many records are set aside, those that were dropped left out."""
    counted = await connection.execute(
        text("SELECT count(*) FROM projections.parked WHERE dropped_at IS NULL")
    )
    return int(counted.scalar_one())


@dataclass(frozen=True, slots=True)
class Announcement:
    """A change of a village's tally, as it goes to the topic `voter.changes`."""

    key: VillageKey
    revision: int
    value: bytes


async def add_to_outbox(connection: AsyncConnection, announcements: Iterable[Announcement]) -> None:
    """Keep changes until the broker has them."""
    rows = [(*item.key, item.revision, item.value.decode()) for item in announcements]
    await copy_in(connection, "outbox", ("election", "village", "revision", "value"), rows)


async def lock_announcing(connection: AsyncConnection, lock: int) -> None:
    """Wait until no other process announces, and be the one that does."""
    await connection.execute(
        text(f"SELECT {_LIMIT_SILENCE}, pg_advisory_xact_lock(:lock)"),
        {"lock": lock},
    )


async def outbox(connection: AsyncConnection, limit: int) -> list[Announcement]:
    """The changes that wait, each village's in the order of its revisions.

    Locked against every other process that announces: a change is visible only when those
    before it are, and so each is sent in its turn.
    """
    await lock_announcing(connection, ANNOUNCER_LOCK)
    rows = await connection.execute(
        text(
            "SELECT election, village, revision, value::text AS value FROM projections.outbox"
            " ORDER BY election, village, revision LIMIT :limit"
        ),
        {"limit": limit},
    )
    return [
        Announcement(VillageKey(row.election, row.village), row.revision, row.value.encode())
        for row in rows
    ]


@dataclass(frozen=True, slots=True)
class VoterNews:
    """A person's change as it goes to the topic `voter.persons`.

    `place` is its place among those of the same fold: the event's position, and 0 for what the
    folding itself changed, which is told before.
    """

    election: str
    fold: int
    place: int
    resident_id: UUID
    value: bytes


async def add_to_voter_outbox(connection: AsyncConnection, news: Iterable[VoterNews]) -> None:
    """Keep persons' changes until the broker has them."""
    rows = [
        (item.election, item.fold, item.place, item.resident_id, item.value.decode())
        for item in news
    ]
    columns = ("election", "fold", "position", "resident_id", "value")
    await copy_in(connection, "voter_outbox", columns, rows)


@dataclass(frozen=True, slots=True)
class Difference:
    """Whom a folding that serves makes a voter elsewhere, with what is the same for all of it."""

    election: str
    fold: int
    resident_id: UUID
    to_village: str | None
    position: int
    switched_at: datetime
    stage: str | None
    cause: str


@dataclass(frozen=True, slots=True)
class VoterOutbox:
    """What waits to be told of persons."""

    news: list[VoterNews]
    differences: list[Difference]


# One statement, so one state of the tables: of a person for whom both a difference and later
# events wait, the difference is seen wherever the events are; and of an election's events those
# of earlier folds come first. The other differences, maybe of everybody, rest while an election
# is folded anew.
_VOTER_OUTBOX: Final = f"""
    WITH waiting AS MATERIALIZED (
        SELECT election, fold, position, resident_id, value::text AS value
        FROM projections.voter_outbox ORDER BY election, fold, position LIMIT CAST(:limit AS bigint)
    ),
    told AS MATERIALIZED (SELECT * FROM projections.folds WHERE switched_at IS NOT NULL),
    differences AS (
        SELECT differing.fold, resident_id, to_village
        FROM told JOIN projections.voter_differences AS differing USING (fold)
        JOIN (SELECT DISTINCT resident_id FROM waiting) AS those USING (resident_id)
        UNION
        SELECT told.fold, resident_id, to_village FROM told CROSS JOIN LATERAL (
            SELECT resident_id, to_village FROM projections.voter_differences AS differing
            WHERE differing.fold = told.fold AND NOT {IS_AWAITED} ORDER BY resident_id
            LIMIT CAST(:limit AS bigint) - (SELECT count(*) FROM waiting)
        ) AS rest
    )
    SELECT election, fold, position AS place, resident_id, value,
        NULL AS to_village, NULL AS position, NULL AS switched_at, NULL AS stage, NULL AS cause
    FROM waiting
    UNION ALL
    SELECT election, fold, 0, resident_id, NULL, to_village, position, switched_at, stage, cause
    FROM differences JOIN told USING (fold)
    ORDER BY fold, place
"""  # noqa: S608 - our own text


async def voter_outbox(connection: AsyncConnection, limit: int) -> VoterOutbox | None:
    """What waits, each person's in its order; none while another process tells it."""
    locked = await connection.execute(
        text(f"SELECT pg_try_advisory_xact_lock(:lock), {_LIMIT_SILENCE}"),
        {"lock": VOTER_ANNOUNCER_LOCK},
    )
    if not locked.scalar_one():
        return None
    waiting = VoterOutbox([], [])
    for row in await connection.execute(text(_VOTER_OUTBOX), {"limit": limit}):
        if row.value is not None:
            value = row.value.encode()
            waiting.news.append(
                VoterNews(row.election, row.fold, row.place, row.resident_id, value)
            )
        else:
            waiting.differences.append(
                Difference(
                    *(row.election, row.fold, row.resident_id, row.to_village),
                    *(row.position, row.switched_at, row.stage, row.cause),
                )
            )
    return waiting


async def remove_from_voter_outbox(connection: AsyncConnection, news: Sequence[VoterNews]) -> None:
    """Forget persons' changes that the broker has."""
    driver = await driver_of(connection)
    events = [item for item in news if item.place > 0]
    differences = [item for item in news if item.place == 0]
    await driver.execute(
        "DELETE FROM projections.voter_outbox USING unnest($1::text[], $2::bigint[], $3::bigint[])"
        " AS sent (election, fold, position)"
        " WHERE voter_outbox.election = sent.election AND voter_outbox.fold = sent.fold"
        " AND voter_outbox.position = sent.position",
        [item.election for item in events],
        [item.fold for item in events],
        [item.place for item in events],
    )
    await driver.execute(
        "DELETE FROM projections.voter_differences USING unnest($1::bigint[], $2::uuid[])"
        " AS sent (fold, resident_id) WHERE voter_differences.fold = sent.fold"
        " AND voter_differences.resident_id = sent.resident_id",
        [item.fold for item in differences],
        [item.resident_id for item in differences],
    )


@dataclass(frozen=True, slots=True)
class AreaNews:
    """An election that the notifier is to know of, and its area."""

    election: str
    fold: int
    area: str


async def untold_areas(connection: AsyncConnection) -> list[AreaNews]:
    """The elections whose folding the notifier does not know of yet."""
    rows = await connection.execute(
        text("SELECT id, fold, area FROM projections.elections WHERE told_fold < fold ORDER BY id")
    )
    return [AreaNews(row.id, row.fold, row.area) for row in rows]


async def tell_areas(connection: AsyncConnection, told: Iterable[AreaNews]) -> None:
    """Say that the broker has the elections' areas."""
    for news in told:
        await connection.execute(
            text(
                "UPDATE projections.elections SET told_fold = greatest(told_fold, :fold)"
                " WHERE id = :election"
            ),
            {"election": news.election, "fold": news.fold},
        )


async def remove_from_outbox(
    connection: AsyncConnection, announcements: Sequence[Announcement]
) -> None:
    """Forget changes that the broker has."""
    driver = await driver_of(connection)
    await driver.execute(
        "DELETE FROM projections.outbox USING unnest($1::text[], $2::text[], $3::bigint[])"
        " AS sent (election, village, revision)"
        " WHERE outbox.election = sent.election AND outbox.village = sent.village"
        " AND outbox.revision = sent.revision",
        [item.key.election for item in announcements],
        [item.key.village for item in announcements],
        [item.revision for item in announcements],
    )
