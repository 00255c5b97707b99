"""Server-sent events as the notifier sends them, and as others may."""

import pytest

from cli.following.event_stream import (
    MOST_HELD_BYTES,
    EventReader,
    EventTooLargeError,
    ServerSent,
)

OPENING = b"retry: 2000\n: cacah\n\n"
CHANGE = b'id: 7\nevent: change\ndata: {"sequence":7}\n\n'


def test_a_change_is_read_as_the_notifier_sends_it() -> None:
    reader = EventReader()
    events = reader.read(OPENING + CHANGE)
    assert events == [ServerSent("change", '{"sequence":7}', "7")]
    assert (reader.last_id, reader.retry_ms) == ("7", 2000)


def test_what_came_together_is_given_together_and_what_is_torn_is_no_event() -> None:
    reader = EventReader()
    assert len(reader.read(CHANGE * 3 + CHANGE[:-1])) == 3
    assert reader.read(b": heartbeat\n") == []
    assert len(reader.read(b"\n")) == 1


def test_a_comment_alone_and_an_event_without_data_are_none() -> None:
    assert EventReader().read(b": heartbeat\n\nevent: change\nid: 9\n\n") == []


def test_a_return_and_a_line_feed_may_come_apart() -> None:
    reader = EventReader()
    events = [*reader.read(b"data: a\r"), *reader.read(b"\n\r"), *reader.read(b"\n")]
    assert events == [ServerSent("message", "a", "")]


def test_an_event_of_several_lines_is_joined_by_line_feeds() -> None:
    (event,) = EventReader().read(b"data: a\r\ndata: b\r\ndata:\r\n\r\n")
    assert event.data == "a\nb\n"


@pytest.mark.parametrize("sent", [b"data: ", b"data: x\ndata: "])
def test_what_has_no_end_is_refused(sent: bytes) -> None:
    reader = EventReader()
    reader.read(sent)
    with pytest.raises(EventTooLargeError):
        reader.read(b"x" * (MOST_HELD_BYTES + 1))
