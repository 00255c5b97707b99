"""A person's change tells all that its record said, and one that changes nothing hides none."""

from datetime import UTC, datetime
from uuid import UUID

from services.notifier.domain.voters import (
    Kind,
    Place,
    ToldVoter,
    VoterChange,
    VoterKey,
    VoterRecord,
    number_voters,
)

HERE, THERE = "15.01.09.2001", "15.01.05.2003"
ONE, OTHER = VoterKey("e", UUID(int=1)), VoterKey("e", UUID(int=2))
MORNING = datetime(2024, 8, 20, 1, tzinfo=UTC)


def a_record(key: VoterKey, place: int, to: str | None) -> VoterRecord:
    return VoterRecord(key, Place(0, place), to, "id.dukcapil.x", place, MORNING, "dps")


def test_a_change_tells_all_that_its_record_said() -> None:
    result = number_voters({"e": 6}, {}, [a_record(ONE, 3, HERE)])
    assert result.changes == [
        VoterChange(7, ONE, Kind.ADDED, "id.dukcapil.x", None, HERE, 3, MORNING, "dps")
    ]


def test_what_is_told_already_and_repeats_hide_nothing_that_follows() -> None:
    told = {ONE: ToldVoter(Place(0, 2), HERE)}
    records = [a_record(ONE, 2, HERE), a_record(ONE, 3, HERE), a_record(OTHER, 4, THERE)]
    result = number_voters({"e": 0}, told, records)
    assert [(change.sequence, change.key) for change in result.changes] == [(1, OTHER)]
    assert result.told[ONE] == ToldVoter(Place(0, 3), HERE)
    assert result.repeats == 1
