"""What was announced: where its topics end, by which a loss is noticed; and putting back into the
outboxes what was lost with a topic.

Whoever knows what is put back drops it by revision or place.
"""

from collections.abc import Collection, Iterable, Mapping
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.projections.domain.tally import TallyChange
from services.projections.tables import COUNT_COLUMNS, Announcement, VoterNews
from shared.counts import NOTHING, Counts, VillageKey
from shared.database import driver_of
from shared.topics import Ends


async def ends(connection: AsyncConnection, topic: str) -> Ends:
    """Where each partition of a topic ends, by what the broker has acknowledged."""
    rows = await connection.execute(
        text("SELECT partition, end_offset FROM projections.announced WHERE topic = :topic"),
        {"topic": topic},
    )
    return Ends({row.partition: row.end_offset for row in rows})


async def note_ends(connection: AsyncConnection, topic: str, known: Ends) -> None:
    """Keep where the partitions of a topic end."""
    await connection.execute(
        text(
            "INSERT INTO projections.announced (topic, partition, end_offset)"
            " SELECT :topic, * FROM unnest(CAST(:partitions AS smallint[]),"
            " CAST(:offsets AS bigint[])) ON CONFLICT (topic, partition)"
            " DO UPDATE SET end_offset = excluded.end_offset"
        ),
        {
            "topic": topic,
            "partitions": list(known.offsets),
            "offsets": list(known.offsets.values()),
        },
    )


async def forget_ends(connection: AsyncConnection, topic: str) -> None:
    """Say that a topic is known to be a new one."""
    await connection.execute(
        text("DELETE FROM projections.announced WHERE topic = :topic"), {"topic": topic}
    )


async def present_tallies(connection: AsyncConnection) -> list[TallyChange]:
    """Each village of which something was told, as if all of it had come in its last revision."""
    driver = await driver_of(connection)
    rows = await driver.fetch(
        "SELECT election, village, revision, position, recorded_at,"  # noqa: S608 - our own columns
        f" {', '.join(COUNT_COLUMNS)} FROM projections.tallies WHERE revision > 0"
        " ORDER BY election, village"
    )
    return [
        TallyChange(
            VillageKey(row[0], row[1]), row[2], row[3], row[4], NOTHING, Counts._make(row[5:])
        )
        for row in rows
    ]


async def put_back(connection: AsyncConnection, announcements: Collection[Announcement]) -> None:
    """Have revisions announced that were before; those that still wait do so as they are."""
    driver = await driver_of(connection)
    await driver.execute(
        "INSERT INTO projections.outbox (election, village, revision, value)"
        " SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::json[])"
        " ON CONFLICT DO NOTHING",
        [item.key.election for item in announcements],
        [item.key.village for item in announcements],
        [item.revision for item in announcements],
        [item.value.decode() for item in announcements],
    )


async def ask(connection: AsyncConnection) -> None:
    """Have everybody told of again, and the elections before them."""
    await connection.execute(text("UPDATE projections.retelling SET asked = asked + 1"))
    await connection.execute(text("UPDATE projections.elections SET told_fold = -1"))


async def put_back_voters(connection: AsyncConnection, news: Iterable[VoterNews]) -> None:
    """Have persons' last changes told that were before; those that still wait stay as they are.

    What an event changed waits by its position, what a folding changed by the person.
    """
    driver = await driver_of(connection)
    again = list(news)
    await driver.execute(
        "INSERT INTO projections.voter_outbox (election, fold, position, resident_id, value)"
        " SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::uuid[], $5::json[])"
        " ON CONFLICT DO NOTHING",
        [item.election for item in again],
        [item.fold for item in again],
        [item.place for item in again],
        [item.resident_id for item in again],
        [item.value.decode() for item in again],
    )


async def put_back_differences(
    connection: AsyncConnection, fold: int, nowhere: Collection[UUID]
) -> None:
    """Have it told that some residents are voters of no village by a folding."""
    driver = await driver_of(connection)
    await driver.execute(
        "INSERT INTO projections.voter_differences (fold, resident_id)"
        " SELECT $1, unnest($2::uuid[]) ON CONFLICT DO NOTHING",
        fold,
        list(nowhere),
    )


async def types_at(connection: AsyncConnection, positions: Collection[int]) -> Mapping[int, str]:
    """The event types of some positions."""
    driver = await driver_of(connection)
    rows = await driver.fetch(
        "SELECT position, type FROM projections.facts WHERE position = ANY($1)", list(positions)
    )
    return {row[0]: row[1] for row in rows}


async def hold_fold(connection: AsyncConnection, election_id: str, fold: int) -> bool:
    """Whether a folding serves; if so, until the transaction ends."""
    row = await connection.execute(
        text("SELECT 1 FROM projections.elections WHERE id = :id AND fold = :fold FOR SHARE"),
        {"id": election_id, "fold": fold},
    )
    return row.first() is not None


async def retelling_asked(connection: AsyncConnection) -> int | None:
    """The number of the last asking to tell of everybody, none if it was done."""
    row = await connection.execute(
        text("SELECT asked FROM projections.retelling WHERE asked > told")
    )
    return row.scalar_one_or_none()


async def finish_retelling(connection: AsyncConnection, asked: int) -> None:
    """Say that an asking is done."""
    await connection.execute(
        text("UPDATE projections.retelling SET told = greatest(told, :asked)"), {"asked": asked}
    )
