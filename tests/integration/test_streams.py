"""KPU's streams beside each other: filtered, slow, dead, resumed by published clients."""

import asyncio
import contextlib
import secrets
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Final
from uuid import UUID

import httpx
import orjson
import pytest
import pytest_asyncio
import requests
from requests_sse import EventSource

from services.notifier import filtering
from services.notifier.domain.wanted import Wanted
from services.notifier.feed import Feed
from services.notifier.voter_feed import VoterFeed
from shared.access import CACHE_S, Role, Tokens
from shared.database import create_engine
from shared.regions import villages_in
from tests.bench.streams import Plan, stream
from tests.support import voter_records
from tests.support.growing import Growing
from tests.support.notifier_process import (
    AUTHORIZED,
    ELECTION,
    WAIT_S,
    NotifierProcess,
    TopicWriter,
    running,
    streamed,
    topic_writer,
)
from tests.support.parts import Parts, cloned_database, fresh_topics
from tests.support.proxy import proxy_to

EVERYWHERE: Final = [village.code for village in villages_in("15.01")]
QUIET, BUSY, UNTOLD = EVERYWHERE[0], EVERYWHERE[-1], EVERYWHERE[150]
CUT: Final = "cacah_notifier_clients_cut_total"
FEED: Final = f"/v1/elections/{ELECTION}"

LIMITS: Final = (
    "streaming.HEARTBEAT_S=0.3 streaming.LAGGING_S=0.3 streaming.RING_FRAMES=100"
    " event_stream.STALLED_S=1.5 connections.CUT_GRACE_S=1.0"
)


def impatient(parts: Parts, database: str) -> NotifierProcess:
    """A notifier that waits for nobody for long."""
    group = f"streams-{secrets.token_hex(4)}"
    made = NotifierProcess(
        parts.url(database), parts.kafka_bootstrap, group, "tests.support.impatient_notifier"
    )
    made.environment["CACAH_TEST_LIMITS"] = LIMITS
    return made


async def test_quick_clients_have_everything_beside_slow_dead_and_flaky_ones(
    parts: Parts, database: str, topics: None
) -> None:
    async with running(impatient(parts, database)) as notifier:
        plan = Plan(clients=30, poor=9, rate=200, seconds=5)
        result = await stream(parts, database, notifier, plan)
    assert list(result.wrong()) == []
    assert result.cut["stalled"] >= 3, "the dead"
    assert result.connected_when_over < plan.clients


@pytest.fixture(scope="module")
def shared_database(parts: Parts) -> Iterator[str]:
    fresh_topics(parts)
    with cloned_database(parts) as name:
        yield name


@pytest_asyncio.fixture(scope="module")
async def notifier(parts: Parts, shared_database: str) -> AsyncIterator[NotifierProcess]:
    """One for all tests below, whose feed goes on from each to the next."""
    async with running(impatient(parts, shared_database)) as ready:
        yield ready


@pytest_asyncio.fixture(scope="module")
async def topic(parts: Parts, shared_database: str) -> AsyncIterator[TopicWriter]:
    async with topic_writer(parts.kafka_bootstrap) as writer:
        yield writer


@pytest.fixture(scope="module")
def growing(notifier: NotifierProcess, topic: TopicWriter) -> Growing:
    return Growing(notifier, topic)


class Source:
    """A published EventSource client in a thread: it resumes by itself, with its own id."""

    def __init__(self, url: str) -> None:
        session = requests.Session()
        session.hooks["response"].append(self._opened)
        self.told: list[dict[str, Any]] = []
        self.ids: list[str] = []
        self.resumed_from: list[str | None] = []
        self._over = False
        self._source = EventSource(
            url,
            headers=dict(AUTHORIZED),
            session=session,
            timeout=10,
            on_error=self._disconnected,
        )
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def __enter__(self) -> "Source":
        return self

    def __exit__(self, *_: object) -> None:
        # To be closed by the thread that reads, when it is disconnected.
        self._over = True

    def _disconnected(self) -> None:
        if self._over:
            raise ConnectionError("nobody listens any more")

    def _opened(self, answer: requests.Response, **_: Any) -> None:
        given = answer.request.headers.get("Last-Event-Id")
        self.resumed_from.append(given.decode() if isinstance(given, bytes) else given)

    def _read(self) -> None:
        with contextlib.suppress(Exception), self._source:
            for event in self._source:
                if event.type == "change":
                    self.told.append(orjson.loads(event.data or ""))
                    self.ids.append(event.last_event_id)

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(WAIT_S):
            while not holds():
                await asyncio.sleep(0.05)


async def test_published_event_sources_resume_by_themselves_in_the_middle(
    notifier: NotifierProcess, growing: Growing
) -> None:
    await growing.grow(BUSY, QUIET)
    begun = len(await growing.told())
    async with proxy_to("127.0.0.1", notifier.port) as door:
        url = f"http://127.0.0.1:{door.port}{FEED}/stream"
        with Source(url) as whole, Source(f"{url}?village={QUIET}") as quiet:
            await whole.until(lambda: len(whole.told) == begun)
            await quiet.until(lambda: len(quiet.told) == 1)
            for _ in range(3):
                await growing.grow(BUSY)
                middle = len(await growing.told())
            await whole.until(lambda: len(whole.told) == middle)
            # Some heartbeats, one of which says how far the quiet one is.
            await asyncio.sleep(0.8)
            await door.shut()
            await growing.grow(BUSY, QUIET)
            feed = await growing.told()
            await door.open()
            await whole.until(lambda: len(whole.told) >= len(feed))
            await quiet.until(lambda: len(quiet.told) >= 2)
    assert whole.told == feed
    assert whole.ids == [str(change["sequence"]) for change in feed]
    assert quiet.told == [change for change in feed if change["village"] == QUIET]
    assert whole.resumed_from[-1] == quiet.resumed_from[-1] == str(middle)
    assert int(quiet.ids[0]) < middle < int(quiet.ids[1])


async def test_a_filtered_stream_has_heartbeats_that_move_its_id_on_without_an_event(
    notifier: NotifierProcess, growing: Growing
) -> None:
    begun = len(await growing.told())
    url, lines = f"{FEED}/stream?village={QUIET}&after={begun}", list[str]()
    async with notifier.client.stream("GET", url) as answer:
        assert answer.headers["cache-control"] == "no-store, no-transform"
        async for line in answer.aiter_lines():
            lines.append(line)
            if line == ": heartbeat" and lines.count(line) == 1:
                await growing.grow(BUSY)
                await growing.told()
            if lines.count(": heartbeat") == 4:
                break
    assert [one for one in lines if one.startswith(("id", "data", "event"))] == [
        f"id: {begun + 1}"
    ], "once, and not with each heartbeat"


async def test_a_filter_looks_through_a_long_feed_in_stretches_and_passes_nothing_over(
    growing: Growing, parts: Parts, shared_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):
        await growing.grow(*EVERYWHERE[1:60])
        feed = await growing.told()
    monkeypatch.setattr(filtering, "STRETCH", 7)
    engine = create_engine(parts.url(shared_database))
    for places in (EVERYWHERE[3:6], EVERYWHERE[1:60]):
        wanted, found, through = Wanted(villages=frozenset(places)), list[int](), 0
        while through < len(feed):
            step = await filtering.look_on(Feed(engine), ELECTION, wanted, through, len(feed), 2)
            assert through < step.through <= through + 7
            found += [change.sequence for change in step.changes]
            through = step.through
        assert found == [c["sequence"] for c in feed if c["village"] in places]
    await engine.dispose()


async def test_filters_tell_what_the_whole_feed_tells_of_these_places(
    notifier: NotifierProcess, growing: Growing
) -> None:
    one, two, three = EVERYWHERE[0], EVERYWHERE[100], EVERYWHERE[200]
    for _ in range(4):
        await growing.grow(one, two, three, BUSY)
        await growing.told()
    feed = await growing.told()
    for query, places in [
        (f"village={one}", (one,)),
        (f"village={one}&village={two}", (one, two)),
        (f"district={two[:8]}", (two[:8],)),
        (f"district={two[:8]}&district={BUSY[:8]}&village={one}", (two[:8], BUSY[:8], one)),
    ]:
        wanted = [change for change in feed if change["village"].startswith(places)]
        assert wanted
        assert await filtered(notifier, query, len(wanted)) == wanted
        assert await paged(notifier, query, limit=3) == wanted
    page = await page_of(notifier, f"village={UNTOLD}")
    assert page == {"changes": [], "last": len(feed), "through": len(feed)}


async def filtered(
    notifier: NotifierProcess, query: str, expected: int, feed: str = ""
) -> list[dict[str, Any]]:
    """The first so many changes of a filtered stream."""
    url, received = f"{FEED}{feed}/stream?{query}", list[dict[str, Any]]()
    async with asyncio.timeout(WAIT_S), notifier.client.stream("GET", url) as answer:
        async for line in answer.aiter_lines():
            if line.startswith("data: "):
                received.append(orjson.loads(line[6:]))
                if len(received) == expected:
                    break
    return received


async def page_of(notifier: NotifierProcess, query: str, feed: str = "") -> dict[str, Any]:
    answer = await notifier.client.get(f"{FEED}{feed}/changes?{query}")
    answer.raise_for_status()
    page: dict[str, Any] = answer.json()
    return page


async def paged(notifier: NotifierProcess, query: str, limit: int) -> list[dict[str, Any]]:
    """All that a filter wants, by going on from `through` to the end."""
    found, after = list[dict[str, Any]](), 0
    while True:
        page = await page_of(notifier, f"{query}&after={after}&limit={limit}")
        found += page["changes"]
        after = page["through"]
        if after == page["last"]:
            return found


async def test_a_person_who_moves_is_told_to_both_villages(
    notifier: NotifierProcess, topic: TopicWriter, parts: Parts, shared_database: str
) -> None:
    here, there, elsewhere = EVERYWHERE[0], EVERYWHERE[100], EVERYWHERE[200]
    lives = {1: (here, there, None), 2: (there, elsewhere), 3: (elsewhere,)}
    await topic.write_persons(
        voter_records.written(voter=UUID(int=voter), to=to, place=place)
        for voter, places in lives.items()
        for place, to in enumerate(places, 1)
    )
    async with asyncio.timeout(WAIT_S):
        while len(feed := (await page_of(notifier, "", "/voters"))["changes"]) < 6:
            await asyncio.sleep(0.05)
    for query, place in [(f"village={here}", here), (f"district={there[:8]}", there[:8])]:
        wanted = [
            change
            for change in feed
            if (change["from_village"] or "").startswith(place)
            or (change["to_village"] or "").startswith(place)
        ]
        assert 2 <= len(wanted) < 6
        page = await page_of(notifier, query, "/voters")
        assert page == {"changes": wanted, "last": 6, "through": 6}
        assert await filtered(notifier, query, len(wanted), "/voters") == wanted
    engine = create_engine(parts.url(shared_database))
    step = await filtering.look_on(
        VoterFeed(engine), ELECTION, Wanted(villages=frozenset({here})), 0, 6, 1
    )
    await engine.dispose()
    assert step.through == step.changes[0].sequence


async def test_each_feed_has_a_measure_of_its_own_of_how_soon_it_is_streamed(
    notifier: NotifierProcess, growing: Growing, topic: TopicWriter
) -> None:
    begun = len(await growing.told())
    voters = (await page_of(notifier, "", "/voters"))["last"]
    before = await streamed_of(notifier)
    async with following_live(notifier, last=begun + 1, after=begun):
        await growing.grow(BUSY)
    assert await streamed_of(notifier) == {**before, "villages": before["villages"] + 1}
    async with following_live(notifier, last=voters + 1, after=voters, feed="/voters"):
        await topic.write_persons([voter_records.written(voter=UUID(int=77))])
    assert await streamed_of(notifier) == {feed: count + 1 for feed, count in before.items()}


async def streamed_of(notifier: NotifierProcess) -> dict[str, float]:
    """Of each feed how many changes were measured."""
    name = "cacah_notifier_streamed_seconds_count"
    feeds = ("villages", "voters")
    return {feed: await notifier.metric(f'{name}{{feed="{feed}"}}') for feed in feeds}


@contextlib.asynccontextmanager
async def following_live(notifier: NotifierProcess, **given: Any) -> AsyncIterator[None]:
    """A client that is connected before what is done within, and then has it."""
    connected = await notifier.metric("cacah_notifier_clients ")
    following = asyncio.create_task(streamed(notifier, **given))
    async with asyncio.timeout(WAIT_S):
        while await notifier.metric("cacah_notifier_clients ") == connected:
            await asyncio.sleep(0.05)
    yield
    await following


WRONG_PLACES: Final = [
    ("village=15.01.01.9999", "village"),
    ("village=15.01.16", "village"),
    ("village=31.71.01.1001", "village"),
    ("village=", "village"),
    (f"village={QUIET}&village=x%00", "village"),
    ("district=15.01", "district"),
    ("district=31.71.01", "district"),
    (f"district={QUIET}", "district"),
]


async def test_a_place_that_is_not_of_the_area_is_a_problem_that_names_the_filter(
    notifier: NotifierProcess, growing: Growing
) -> None:
    for query, field in WRONG_PLACES:
        for path in ("changes", "stream", "voters/changes", "voters/stream"):
            answer = await notifier.client.get(f"{FEED}/{path}?{query}")
            assert answer.status_code == 400, (path, query)
            assert answer.json()["errors"][0]["field"] == field
    unknown = await notifier.client.get(f"/v1/elections/pilkada-1955/stream?village={QUIET}")
    assert unknown.status_code == 404
    left = "31.71.01.1001"
    await growing.grow(left)
    feed = await growing.told()
    assert (await page_of(notifier, f"village={left}"))["changes"] == feed[-1:], "told of once"


async def test_a_snapshot_and_the_stream_after_it_leave_no_gap_while_changes_come(
    notifier: NotifierProcess, growing: Growing
) -> None:
    async def load() -> None:
        for _ in range(25):
            await growing.grow(*EVERYWHERE[:20])
            await asyncio.sleep(0.05)

    loading = asyncio.create_task(load())
    begun = []
    while not loading.done():
        begun.append((await notifier.client.get(f"{FEED}/snapshot")).json())
        await asyncio.sleep(0.2)
    await loading
    feed = await growing.told()
    assert len({taken["sequence"] for taken in begun}) > 3
    for taken in begun:
        stands = {each["village"]: each["residents"] for each in taken["villages"]}
        rest = feed[taken["sequence"] :]
        if rest:
            assert await streamed(notifier, last=len(feed), after=taken["sequence"]) == rest
        for change in rest:
            assert change["before"]["residents"] == stands[change["village"]]
            stands[change["village"]] = change["after"]["residents"]
        assert {code: n for code, n in stands.items() if n} == growing.residents


class Open:
    """A stream that is read until the notifier ends it."""

    def __init__(self, notifier: NotifierProcess, path: str, token: str) -> None:
        self.lines: list[str] = []
        self._client, self._url = notifier.client, f"{FEED}{path}"
        self._headers = {"Authorization": f"Bearer {token}"}
        self.reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        opened = self._client.stream("GET", self._url, headers=self._headers)
        async with opened as answer:
            answer.raise_for_status()
            async for line in answer.aiter_lines():
                self.lines.append(line)

    async def beats(self, more: int = 1) -> None:
        """Until it has had so many more heartbeats."""
        wanted = self.lines.count(": heartbeat") + more
        async with asyncio.timeout(WAIT_S):
            while self.lines.count(": heartbeat") < wanted:
                assert not self.reading.done(), self.lines[-5:]
                await asyncio.sleep(0.05)

    async def last(self) -> dict[str, str]:
        """Its last event, once it is ended."""
        async with asyncio.timeout(WAIT_S):
            await self.reading
        end = len(self.lines) - self.lines[::-1].index("event: revoked")
        return dict(line.split(": ", 1) for line in self.lines[end - 3 : end + 1])


async def test_a_stream_ends_when_its_token_is_revoked_and_says_what_to_do(
    notifier: NotifierProcess, growing: Growing, parts: Parts, shared_database: str
) -> None:
    engine = create_engine(parts.url(shared_database))
    tokens = Tokens(engine, None)
    one, other = [await tokens.create(Role.KPU, name) for name in ("one", "other")]
    cut = await notifier.metric(f'{CUT}{{why="revoked"}}')
    busy = Open(notifier, "/stream", one)
    quiet = Open(notifier, "/voters/stream", one)
    another = Open(notifier, "/stream", other)
    for each in (busy, quiet, another):
        await each.beats()
    assert await tokens.revoke((await tokens.issued())[-2].token_id)
    async with asyncio.timeout(WAIT_S):
        while not busy.reading.done():
            await growing.grow(*EVERYWHERE[:20])
            await asyncio.sleep(0.05)
    last = await busy.last()
    told = orjson.loads(last["data"])
    assert last["id"] == str(told["sequence"])
    assert last["retry"] == "10000"
    assert "Ask an operator for another token" in told["detail"]
    changes = [orjson.loads(line[6:]) for line in busy.lines if line.startswith("data: ")][:-1]
    assert [c["sequence"] for c in changes] == list(range(1, told["sequence"] + 1))
    assert (await quiet.last())["event"] == "revoked"
    assert await notifier.metric(f'{CUT}{{why="revoked"}}') == cut + 2
    again = await notifier.client.get(
        f"{FEED}/stream", headers={"Authorization": f"Bearer {one}", "Last-Event-ID": last["id"]}
    )
    assert again.status_code == 401
    await another.beats()
    another.reading.cancel()
    await engine.dispose()


async def test_a_stream_goes_on_while_nobody_can_say_whether_its_token_stands(
    parts: Parts, database: str, topics: None
) -> None:
    engine = create_engine(parts.url(database))
    tokens = Tokens(engine, None)
    kpu = await tokens.create(Role.KPU, "kpu")
    address = httpx.URL(parts.dsn(database))
    async with proxy_to(address.host, address.port or 5432) as door:
        process = impatient(parts, database)
        through = str(address.copy_with(port=door.port)).replace("://", "+asyncpg://", 1)
        process.environment["CACAH_DATABASE_URL"] = through
        async with running(process) as notifier:
            following = Open(notifier, "/stream", kpu)
            await following.beats()
            await door.shut()
            await asyncio.sleep(CACHE_S + 1)
            await following.beats(3)
            await tokens.revoke(1)
            await door.open()
            assert (await following.last())["event"] == "revoked"
    await engine.dispose()


class RawClient:
    """A client that is at its socket itself, to take as little as it likes."""

    def __init__(self, notifier: NotifierProcess, after: int, receive_bytes: int = 4096):
        # Between one reading and the next.
        self.pause_s = 0.0
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        self._socket.connect(("127.0.0.1", notifier.port))
        self._socket.setblocking(False)
        head = f"GET {FEED}/stream?after={after} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        self._socket.send(f"{head}Authorization: {AUTHORIZED['Authorization']}\r\n\r\n".encode())

    async def read(self, most: int = 65_536) -> bytes:
        return await asyncio.get_running_loop().sock_recv(self._socket, most)

    async def read_to_the_end(self, most: int = 65_536) -> bytes:
        """Everything until the notifier ends the connection."""
        received = b""
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(WAIT_S):
                while data := await self.read(most):
                    received += data
                    await asyncio.sleep(self.pause_s)
        return received

    def __enter__(self) -> "RawClient":
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()


def messages_in(answer: bytes) -> list[dict[str, str]]:
    """The server-sent messages of a chunked answer, each by its fields."""
    rest, body = answer.partition(b"\r\n\r\n")[2], b""
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        length = int(size, 16)
        body, rest = body + rest[:length], rest[length + 2 :]
    return [
        dict(line.split(": ", 1) for line in message.splitlines() if line[:1] != ":" and line)
        for message in body.decode().split("\n\n")
    ]


async def test_a_client_that_takes_nothing_is_cut_and_holds_nobody_up(
    notifier: NotifierProcess, growing: Growing
) -> None:
    begun = len(await growing.told())
    with RawClient(notifier, begun) as dead, RawClient(notifier, begun) as waking:
        last_one = begun + 4 * len(EVERYWHERE)
        following = asyncio.create_task(streamed(notifier, last=last_one, after=begun))
        for _ in range(4):
            await growing.grow(*EVERYWHERE)
            await growing.told()
        async with asyncio.timeout(WAIT_S):
            await following
        async with asyncio.timeout(WAIT_S):
            while await notifier.metric(f'{CUT}{{why="stalled"}}') < 2:
                await asyncio.sleep(0.05)
        last = [one for one in messages_in(await waking.read_to_the_end()) if one][-1]
        assert last["event"] == "lagging"
        async with asyncio.timeout(WAIT_S):
            while await notifier.metric("cacah_notifier_clients "):
                await asyncio.sleep(0.05)
        assert b"lagging" not in await dead.read_to_the_end()
    feed = await growing.told()
    assert begun < int(last["id"]) < len(feed)
    told = orjson.loads(last["data"])
    assert (told["sequence"], told["last"]) == (int(last["id"]), len(feed))
    assert (
        await streamed(notifier, last=len(feed), after=int(last["id"])) == feed[int(last["id"]) :]
    )


async def test_a_client_that_reads_slower_than_changes_come_is_cut_once_it_is_far_behind(
    notifier: NotifierProcess, growing: Growing
) -> None:
    begun = len(await growing.told())
    behind = f'{CUT}{{why="behind"}}'
    cut_before = await notifier.metric(behind)
    with RawClient(notifier, begun, receive_bytes=32_768) as slow:
        slow.pause_s = 0.05
        reading = asyncio.create_task(slow.read_to_the_end(most=8_192))
        try:
            async with asyncio.timeout(WAIT_S / 2):
                while await notifier.metric(behind) == cut_before and not reading.done():
                    await growing.grow(*EVERYWHERE)
                    await asyncio.sleep(0.1)
            # What waits for it in the sockets is megabytes.
            slow.pause_s = 0.0
            received = [one for one in messages_in(await reading) if one]
        finally:
            reading.cancel()
    feed = await growing.told()
    *changes, last = [one for one in received if "event" in one]
    assert [int(one["id"]) for one in changes] == list(range(begun + 1, begun + 1 + len(changes)))
    assert last["event"] == "lagging"
    assert last["id"] == changes[-1]["id"]
    assert last["retry"] == "10000"
    rest = await streamed(notifier, last=len(feed), after=int(last["id"]))
    assert [orjson.loads(one["data"]) for one in changes] + rest == feed[begun:]
