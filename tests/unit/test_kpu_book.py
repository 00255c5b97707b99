"""KPU's book adds up changes, and notices those that do not follow."""

from typing import Any

from cli.counting import COUNTS, Tally
from cli.kpu_book import Book

VILLAGE = "15.01.16.2001"


def tally(**counts: int) -> Tally:
    return dict.fromkeys(COUNTS, 0) | counts


def change(sequence: int, before: Tally, after: Tally, village: str = VILLAGE) -> dict[str, Any]:
    return {
        "sequence": sequence,
        "village": village,
        "position": sequence,
        "before": before,
        "after": after,
    }


def test_changes_add_up_to_the_tallies() -> None:
    book = Book()
    book.enter(change(1, tally(), tally(residents=2)))
    book.enter(change(2, tally(residents=2), tally(residents=5, eligible=3)))
    assert book.equals({VILLAGE: tally(residents=5, eligible=3), "15.01.16.2002": tally()})
    assert not book.faults


def test_a_missing_change_is_noticed() -> None:
    book = Book()
    book.enter(change(1, tally(), tally(residents=1)))
    book.enter(change(3, tally(residents=1), tally(residents=2)))
    assert book.faults == ["change 3 came after change 1"]


def test_a_repeated_change_is_noticed() -> None:
    book = Book()
    book.enter(change(1, tally(), tally(residents=1)))
    book.enter(change(1, tally(), tally(residents=1)))
    assert len(book.faults) == 2


def test_a_change_that_does_not_begin_where_the_last_ended_is_noticed() -> None:
    book = Book()
    book.enter(change(1, tally(), tally(residents=1)))
    book.enter(change(2, tally(residents=2), tally(residents=3)))
    assert book.faults == [f"change 2: `before` is not the previous `after` of {VILLAGE}"]


def test_a_change_of_a_village_without_a_tally_is_no_equal() -> None:
    book = Book()
    book.enter(change(1, tally(), tally(residents=1), village="15.72.01.1001"))
    assert not book.equals({VILLAGE: tally()})
