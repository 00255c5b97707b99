"""The notifier's rule for persons: each record once, chained on what KPU was told."""

from datetime import UTC, datetime
from uuid import UUID

import pytest

from services.notifier.domain.voters import (
    Kind,
    NumberedVoters,
    Place,
    ToldVoter,
    VoterKey,
    VoterRecord,
    number_voters,
)
from services.notifier.records import Area, TopicValue, Unreadable, read_voter_record
from shared.topics import VOTER_PERSONS
from tests.support.voter_records import SOMEBODY, area, written

ELECTION = "pilkada-2024"
HERE, THERE = "15.01.09.2001", "15.01.05.2003"
SOME = VoterKey(ELECTION, SOMEBODY)


def a_record(place: int, to: str | None, fold: int = 0, key: VoterKey = SOME) -> VoterRecord:
    moment = datetime(2024, 8, 20, tzinfo=UTC)
    return VoterRecord(key, Place(fold, place), to, "id.dukcapil.x", place, moment, "dps")


def numbered(*records: VoterRecord, told: ToldVoter | None = None, end: int = 0) -> NumberedVoters:
    return number_voters({ELECTION: end}, {SOME: told} if told else {}, records)


def test_who_is_a_voter_for_the_first_time_is_added() -> None:
    (change,) = numbered(a_record(7, HERE), end=4).changes
    assert (change.sequence, change.kind) == (5, Kind.ADDED)
    assert (change.from_village, change.to_village) == (None, HERE)
    assert (change.position, change.reason, change.stage) == (7, "id.dukcapil.x", "dps")


@pytest.mark.parametrize(
    ("told", "to", "kind"),
    [(HERE, THERE, Kind.MOVED), (HERE, None, Kind.REMOVED), (None, HERE, Kind.ADDED)],
)
def test_the_kind_follows_from_what_kpu_was_told(told: str, to: str | None, kind: Kind) -> None:
    (change,) = numbered(a_record(7, to), told=ToldVoter(Place(0, 3), told)).changes
    assert (change.kind, change.from_village, change.to_village) == (kind, told, to)


def test_each_change_of_one_person_in_a_batch_is_told() -> None:
    result = numbered(a_record(1, HERE), a_record(2, THERE), a_record(3, None))
    assert [change.kind for change in result.changes] == [Kind.ADDED, Kind.MOVED, Kind.REMOVED]
    assert [change.sequence for change in result.changes] == [1, 2, 3]
    assert result.told == {SOME: ToldVoter(Place(0, 3), None)}
    assert result.ends == {ELECTION: 3}


def test_a_repeat_and_what_was_overtaken_change_nothing() -> None:
    held = ToldVoter(Place(0, 5), HERE)
    result = numbered(a_record(5, HERE), a_record(4, THERE), told=held)
    assert (result.changes, result.told, result.ends, result.repeats) == ([], {}, {}, 2)


def test_a_later_folding_is_beyond_every_event_of_the_one_before() -> None:
    held = ToldVoter(Place(0, 900), HERE)
    by_the_fold, by_the_event = a_record(0, THERE, fold=1), a_record(2, None, fold=1)
    result = numbered(by_the_fold, a_record(901, HERE), by_the_event, told=held)
    assert [change.kind for change in result.changes] == [Kind.MOVED, Kind.REMOVED]
    assert result.repeats == 1


def test_a_lost_record_is_mended_by_the_next() -> None:
    (change,) = numbered(a_record(9, None), told=ToldVoter(Place(0, 3), HERE)).changes
    assert (change.kind, change.from_village) == (Kind.REMOVED, HERE)
    assert numbered(a_record(9, HERE), told=ToldVoter(Place(0, 3), HERE)).changes == []


def test_each_election_has_a_sequence_of_its_own() -> None:
    other = VoterKey("second", SOMEBODY)
    records = [a_record(1, HERE), a_record(1, HERE, key=other)]
    result = number_voters({ELECTION: 4, "second": 0}, {}, records)
    assert [(change.key.election, change.sequence) for change in result.changes] == [
        (ELECTION, 5),
        ("second", 1),
    ]


def read(value: bytes) -> VoterRecord | Area | Unreadable:
    return read_voter_record(TopicValue(0, 0, value, VOTER_PERSONS))


def test_records_are_read_as_projections_write_them() -> None:
    record = read(written(place=4, fold=2, to=None))
    assert isinstance(record, VoterRecord)
    assert (record.key, record.place) == (VoterKey(ELECTION, UUID(int=1)), Place(2, 4))
    assert record.to_village is None
    assert read(area()) == Area("second", 1, "15.01.16")
    assert read(area(of="ID")) == Area("second", 1, "ID")


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"\xff",
        b"[]",
        written(to="15.01"),
        written(voter="nobody"),  # type: ignore[arg-type]
        written(fold=-1),
        written(place=2**60),
        written(reason="because\x00"),
        written(time="yesterday"),
        area(of="Kerinci"),
        area(election="-"),
    ],
)
def test_what_is_no_record_is_a_value_too(value: bytes) -> None:
    assert isinstance(read(value), Unreadable)
