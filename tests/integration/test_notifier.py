"""The notifier on the real Kafka and PostgreSQL: every change once, in order, whatever dies."""

import asyncio
import random
import secrets
import shutil
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import orjson
import pytest
import pytest_asyncio

from services.notifier.domain.gathering import FIRST_WINDOW_S, LONGEST_WINDOW_S
from shared.access import Role, Tokens
from shared.database import create_engine
from shared.regions import villages_in
from tests.support.deaf_notifier import NOTICED_AFTER_S
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
from tests.support.parts import Parts
from tests.support.proxy import proxy_to
from tests.support.village_records import COUNTS, counts, written

VILLAGES = [village.code for village in villages_in("15.01")[:7]]
VILLAGE = VILLAGES[0]

# Of 50, 100 and 200 ms, before the longest.
SHORTER_WINDOWS = 3

# 288 changes of about 900 bytes a round; the kernel's buffers take up to 4 MB.
ROUNDS_TO_FILL_A_SOCKET = 30

MakeNotifier = Callable[..., NotifierProcess]


@pytest.fixture
def make_notifier(parts: Parts, database: str, topics: None) -> MakeNotifier:
    """Processes of one group on one database."""
    group = f"notifier-{secrets.token_hex(4)}"

    def make(**given: Any) -> NotifierProcess:
        defaults = {
            "database_url": parts.url(database),
            "bootstrap": parts.kafka_bootstrap,
            "group": group,
        }
        return NotifierProcess(**(defaults | given))

    return make


@pytest_asyncio.fixture
async def notifier(make_notifier: MakeNotifier) -> AsyncIterator[NotifierProcess]:
    async with running(make_notifier()) as ready:
        yield ready


@pytest_asyncio.fixture
async def topic(parts: Parts, topics: None) -> AsyncIterator[TopicWriter]:
    async with topic_writer(parts.kafka_bootstrap) as writer:
        yield writer


def growth(village: str, first: int, last: int) -> list[bytes]:
    """Records of a village that gains one resident with each revision."""
    return [
        written(
            revision=revision,
            position=revision,
            village=village,
            residents=revision,
            before=revision - 1,
        )
        for revision in range(first, last + 1)
    ]


def assert_exact(feed: list[dict[str, Any]]) -> None:
    """Sequences 1, 2, 3, …; the `after` of each change the `before` of the village's next."""
    assert [change["sequence"] for change in feed] == list(range(1, len(feed) + 1))
    stands: dict[str, dict[str, int]] = {}
    for change in feed:
        assert change["before"] == stands.get(change["village"], counts())
        assert change["after"] != change["before"]
        stands[change["village"]] = change["after"]


async def test_a_record_becomes_a_change_as_the_contract_words_it(
    notifier: NotifierProcess, topic: TopicWriter
) -> None:
    await topic.write([written(village=VILLAGE, residents=3, position=41)])
    (change,) = await notifier.until_told({VILLAGE: 3})
    assert change == {
        "sequence": 1,
        "election": ELECTION,
        "village": VILLAGE,
        "district": VILLAGE[:8],
        "position": 41,
        "time": "2024-08-20T01:00:00.123456Z",
        "stage": "dps",
        "before": counts(),
        "after": counts(residents=3),
    }
    assert list(change["after"]) == list(COUNTS)


async def test_records_delivered_twice_are_told_once(
    notifier: NotifierProcess, topic: TopicWriter
) -> None:
    for village in VILLAGES:
        await topic.write(growth(village, 1, 20) * 2)
    await topic.write(growth(VILLAGE, 15, 25))
    feed = await notifier.until_told(dict.fromkeys(VILLAGES, 20) | {VILLAGE: 25})
    assert_exact(feed)
    assert await notifier.metric("cacah_notifier_mended_total") == 0


@pytest.mark.parametrize("place", ["before-commit", "before-ack"])
async def test_a_notifier_killed_around_the_commit_neither_repeats_nor_skips(
    make_notifier: MakeNotifier, topic: TopicWriter, place: str
) -> None:
    dying = make_notifier(module="tests.support.dying_notifier")
    dying.environment["CACAH_TEST_DIES"] = f"{place}:2"
    await dying.start()
    for revision in range(1, 400):
        await topic.write(growth(VILLAGE, revision, revision))
        if dying.process is not None and dying.process.returncode is not None:
            break
        await asyncio.sleep(0.02)
    assert await dying.ended() == -signal.SIGKILL
    await dying.close()
    async with running(make_notifier()) as risen:
        await topic.write(growth(VILLAGE, revision + 1, revision + 5))
        assert_exact(await risen.until_told({VILLAGE: revision + 5}))
        repeats = await risen.metric("cacah_notifier_repeats_total")
        assert (repeats > 0) == (place == "before-ack")


async def test_a_consumer_that_stands_still_is_made_anew_and_one_that_waits_is_not(
    make_notifier: MakeNotifier, topic: TopicWriter, tmp_path: Path
) -> None:
    said = tmp_path / "said"
    async with running(make_notifier(module="tests.support.deaf_notifier", said=said)) as deaf:
        for village in VILLAGES:
            await topic.write(growth(village, 1, 3))
            await asyncio.sleep(0.1)
        assert_exact(await deaf.until_told(dict.fromkeys(VILLAGES, 3)))
        # With nothing more to read it stands where it should.
        await asyncio.sleep(2 * NOTICED_AFTER_S)
    assert said.read_text().count("the consumer stands still and is made anew") == 1


async def test_a_notifier_that_falls_silent_with_the_feed_locked_holds_another_up_for_seconds(
    make_notifier: MakeNotifier, topic: TopicWriter
) -> None:
    silent = make_notifier(module="tests.support.dying_notifier")
    silent.environment["CACAH_TEST_DIES"] = "before-commit:2:SIGSTOP"
    # Webhooks commit too; without them it is the numbering that stops.
    silent.environment["CACAH_WEBHOOK_KEY"] = ""
    await silent.start()
    assert silent.process is not None
    try:
        revision = 0
        async with asyncio.timeout(WAIT_S):
            while not is_stopped(silent.process.pid):
                revision += 1
                await topic.write(growth(VILLAGE, revision, revision))
                await asyncio.sleep(0.05)
        async with running(make_notifier()) as other:
            feed = await other.until_told({VILLAGE: revision})
            silent.process.send_signal(signal.SIGCONT)
            await silent.until_waiting_for()
            await topic.write(growth(VILLAGE, revision + 1, revision + 5))
            assert (await other.until_told({VILLAGE: revision + 5}))[: len(feed)] == feed
            assert_exact(await other.until_told({VILLAGE: revision + 5}))
    finally:
        await silent.close()


def is_stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


async def test_a_notifier_killed_again_and_again_under_load_tells_everything_once(
    make_notifier: MakeNotifier, topic: TopicWriter
) -> None:
    async def load() -> None:
        for revision in range(1, 301):
            await topic.write(
                record for village in VILLAGES for record in growth(village, revision, revision)
            )
            await asyncio.sleep(0.05)

    loading = asyncio.create_task(load())
    while not loading.done():
        victim = make_notifier()
        await victim.start()
        await victim.until_waiting_for()
        await asyncio.sleep(random.uniform(0, 2))
        await victim.signal(signal.SIGKILL)
        await victim.close()
    await loading
    async with running(make_notifier()) as risen:
        assert_exact(await risen.until_told(dict.fromkeys(VILLAGES, 300)))


async def test_a_burst_in_one_village_becomes_few_changes_and_holds_up_no_other(
    notifier: NotifierProcess, topic: TopicWriter
) -> None:
    waits: list[float] = []
    written_at: list[float] = []
    for revision in range(1, 201):
        await topic.write(growth(VILLAGE, revision, revision))
        written_at.append(time.monotonic())
        await asyncio.sleep(0.01)
        if revision % 40 == 0:
            quiet, began = VILLAGES[revision // 40], time.monotonic()
            after = (await notifier.changes(limit=1))["last"]
            await topic.write(growth(quiet, 1, 1))
            while all(
                c["village"] != quiet for c in (await notifier.changes(after=after))["changes"]
            ):
                await asyncio.sleep(0.005)
            waits.append(time.monotonic() - began)
    feed = await notifier.until_told({VILLAGE: 200} | dict.fromkeys(VILLAGES[1:6], 1))
    assert_exact(feed)
    windows = (written_at[-1] - written_at[0]) / LONGEST_WINDOW_S
    # After a pause they begin short again; we pause at each quiet village, and a machine may more.
    pauses = sum(after - before > FIRST_WINDOW_S for before, after in pairwise(written_at))
    most = windows + 10 + SHORTER_WINDOWS * max(0, pauses - len(waits))
    # One for each of the longest windows, and a few while they grew.
    assert len([change for change in feed if change["village"] == VILLAGE]) <= most
    assert sorted(waits)[2] < 0.25


async def test_two_notifiers_share_the_work_and_a_client_of_either_sees_all(
    make_notifier: MakeNotifier, topic: TopicWriter
) -> None:
    async with running(make_notifier()) as one:
        other = make_notifier()
        async with running(other):
            await one.until_waiting_for()
            for revision in range(1, 51):
                await topic.write(
                    record for village in VILLAGES for record in growth(village, revision, revision)
                )
            feed = await one.until_told(dict.fromkeys(VILLAGES, 50))
            assert_exact(feed)
            assert await streamed(one, last=len(feed)) == feed
            assert await streamed(other, last=len(feed)) == feed
            shares = [await n.metric("cacah_notifier_changes_total") for n in (one, other)]
            assert sum(shares) == len(feed)
            assert min(shares) > 0
            await other.signal(signal.SIGKILL)
        await topic.write(record for village in VILLAGES for record in growth(village, 51, 60))
        assert_exact(await one.until_told(dict.fromkeys(VILLAGES, 60)))


async def test_changes_numbered_by_another_process_reach_a_client_at_once(
    make_notifier: MakeNotifier, topic: TopicWriter, parts: Parts
) -> None:
    async with (
        proxy_to("127.0.0.1", 9) as nowhere,
        running(make_notifier()),
    ):
        reader = make_notifier(bootstrap=f"127.0.0.1:{nowhere.port}")
        await reader.start()
        try:
            await reader.until_waiting_for("kafka")
            await topic.write(growth(VILLAGE, 1, 1))
            assert len(await streamed(reader, last=1)) == 1
            waits = []
            for revision in range(2, 12):
                streaming = asyncio.create_task(streamed(reader, last=revision))
                await asyncio.sleep(0.1)
                began = time.monotonic()
                await topic.write(growth(VILLAGE, revision, revision))
                await streaming
                waits.append(time.monotonic() - began)
            assert sorted(waits)[5] < 0.3, "the poll of a second was what brought them"
        finally:
            await reader.close()


async def test_lost_revisions_are_mended_from_what_kpu_was_told(
    notifier: NotifierProcess, topic: TopicWriter
) -> None:
    await topic.write(growth(VILLAGE, 1, 3))
    await notifier.until_told({VILLAGE: 3})
    await topic.write(growth(VILLAGE, 7, 8))
    assert_exact(await notifier.until_told({VILLAGE: 8}))
    assert await notifier.metric('cacah_notifier_mended_total{flaw="revisions-lost"}') == 1


async def test_an_unreadable_record_is_kept_once_and_harms_no_other(
    make_notifier: MakeNotifier, topic: TopicWriter, parts: Parts, database: str
) -> None:
    async with running(make_notifier()) as notifier:
        await topic.write([b"\xff not a record", *growth(VILLAGE, 1, 1)])
        await topic.write(growth(VILLAGE, 2, 2), headers=[("content-type", b"\xff\xfe")])
        await topic.write(growth(VILLAGE, 3, 3), headers=[("content-type", b"application/json")])
        assert_exact(await notifier.until_told({VILLAGE: 3}))
        assert await notifier.metric("cacah_notifier_unreadable_total") == 1
    async with running(make_notifier(group="a-group-that-begins-again")) as again:
        await topic.write(growth(VILLAGE, 4, 4))
        await again.until_told({VILLAGE: 4})
    connection = await asyncpg.connect(parts.dsn(database))
    kept = await connection.fetch("SELECT value, why FROM notifier.unreadable")
    await connection.close()
    assert [row["value"] for row in kept] == [b"\xff not a record"]
    assert "json_invalid" in kept[0]["why"]


async def test_a_client_that_resumes_in_the_middle_has_exactly_the_whole_feed(
    notifier: NotifierProcess, topic: TopicWriter
) -> None:
    for revision in range(1, 41):
        await topic.write(growth(VILLAGE, revision, revision))
    feed = await notifier.until_told({VILLAGE: 40})
    end = len(feed)
    middle = end // 2
    head = await streamed(notifier, last=middle)
    by_id = await streamed(notifier, last=end, after=0, **{"Last-Event-ID": str(middle)})
    by_query = await streamed(notifier, last=end, after=middle)
    assert head + by_id == head + by_query == feed


async def test_a_page_says_how_far_the_feed_goes(
    notifier: NotifierProcess, topic: TopicWriter
) -> None:
    for village in VILLAGES:
        await topic.write(growth(village, 1, 1))
    feed = await notifier.until_told(dict.fromkeys(VILLAGES, 1))
    page = await notifier.changes(after=2, limit=3)
    assert page == {"changes": feed[2:5], "last": len(VILLAGES)}
    assert await notifier.changes(after=len(VILLAGES)) == {"changes": [], "last": len(VILLAGES)}


async def test_a_snapshot_and_the_changes_after_it_are_the_whole(
    notifier: NotifierProcess, topic: TopicWriter
) -> None:
    await topic.write(growth(VILLAGE, 1, 9))
    await notifier.until_told({VILLAGE: 9})
    snapshot = (await notifier.client.get(f"/v1/elections/{ELECTION}/snapshot")).json()
    assert [village["village"] for village in snapshot["villages"]] == [
        village.code for village in villages_in("15.01")
    ]
    first = snapshot["villages"][0]
    assert list(first) == ["village", "name", "district", *COUNTS]
    assert first == {"village": VILLAGE, "name": first["name"], "district": VILLAGE[:8]} | counts(
        residents=9
    )
    assert snapshot["position"] == 9
    assert await notifier.changes(after=snapshot["sequence"]) == {
        "changes": [],
        "last": snapshot["sequence"],
    }


async def test_the_first_bytes_of_a_quiet_stream_come_at_once(notifier: NotifierProcess) -> None:
    url = f"/v1/elections/{ELECTION}/stream"
    began = time.monotonic()
    async with notifier.client.stream("GET", url) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["cache-control"] == "no-store, no-transform"
        assert answer.headers["x-accel-buffering"] == "no"
        async for text in answer.aiter_text():
            assert text.startswith("retry: 2000\n")
            break
    # Sooner than the first heartbeat.
    assert time.monotonic() - began < 8


async def test_a_quiet_stream_has_a_comment_at_least_every_fifteen_seconds(
    notifier: NotifierProcess,
) -> None:
    began = time.monotonic()
    async with notifier.client.stream("GET", f"/v1/elections/{ELECTION}/stream") as answer:
        async for line in answer.aiter_lines():
            if line.startswith(": heartbeat"):
                break
    assert time.monotonic() - began < 15


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
async def test_curl_reads_the_stream_and_resumes_it(
    notifier: NotifierProcess, topic: TopicWriter
) -> None:
    for village in VILLAGES:
        await topic.write(growth(village, 1, 1))
    feed = await notifier.until_told(dict.fromkeys(VILLAGES, 1))

    async def curl(*options: str) -> list[Any]:
        process = await asyncio.create_subprocess_exec(
            *("curl", "--silent", "--no-buffer", "--max-time", "5"),
            *("--header", f"Authorization: {AUTHORIZED['Authorization']}"),
            *options,
            f"{notifier.base}/v1/elections/{ELECTION}/stream",
            stdout=asyncio.subprocess.PIPE,
        )
        output, _ = await process.communicate()
        lines = output.decode().splitlines()
        ids = [int(line.removeprefix("id: ")) for line in lines if line.startswith("id: ")]
        data = [orjson.loads(line[6:]) for line in lines if line.startswith("data: ")]
        assert ids == [change["sequence"] for change in data]
        return data

    whole, rest = await asyncio.gather(curl(), curl("--header", "Last-Event-ID: 3"))
    assert whole == feed
    assert rest == feed[3:]


async def test_a_client_that_does_not_read_holds_nobody_up(
    notifier: NotifierProcess, topic: TopicWriter
) -> None:
    with socket.socket() as dead:
        dead.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        dead.connect(("127.0.0.1", notifier.port))
        request = f"GET /v1/elections/{ELECTION}/stream HTTP/1.1\r\nHost: x\r\n"
        dead.sendall(f"{request}Authorization: {AUTHORIZED['Authorization']}\r\n\r\n".encode())
        everywhere = [village.code for village in villages_in("15.01")]
        end = 0
        for revision in range(1, ROUNDS_TO_FILL_A_SOCKET + 1):
            after, end = end, end + len(everywhere)
            following = asyncio.create_task(streamed(notifier, last=end, after=after))
            await topic.write(
                record for village in everywhere for record in growth(village, revision, revision)
            )
            await following
        began = time.monotonic()
        assert await notifier.signal(signal.SIGTERM) == -signal.SIGTERM
        assert time.monotonic() - began < 8


async def test_a_stop_ends_streams_cleanly_within_seconds_and_says_how_far_they_came(
    notifier: NotifierProcess, topic: TopicWriter
) -> None:
    url = f"/v1/elections/{ELECTION}/stream?village={VILLAGES[1]}"
    async with notifier.client.stream("GET", url) as answer:
        lines = answer.aiter_lines()
        assert await anext(lines) == "retry: 2000"
        await topic.write(growth(VILLAGE, 1, 1))
        await streamed(notifier, last=1)
        began = time.monotonic()
        stopping = asyncio.create_task(notifier.signal(signal.SIGTERM))
        rest = [line async for line in lines if line.startswith(("id", "data"))]
        assert rest == ["id: 1"]
    assert await stopping == -signal.SIGTERM
    assert time.monotonic() - began < 8


async def test_a_stopped_notifier_goes_on_where_it_was(
    make_notifier: MakeNotifier, topic: TopicWriter
) -> None:
    async with running(make_notifier()) as first:
        await topic.write(growth(VILLAGE, 1, 5))
        await first.until_told({VILLAGE: 5})
        await first.signal(signal.SIGTERM)
    await topic.write(growth(VILLAGE, 6, 7))
    async with running(make_notifier()) as second:
        feed = await second.until_told({VILLAGE: 7})
        assert_exact(feed)
        assert await streamed(second, last=len(feed)) == feed
        assert await second.metric("cacah_notifier_repeats_total") == 0


async def test_while_the_database_is_away_nothing_is_skipped_and_readyz_says_so(
    make_notifier: MakeNotifier, topic: TopicWriter, parts: Parts, database: str
) -> None:
    address = httpx.URL(parts.dsn(database))
    async with proxy_to(address.host, address.port or 5432) as door:
        through = str(address.copy_with(port=door.port)).replace("://", "+asyncpg://", 1)
        async with running(make_notifier(database_url=through)) as notifier:
            await topic.write(growth(VILLAGE, 1, 3))
            begun = len(await notifier.until_told({VILLAGE: 3}))
            streaming = asyncio.create_task(streamed(notifier, last=begun + 1))
            await until_clients(notifier, 1)
            await door.shut()
            await topic.write(growth(VILLAGE, 4, 9))
            await notifier.until_waiting_for("database")
            refused = await notifier.client.get(f"/v1/elections/{ELECTION}/changes")
            assert refused.status_code == 503
            assert refused.headers["retry-after"] == "2"
            await door.open()
            feed = await notifier.until_told({VILLAGE: 9})
            assert_exact(feed)
            await notifier.until_waiting_for()
            assert await streaming == feed[: begun + 1]


async def until_clients(notifier: NotifierProcess, connected: int) -> None:
    async with asyncio.timeout(WAIT_S):
        while await notifier.metric("cacah_notifier_clients ") != connected:
            await asyncio.sleep(0.05)


async def test_a_notifier_started_before_its_servers_waits_for_them(
    make_notifier: MakeNotifier, topic: TopicWriter, parts: Parts, database: str
) -> None:
    address = httpx.URL(parts.dsn(database))
    host, _, port = parts.kafka_bootstrap.rpartition("://")[2].rpartition(":")
    async with (
        proxy_to(address.host, address.port or 5432) as postgres,
        proxy_to(host, int(port)) as kafka,
    ):
        await postgres.shut()
        await kafka.shut()
        through = str(address.copy_with(port=postgres.port)).replace("://", "+asyncpg://", 1)
        notifier = make_notifier(database_url=through, bootstrap=f"127.0.0.1:{kafka.port}")
        await notifier.start()
        try:
            await notifier.until_waiting_for("database", "kafka")
            await kafka.open()
            await notifier.until_waiting_for("database")
            await topic.write(growth(VILLAGE, 1, 1))
            await postgres.open()
            await notifier.until_told({VILLAGE: 1})
            await notifier.until_waiting_for()
        finally:
            await notifier.close()


WRONG_QUESTIONS = [
    ("pilkada-1955/changes", "not-found", None),
    ("pilkada-1955/stream", "not-found", None),
    ("pilkada-1955/snapshot", "not-found", None),
    ("a%00b/changes", "not-found", None),
    (f"{ELECTION}/changes?after=1", "invalid", "after"),
    (f"{ELECTION}/changes?after=-1", "invalid", "after"),
    (f"{ELECTION}/changes?limit=0", "invalid", "limit"),
    (f"{ELECTION}/changes?limit=10001", "invalid", "limit"),
    (f"{ELECTION}/stream?after=1", "invalid", "after"),
    (f"{ELECTION}/stream?after=ten", "invalid", "after"),
]


async def test_a_wrong_question_is_a_problem_that_names_the_member(
    notifier: NotifierProcess,
) -> None:
    for path, kind, field in WRONG_QUESTIONS:
        answer = await notifier.client.get(f"/v1/elections/{path}")
        problem = answer.json()
        assert answer.headers["content-type"] == "application/problem+json"
        assert problem["type"].rpartition("/")[2] == kind, path
        assert answer.status_code == problem["status"]
        named = [error["field"] for error in problem.get("errors", [])]
        assert named == ([field] if field else []), path


async def test_the_id_of_the_last_event_wins_over_the_query_and_is_named_when_wrong(
    notifier: NotifierProcess,
) -> None:
    url = f"/v1/elections/{ELECTION}/stream?after=0"
    for wrong in ("1", "-1", "x"):
        answer = await notifier.client.get(url, headers={"Last-Event-ID": wrong})
        assert answer.status_code == 400
        assert answer.json()["errors"][0]["field"] == "Last-Event-ID"


async def test_kpu_reads_the_feed_and_a_station_does_not(
    notifier: NotifierProcess, parts: Parts, database: str
) -> None:
    engine = create_engine(parts.url(database))
    tokens = Tokens(engine, None)
    kpu, station = await tokens.create(Role.KPU, "kpu"), await tokens.create(Role.STATION, "S1")
    await engine.dispose()
    for path in ("", f"/{ELECTION}/changes", f"/{ELECTION}/stream", f"/{ELECTION}/snapshot"):
        statuses = [
            await status_of(notifier, path, f"Bearer {token}") for token in (kpu, station, "no")
        ]
        assert statuses == [200, 403, 401], path


async def status_of(notifier: NotifierProcess, path: str, authorization: str) -> int:
    url = f"/v1/elections{path}"
    headers = {"Authorization": authorization}
    async with notifier.client.stream("GET", url, headers=headers) as answer:
        return answer.status_code


async def test_the_elections_with_a_feed_are_listed_with_their_ends(
    notifier: NotifierProcess, topic: TopicWriter
) -> None:
    await topic.write([written(election="pilgub-2024", village=VILLAGE, position=5)])
    await topic.write(growth(VILLAGE, 1, 1))
    await notifier.until_told({VILLAGE: 1})
    async with asyncio.timeout(WAIT_S):
        while len(listed := (await notifier.client.get("/v1/elections")).json()["elections"]) < 2:
            await asyncio.sleep(0.05)
    assert listed == [
        {"id": "pilgub-2024", "area": None, "sequence": 1, "position": 5},
        {"id": ELECTION, "area": "15.01", "sequence": 1, "position": 1},
    ]
