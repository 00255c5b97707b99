"""`cacah verify` on a small whole system: it holds, and every planted corruption is named."""

import asyncio
from collections.abc import Iterator

import pytest

from tests.integration.test_projections import free_port
from tests.support.corruptions import CORRUPTIONS, Corruption, found
from tests.support.verified import Left, execute, left_system, row_of

PROOFS = (
    *("log", "submissions", "facts", "tallies", "history", "feed", "voters", "supplements"),
    *("announced", "topic"),
)


@pytest.fixture(scope="module")
def left() -> Iterator[Left]:
    with left_system() as system:
        yield system


def test_all_that_was_made_of_the_log_holds(left: Left) -> None:
    told = left.verify()
    assert told.status == 0, told
    assert [line.split(":")[0] for line in told.lines] == [f"✓ {name}" for name in PROOFS]


def test_a_corruption_ends_the_command_with_1_and_the_other_proofs_are_told(left: Left) -> None:
    with left.copy() as dsn:
        asyncio.run(execute(dsn, "DELETE FROM registry.log WHERE position = 57"))
        told = left.verify(dsn=dsn)
    assert told.status == 1
    assert len(told.lines) == len(PROOFS)
    assert told.faults()[0].startswith("✗ log: position 57 is missing: 58 follows 56; restore")


@pytest.mark.parametrize("corruption", CORRUPTIONS, ids=lambda each: each.name)
def test_a_corruption_is_found_and_named(left: Left, corruption: Corruption) -> None:
    is_found, faults = found(corruption, left)
    assert is_found, faults


def test_since_a_link_only_what_came_after_is_read_and_a_change_of_it_is_named(left: Left) -> None:
    (middle,) = asyncio.run(row_of(left.dsn, "SELECT position / 2 FROM registry.head"))
    told = left.verify("--since", str(middle))
    assert told.status == 0, told
    (line,) = told.lines
    assert line.startswith("✓ log: positions ")
    with left.copy() as dsn:
        asyncio.run(
            execute(dsn, f"UPDATE registry.log SET source = 'x' WHERE position = {middle + 30}")
        )
        assert left.verify("--since", str(middle), dsn=dsn).status == 1
        (end,) = asyncio.run(row_of(dsn, "SELECT position FROM registry.head"))
        assert left.verify("--since", str(end), dsn=dsn).status == 0
        early = left.verify("--since", "2020-01-01T00:00:00+07:00", dsn=dsn)
        assert early.status == 1
        assert "do not give the root" in early.faults()[0]


def test_a_copy_is_proved_by_its_address_alone(left: Left) -> None:
    with left.copy() as dsn:
        asyncio.run(execute(dsn, "DELETE FROM registry.log WHERE position = 57"))
        told = left.verify("--since", "10", dsn=dsn, bootstrap="")
    assert told.status == 1, told
    assert "position 57 is missing" in told.faults()[0]


def test_what_cannot_be_proved_is_said_in_one_sentence(left: Left) -> None:
    nowhere = f"127.0.0.1:{free_port()}"
    cases = [
        (left.verify("--since", "2024-13-01"), "neither a log position nor a time"),
        (left.verify("--since", "2999-01-01T00:00:00Z"), "lies in the future"),
        (left.verify(bootstrap=""), "CACAH_KAFKA_BOOTSTRAP"),
        (left.verify("--since", "1.5"), "neither a log position nor a time"),
        (left.verify("--since", "99999999999999999999"), "lies beyond the end of the log"),
        (left.verify(dsn=f"postgresql://cacah@{nowhere}/cacah"), "cacah up"),
        (left.verify(bootstrap=nowhere), "cacah up"),
    ]
    for told, said in cases:
        assert told.status == 2, told
        assert said in told.complaint
        assert "Traceback" not in told.complaint
