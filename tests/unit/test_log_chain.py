"""The hash chain over the log: whatever is done to an entry, the root is another."""

import hashlib
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import pytest

from shared.events.records import LogEntry
from shared.log_chain import GENESIS, digest, extend

FIRST = LogEntry(
    position=1,
    recorded_at=datetime(2024, 6, 1, 2, 0, 0, 5, tzinfo=UTC),
    type="id.dukcapil.ktp.failed",
    version=1,
    time="2024-06-01T09:00:00+07:00",
    source="urn:dukcapil:station:KRC-01",
    id="é-1",
    resident_id=UUID(int=7),
    data='{"reason":"other"}',
)
SECOND = FIRST._replace(position=2, id="e-2")


def test_a_root_is_what_the_page_says() -> None:
    """Written out by hand, as somebody else would who holds us to docs/adr/0014."""
    columns = [
        b"\x00\x00\x00\x011",
        b"\x00\x00\x00\x202024-06-01T02:00:00.000005+00:00",
        b"\x00\x00\x00\x16id.dukcapil.ktp.failed",
        b"\x00\x00\x00\x011",
        b"\x00\x00\x00\x192024-06-01T09:00:00+07:00",
        b"\x00\x00\x00\x1burn:dukcapil:station:KRC-01",
        b"\x00\x00\x00\x04\xc3\xa9-1",
        b"\x00\x00\x00\x2400000000-0000-0000-0000-000000000007",
        b'\x00\x00\x00\x12{"reason":"other"}',
    ]
    assert digest(FIRST) == hashlib.sha256(b"".join(columns)).digest()
    both = bytes(32) + digest(FIRST) + digest(SECOND)
    assert extend(GENESIS, [FIRST, SECOND]) == hashlib.sha256(both).digest()


@pytest.mark.parametrize(
    "changed",
    [
        FIRST._replace(position=3),
        FIRST._replace(recorded_at=FIRST.recorded_at + timedelta(microseconds=1)),
        FIRST._replace(type="id.dukcapil.ktp.recorded"),
        FIRST._replace(version=2),
        FIRST._replace(time="2024-06-01T02:00:00Z"),
        FIRST._replace(source="urn:dukcapil:station:KRC-02"),
        FIRST._replace(id="e-1"),
        FIRST._replace(resident_id=UUID(int=8)),
        FIRST._replace(data='{"reason": "other"}'),
        FIRST._replace(time=FIRST.time + "u", source=FIRST.source[1:]),
    ],
)
def test_every_column_counts(changed: LogEntry) -> None:
    assert extend(GENESIS, [changed, SECOND]) != extend(GENESIS, [FIRST, SECOND])


def test_order_absence_and_where_batches_end_count() -> None:
    whole = extend(GENESIS, [FIRST, SECOND])
    assert extend(GENESIS, [SECOND, FIRST]) != whole
    assert extend(GENESIS, [SECOND]) != whole
    assert extend(extend(GENESIS, [FIRST]), [SECOND]) != whole


def test_a_moment_is_the_same_in_every_zone() -> None:
    elsewhere = FIRST.recorded_at.astimezone(timezone(timedelta(hours=7)))
    assert digest(FIRST._replace(recorded_at=elsewhere)) == digest(FIRST)
