"""A topic that was lost is told from one that was not, by offsets alone."""

import pytest

from shared.topics import Ends, TopicLostError


def test_what_the_broker_acknowledges_moves_the_end() -> None:
    ends = Ends({0: 5})
    ends.acknowledge(0, offset=5, records=3)
    ends.acknowledge(1, offset=0, records=2)
    assert ends.offsets == {0: 8, 1: 2}


def test_a_batch_repeated_by_a_restart_lies_beyond_what_was_noted_and_is_no_loss() -> None:
    ends = Ends({0: 5})
    ends.acknowledge(0, offset=9, records=1)
    assert ends.offsets == {0: 10}


def test_an_acknowledgement_before_the_end_is_a_loss_even_if_the_batch_reaches_beyond() -> None:
    with pytest.raises(TopicLostError):
        Ends({0: 5}).acknowledge(0, offset=4, records=100)


def test_a_broker_that_does_not_say_where_changes_nothing() -> None:
    ends = Ends({0: 5})
    ends.acknowledge(0, offset=-1, records=3)
    assert ends.offsets == {0: 5}


@pytest.mark.parametrize(
    ("found", "is_lost"),
    [({0: 5, 1: 2}, False), ({0: 9, 1: 2}, False), ({0: 4, 1: 2}, True), ({0: 5}, True)],
)
def test_a_partition_that_ends_earlier_is_lost(found: dict[int, int], is_lost: bool) -> None:
    assert Ends({0: 5, 1: 2}).are_beyond(found) is is_lost
