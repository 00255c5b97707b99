"""A subscription to a notifier that breaks off, answers late, or says what cannot be."""

import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

import httpx
import pytest

from cli.following.changes import Change, Feed
from cli.following.standing import FeedFault, Standing
from cli.following.subscribing import LONGEST_DELAY_S, Subscription, delay_after
from cli.projections import CannotAskError
from tests.support.feed_changes import ELECTION, changes_of

OPENING = b"retry: 0\n: cacah\n\n"
LAGGING = b'event: lagging\ndata: {"sequence":3,"why":"too slow"}\n\n'


class EnoughError(Exception):
    """The test has seen what it waited for."""


def sent(changes: Sequence[Change]) -> bytes:
    """Changes as the notifier sends them."""
    return b"".join(
        b"id: %d\nevent: change\ndata: %s\n\n" % (c.sequence, json.dumps(dict(c.members)).encode())
        for c in changes
    )


class Pieces(httpx.AsyncByteStream):
    """The bytes of an answer, cut in pieces; it may break off with an error."""

    def __init__(self, stream: bytes, breaks: bool) -> None:
        self._stream = stream
        self._breaks = breaks

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for begin in range(0, len(self._stream), 100):
            yield self._stream[begin : begin + 100]
        if self._breaks:
            raise httpx.ReadError("the connection broke")


class Notifier:
    """Answers each request with the next of its answers, and notes where it was to go on."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self._answers = list(answers)
        self.asked: list[str] = []
        self.client = httpx.AsyncClient(
            base_url="http://notifier", transport=httpx.MockTransport(self._answer)
        )

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request.headers["last-event-id"])
        if not self._answers:
            raise EnoughError
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def stream(content: bytes, breaks: bool = False) -> httpx.Response:
    headers = {"content-type": "text/event-stream; charset=utf-8"}
    return httpx.Response(200, headers=headers, stream=Pieces(OPENING + content, breaks))


def problem(status: int, detail: str, **headers: str) -> httpx.Response:
    return httpx.Response(status, headers=headers, json={"detail": detail})


async def followed(
    notifier: Notifier, expect: type[Exception] = EnoughError, sequence: int = 0
) -> tuple[list[int], list[str], str]:
    """What was taken, what was said on the way, and how it ended."""
    standing = Standing(ELECTION, Feed.VILLAGES, sequence, whole=sequence == 0)
    taken, said = list[int](), list[str]()

    async def take(changes: Sequence[Change]) -> None:
        taken.extend(change.sequence for change in changes)

    def tell(what: str, _: bool) -> None:
        said.append(what)

    with pytest.raises(expect) as ended:
        await Subscription(notifier.client, standing, tell).follow(take)
    return taken, said, str(ended.value)


async def test_a_stream_that_ends_or_breaks_is_resumed_after_the_last_change() -> None:
    changes = changes_of(Feed.VILLAGES, 9)
    notifier = Notifier(
        stream(sent(changes[:3]) + sent(changes[3:4])[:-20]),
        stream(sent(changes[3:6]), breaks=True),
        stream(b": heartbeat\n\n"),
        stream(sent(changes[6:])),
    )
    taken, said, _ = await followed(notifier)
    assert taken == list(range(1, 10))
    assert notifier.asked == ["0", "3", "6", "6", "9"]
    assert "the connection broke (ReadError); going on after change 6 as soon as it is back" in said


async def test_events_of_other_kinds_are_passed_over() -> None:
    changes = changes_of(Feed.VILLAGES, 4)
    first = sent(changes[:2]) + b"data: hello\n\n" + LAGGING
    taken, _, _ = await followed(Notifier(stream(first), stream(sent(changes[2:]))))
    assert taken == [1, 2, 3, 4]


async def test_a_notifier_that_is_away_is_asked_again_and_said_once() -> None:
    changes = changes_of(Feed.VILLAGES, 1)
    away: list[httpx.Response | Exception]
    away = [httpx.ConnectError("refused"), problem(503, "not yet"), httpx.ReadTimeout("silent")]
    notifier = Notifier(stream(b""), *away, stream(sent(changes)))
    taken, said, _ = await followed(notifier)
    assert taken == [1]
    assert said[0] == "the notifier ended the stream; going on after change 0 as soon as it is back"
    assert said[1] == "the notifier is back"
    assert len(said) == 3


@pytest.mark.parametrize("skipped", [0, 2])
async def test_a_gap_and_a_repeat_end_it(skipped: int) -> None:
    changes = changes_of(Feed.VILLAGES, 4)
    notifier = Notifier(stream(sent(changes[:2]) + sent(changes[1 if not skipped else 3 :])))
    taken, _, ended = await followed(notifier, FeedFault)
    assert taken == [1, 2]
    assert "start again from a snapshot" in ended


async def test_an_id_that_is_not_the_changes_ends_it() -> None:
    (change,) = changes_of(Feed.VILLAGES, 1)
    wrong = sent([change]).replace(b"id: 1\n", b"id: 2\n")
    assert await followed(Notifier(stream(wrong)), FeedFault)


async def test_what_is_no_change_of_this_feed_ends_it() -> None:
    voters = sent(changes_of(Feed.VOTERS, 1))
    _, _, ended = await followed(Notifier(stream(voters)), FeedFault)
    assert "event 1 is no change of the villages" in ended


@pytest.mark.parametrize(
    ("answer", "fault", "words"),
    [
        (problem(401, "no such token"), CannotAskError, "no such token"),
        (problem(404, "no feed of this election"), CannotAskError, "no feed of this election"),
        (problem(400, "beyond the end, which is 3."), FeedFault, "start again from a snapshot"),
        (httpx.Response(404, text="<html>"), CannotAskError, "is it the notifier's address?"),
        (httpx.Response(200, text="<html>"), CannotAskError, "is it the notifier's address?"),
    ],
)
async def test_a_refusal_ends_it_and_says_what_to_do(
    answer: httpx.Response, fault: type[Exception], words: str
) -> None:
    _, _, ended = await followed(Notifier(answer), fault, sequence=7)
    assert words in ended


@pytest.mark.parametrize("chance", [0.0, 0.5, 1.0])
def test_delays_double_up_to_half_a_minute_and_differ_by_chance(chance: float) -> None:
    delays = [delay_after(failures, 2.0, chance) for failures in range(1, 2_000)]
    assert delays[:4] == [factor * (0.5 + chance / 2) for factor in (2.0, 4.0, 8.0, 16.0)]
    assert max(delays) == LONGEST_DELAY_S * (0.5 + chance / 2)


def test_the_members_of_a_change_are_as_they_were_sent() -> None:
    (change,) = changes_of(Feed.VILLAGES, 1)
    members: dict[str, Any] = json.loads(change.line())
    assert list(members) == list(change.members)
