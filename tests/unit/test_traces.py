"""When a change's last event passed each station: what carries it, and what has none."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from prometheus_client import REGISTRY

from services.notifier.domain.changes import Head, Trace, VillageRecord, number
from services.notifier.feed import ServedChange
from services.notifier.records import TopicValue, read_record
from services.notifier.ring import frame
from services.notifier.traced import Passed, with_trace
from services.projections.change_record import record_trace
from services.projections.domain.arrivals import Arrival, Place, sift
from services.registry.relay import due
from services.registry.republishing import Tail
from shared import latency
from shared.events.records import read_record as read_event
from shared.events.records import write_event
from shared.latency import Leg
from shared.topics import PARTITIONS
from shared.traces import (
    NO_TIMESTAMP,
    RECEIVED_HEADER,
    CountedTrace,
    EventTrace,
    read_event_trace,
    timestamp_ms,
    trace_headers,
)
from tests.support.facts import entry
from tests.support.village_records import written

RECEIVED = datetime(2024, 8, 20, 1, 0, 0, 10_500, tzinfo=UTC)
PUBLISHED, COUNTED, ANNOUNCED, NUMBERED = (
    RECEIVED.replace(microsecond=ms * 1000) for ms in (20, 30, 40, 50)
)
EVENT_TRACE = EventTrace(RECEIVED, PUBLISHED)
TRACE = Trace(RECEIVED, PUBLISHED, COUNTED, ANNOUNCED)


def test_an_events_trace_travels_in_its_records_header_and_timestamp() -> None:
    headers = trace_headers(RECEIVED)
    assert read_event_trace(headers, timestamp_ms(PUBLISHED)) == EVENT_TRACE


@pytest.mark.parametrize("value", [b"", b"\xff", b"yesterday", b"2024-08-20T01:00:00"])
def test_a_header_that_is_no_moment_is_no_trace(value: bytes) -> None:
    assert read_event_trace([(RECEIVED_HEADER, value)], timestamp_ms(PUBLISHED)) is None


@pytest.mark.parametrize("stamp", [NO_TIMESTAMP, 2**62])
def test_without_a_timestamp_there_is_no_trace(stamp: int) -> None:
    assert read_event_trace(trace_headers(RECEIVED), stamp) is None


def test_what_was_not_received_now_or_is_published_again_has_no_trace() -> None:
    entries = [entry("ktp.recorded", 1)._replace(received_at=RECEIVED), entry("ktp.recorded", 2)]
    new = [record.headers for records in due(entries, _tails()) for record in records]
    assert sorted(new) == sorted([trace_headers(RECEIVED), *[[]] * (PARTITIONS + 1)])
    again = [record for records in due(entries, _tails(), traced=False) for record in records]
    assert [record.headers for record in again] == [[]] * (PARTITIONS + 2)


def test_a_trace_is_no_part_of_what_is_published() -> None:
    logged = entry("ktp.recorded", 1)
    assert write_event(logged._replace(received_at=RECEIVED), 0) == write_event(logged, 0)


def _tails() -> list[Tail]:
    return [Tail() for _ in range(PARTITIONS)]


def test_what_is_news_keeps_its_trace() -> None:
    logged = entry("ktp.recorded", 5)
    value = write_event(logged, 0)
    partition = logged.resident_id.int % PARTITIONS
    arrivals = [Arrival(0, value, read_event(value), EVENT_TRACE)]
    (news,) = sift(arrivals, Place(partition, PARTITIONS, 0, 5)).news
    assert news.trace == EVENT_TRACE


def fetched(stamp: int = timestamp_ms(ANNOUNCED), **given: Any) -> VillageRecord:
    record = read_record(TopicValue(0, 0, written(**given), timestamp_ms=stamp))
    assert isinstance(record, VillageRecord)
    return record


def _members() -> dict[str, object]:
    members = record_trace(CountedTrace(EVENT_TRACE, COUNTED))
    return dict(orjson.loads(orjson.dumps(members)))


def test_a_changes_trace_is_read_from_its_record() -> None:
    assert fetched(trace=_members()).trace == TRACE


@pytest.mark.parametrize(
    "trace",
    [
        None,
        {},
        [],
        {**_members(), "counted_at": "soon"},
        {**_members(), "counted_at": "2999-01-01T00:00:00Z"},
    ],
)
def test_a_trace_that_cannot_be_read_harms_no_change(trace: object) -> None:
    assert fetched(trace=trace).trace is None


def test_a_record_of_before_has_none_and_one_without_a_timestamp_either() -> None:
    assert fetched().trace is None
    assert fetched(NO_TIMESTAMP, trace=_members()).trace is None


def test_a_fold_has_the_trace_of_its_last_event() -> None:
    first, last = fetched(residents=1), fetched(residents=2, revision=2, trace=_members())
    (change,) = number({"pilkada-2024": Head()}, {}, [first, last]).changes
    assert change.trace == TRACE
    last = replace(last, trace=None)
    (change,) = number({"pilkada-2024": Head()}, {}, [fetched(trace=_members()), last]).changes
    assert change.trace is None


PASSED = Passed(RECEIVED + timedelta(milliseconds=2), NUMBERED, TRACE)
SHOWN = {
    "received_at": "2024-08-20T01:00:00.010500Z",
    "committed_at": "2024-08-20T01:00:00.012500Z",
    "published_at": "2024-08-20T01:00:00.020000Z",
    "counted_at": "2024-08-20T01:00:00.030000Z",
    "announced_at": "2024-08-20T01:00:00.040000Z",
    "numbered_at": "2024-08-20T01:00:00.050000Z",
}


def test_a_trace_is_one_more_member_and_null_where_there_is_none() -> None:
    assert orjson.loads(with_trace(b'{"sequence":1}', PASSED)) == {"sequence": 1, "trace": SHOWN}
    absent = replace(PASSED, trace=None)
    assert with_trace(b'{"sequence":1}', absent) == b'{"sequence":1,"trace":null}'


def test_a_streams_event_has_it_only_where_it_was_asked_for() -> None:
    event = frame(ServedChange(7, NUMBERED, b'{"sequence":7}', passed=PASSED))
    assert event.sent == b'id: 7\nevent: change\ndata: {"sequence":7}\n\n'
    head, _, data = event.traced().partition(b"data: ")
    assert head == b"id: 7\nevent: change\n"
    assert data.endswith(b"}\n\n")
    assert orjson.loads(data) == {"sequence": 7, "trace": SHOWN}


def measured(leg: Leg) -> tuple[float, float]:
    """How often a leg was measured, and the seconds in all."""
    name, labels = "cacah_leg_seconds", {"leg": leg.value}
    count, total = (
        REGISTRY.get_sample_value(f"{name}_{what}", labels) for what in ("count", "sum")
    )
    return count or 0.0, total or 0.0


def test_a_leg_is_measured_from_its_beginning_to_its_end() -> None:
    count, total = measured(Leg.NUMBERED)
    latency.observe(Leg.NUMBERED, ANNOUNCED, NUMBERED)
    assert measured(Leg.NUMBERED)[0] == count + 1
    assert measured(Leg.NUMBERED)[1] == pytest.approx(total + 0.01)


def test_clocks_that_disagree_make_no_negative_time() -> None:
    _, total = measured(Leg.NUMBERED)
    latency.observe(Leg.NUMBERED, NUMBERED, ANNOUNCED)
    assert measured(Leg.NUMBERED)[1] == total


def test_what_lay_for_longer_than_an_hour_is_history_and_not_measured() -> None:
    before = measured(Leg.NUMBERED)
    latency.observe(Leg.NUMBERED, ANNOUNCED, ANNOUNCED + timedelta(hours=1, seconds=1))
    assert measured(Leg.NUMBERED) == before
