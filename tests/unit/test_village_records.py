"""Reading `voter.changes`: what is not a record of it is kept with a reason and harms nothing."""

import orjson
import pytest

from services.notifier.domain.changes import VillageRecord
from services.notifier.records import TopicValue, Unreadable, read_fetched, read_record
from shared.counts import NOTHING
from tests.support.village_records import written


def fetched(value: bytes) -> TopicValue:
    return TopicValue(partition=3, offset=17, value=value)


def test_a_record_is_read_with_all_its_members() -> None:
    record = read_record(fetched(written(revision=2, position=9, residents=5)))
    assert isinstance(record, VillageRecord)
    assert (record.key.village, record.district) == ("15.01.09.2001", "15.01.09")
    assert (record.revision, record.position, record.after.residents) == (2, 9, 5)
    assert record.before == NOTHING


def test_a_member_of_a_later_version_is_left_alone() -> None:
    value = orjson.loads(written()) | {"counted_at": "2024-08-20T01:00:00Z"}
    assert isinstance(read_record(fetched(orjson.dumps(value))), VillageRecord)


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (b"", "json_invalid"),
        (b"\xff\x00", "json_invalid"),
        (b"[]", "model"),
        (b"{}", "missing"),
        (written(revision=0), "revision"),
        (written(village="15.01.09.20010"), "village"),
        (written(village="15.01.08.2001", district="15.01.09"), "district"),
        (written(time="2024-08-20T01:00:00"), "time"),
        (written(time="0001-01-01T00:00:00+14:00"), "time"),
        (written(election="a\x00b"), "election"),
        (written(stage="\x00"), "stage"),
        (written(position=2**70), "position"),
        (written(residents=-1), "after.residents"),
        (written(residents="5"), "after.residents"),
    ],
)
def test_what_cannot_be_read_or_stored_is_a_value_with_a_reason(value: bytes, why: str) -> None:
    unreadable = read_record(fetched(value))
    assert isinstance(unreadable, Unreadable)
    assert why in unreadable.why


def test_the_reason_never_repeats_what_was_sent() -> None:
    unreadable = read_record(fetched(written(stage="\x01SITI AMINAH")))
    assert isinstance(unreadable, Unreadable)
    assert "SITI" not in unreadable.why


def test_an_unreadable_record_does_not_harm_the_others() -> None:
    values = [written(revision=1), b"?", written(revision=2)]
    placed, unreadable = read_fetched([fetched(value) for value in values])
    assert [each.record.revision for each in placed] == [1, 2]
    assert len(unreadable) == 1
