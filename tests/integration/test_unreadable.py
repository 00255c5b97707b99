"""A record that the notifier cannot read: kept, alarmed on, and no partition waits for it.

What projections do with one of `population.events` is in test_parked_at_projections.
"""

from pathlib import Path
from typing import Any

import asyncpg
import orjson
import pytest

from shared.topics import VOTER_CHANGES, VOTER_PERSONS
from tests.integration.test_notifier import (
    VILLAGE,
    MakeNotifier,
    assert_exact,
    growth,
    make_notifier,
    topic,
)
from tests.integration.test_voters import HERE, THERE, until_votes
from tests.support.notifier_process import TopicWriter, running
from tests.support.parts import Parts
from tests.support.voter_records import SOMEBODY, written

__all__ = ["make_notifier", "topic"]

NIK_LIKE = "1501010101840001"
GARBAGE = b"\xff not a record, of " + NIK_LIKE.encode()
KEPT = "a record could not be read; it is kept in notifier.unreadable"


def alarms(said: Path) -> list[dict[str, Any]]:
    """The lines of the log that tell of unreadable records."""
    lines = (orjson.loads(line) for line in said.read_bytes().splitlines())
    return [line for line in lines if line["message"] == KEPT]


async def kept(parts: Parts, database: str) -> list[tuple[str, int, int, bytes]]:
    connection = await asyncpg.connect(parts.dsn(database))
    rows = await connection.fetch(
        "SELECT topic, partition, offset_, value FROM notifier.unreadable"
    )
    await connection.close()
    return [tuple(row) for row in rows]


async def write_around(topic: TopicWriter, name: str) -> None:
    """A record, one that nobody can read, and another, all to the same partition."""
    if name == VOTER_CHANGES:
        await topic.write(growth(VILLAGE, 1, 1))
        await topic.write_unreadable(name, VILLAGE, GARBAGE)
        await topic.write(growth(VILLAGE, 2, 2))
    else:
        await topic.write_persons([written(to=HERE, place=1)])
        await topic.write_unreadable(name, str(SOMEBODY), GARBAGE)
        await topic.write_persons([written(to=THERE, place=2)])


@pytest.mark.parametrize("name", [VOTER_CHANGES, VOTER_PERSONS])
async def test_it_is_kept_and_alarmed_on_and_its_partition_goes_on(
    make_notifier: MakeNotifier,
    topic: TopicWriter,
    parts: Parts,
    database: str,
    tmp_path: Path,
    name: str,
) -> None:
    said = tmp_path / "notifier.log"
    async with running(make_notifier(said=said)) as notifier:
        await write_around(topic, name)
        if name == VOTER_CHANGES:
            assert_exact(await notifier.until_told({VILLAGE: 2}))
        else:
            assert len(await until_votes(notifier, {str(SOMEBODY): THERE})) == 2
        assert await notifier.metric("cacah_notifier_unreadable_total") == 1
    ((stored, partition, offset, value),) = await kept(parts, database)
    assert (stored, offset, value) == (name, 1, GARBAGE)
    (line,) = alarms(said)
    assert (line["level"], line["topic"]) == ("error", name)
    assert (line["partition"], line["offset"]) == (partition, 1)
    assert "json_invalid" in line["why"]
    assert NIK_LIKE not in said.read_text()
