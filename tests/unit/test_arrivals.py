"""What of the records of a partition is news, and where its chain has a hole."""

from uuid import UUID

from services.projections.domain.arrivals import (
    BROKEN_CHAIN,
    NOT_OF_THE_LOG,
    OTHER_PARTITION,
    Arrival,
    Place,
    Sifted,
    Stray,
    sift,
)
from shared.events.records import read_record, write_event, write_published
from shared.topics import PARTITIONS
from tests.support.facts import entry

PARTITION = 3
MINE = UUID(int=PARTITION)
LAST = 100


def event(position: int, previous: int, resident_id: UUID = MINE) -> bytes:
    return write_event(entry("ktp.recorded", position, resident_id), previous)


def sifted(*values: bytes, mark: int = 0, last: int = LAST) -> Sifted:
    arrivals = [Arrival(n, value, read_record(value)) for n, value in enumerate(values)]
    return sift(arrivals, Place(PARTITION, PARTITIONS, mark, last))


def positions(found: Sifted) -> list[int]:
    return [news.event.logged.position for news in found.news]


def test_records_in_their_chain_are_news_and_move_the_mark() -> None:
    found = sifted(event(4, 0), event(9, 4))
    assert (positions(found), found.mark, found.hole) == ([4, 9], 9, None)


def test_what_came_before_is_a_repeat() -> None:
    found = sifted(event(4, 0), event(9, 4), event(4, 0), event(9, 4), mark=4)
    assert (positions(found), found.repeats) == ([9], 3)


def test_a_published_record_moves_the_mark_of_a_quiet_partition() -> None:
    found = sifted(write_published(50, 0))
    assert (positions(found), found.mark) == ([], 50)


def test_an_old_published_record_moves_nothing_back() -> None:
    assert sifted(write_published(50, 0), mark=60).mark == 60


def test_a_missing_record_is_a_hole_and_the_rest_waits() -> None:
    found = sifted(event(4, 0), event(9, 7), event(12, 9))
    assert (positions(found), found.mark, found.hole) == ([4], 4, 7)
    assert [arrival.offset for arrival in found.rest] == [1, 2]


def test_a_published_record_shows_the_hole_at_the_end() -> None:
    assert sifted(event(4, 0), write_published(50, 40)).hole == 40


def test_an_unreadable_record_is_a_hole_up_to_its_position() -> None:
    alien = write_event(entry("alien.landed", 9, MINE), 4)
    assert sifted(event(4, 0), alien).hole == 9
    assert sifted(alien, mark=9).repeats == 1


def test_a_record_that_says_no_position_is_set_aside_and_holds_nobody_up() -> None:
    found = sifted(b"not JSON", event(4, 0))
    assert [stray.why for stray in found.strays] == ["not JSON"]
    assert positions(found) == [4]


def test_a_record_of_a_position_that_the_log_does_not_have_is_set_aside() -> None:
    found = sifted(event(101, 0), write_published(101, 0), event(100, 0))
    assert [stray.why for stray in found.strays] == [NOT_OF_THE_LOG] * 2
    assert (positions(found), found.mark) == ([100], 100)


def test_an_event_of_another_partition_is_set_aside() -> None:
    found = sifted(event(4, 0, UUID(int=PARTITION + 1)))
    assert [stray.why for stray in found.strays] == [OTHER_PARTITION]


def test_a_chain_that_leads_forward_is_set_aside() -> None:
    found = sifted(event(4, 4), event(4, 9), write_published(4, 9))
    assert [stray.why for stray in found.strays] == [BROKEN_CHAIN] * 3


def test_an_event_that_postgresql_would_not_take_is_a_hole() -> None:
    numbered = event(4, 0).replace(b'"e-4"', b"4")
    assert sifted(numbered).hole == 4
    assert sifted(event(4, 0).replace(b"e-4", b"e\\u00004")).hole == 4


def test_news_and_strays_are_given_back_as_they_came() -> None:
    news, stray = event(4, 0), event(5, 4, UUID(int=PARTITION + 1))
    found = sifted(news, stray)
    assert [item.value for item in found.news] == [news]
    assert found.strays == [Stray(Arrival(1, stray, read_record(stray)), OTHER_PARTITION)]


def test_an_unreadable_record_may_be_of_the_logs_last_position_and_of_none_beyond() -> None:
    last, beyond = (write_event(entry("alien.landed", at, MINE), 4) for at in (LAST, LAST + 1))
    assert sifted(last).hole == LAST
    found = sifted(beyond)
    assert ([stray.why for stray in found.strays], found.hole) == ([NOT_OF_THE_LOG], None)


def test_an_unreadable_record_of_no_place_in_the_log_is_no_hole() -> None:
    found = sifted(write_event(entry("alien.landed", 0, MINE), 0))
    assert (found.hole, found.repeats, found.strays) == (None, 1, [])


def test_everything_may_be_published_up_to_the_partitions_last_event() -> None:
    found = sifted(event(4, 0), write_published(4, 4))
    assert (found.mark, found.strays, found.hole) == (4, [], None)
