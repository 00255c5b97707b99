"""`cacah follow` as a person types it, on the real notifier: each change exactly once."""

import asyncio
import contextlib
import json
import os
import random
import secrets
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import asyncpg
import pytest
import pytest_asyncio
from standardwebhooks.webhooks import Webhook

from services.notifier.signing import Scheme, new_key
from shared.regions import villages_in
from tests.support import voter_records
from tests.support.follower_process import (
    CommandProcess,
    flat,
    is_whole,
    rows_of_csv,
    rows_of_json_lines,
    rows_of_postgres,
    rows_of_sqlite,
    until,
)
from tests.support.notifier_process import (
    ELECTION,
    OPERATOR_TOKEN,
    NotifierProcess,
    TopicWriter,
    running,
    topic_writer,
)
from tests.support.parts import Parts
from tests.support.proxy import proxy_to
from tests.support.village_records import written
from tests.support.webhook_receiver import answering, receiving

VILLAGES = [village.code for village in villages_in("15.01")[:12]]
VILLAGE, OTHER = VILLAGES[:2]
EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
LAST = 45
VOTERS = [UUID(int=number) for number in range(1, 40)]

Followed = Callable[..., CommandProcess]


@pytest.fixture
def notifier_process(parts: Parts, database: str, topics: None) -> NotifierProcess:
    return NotifierProcess(parts.url(database), parts.kafka_bootstrap, secrets.token_hex(4))


@pytest_asyncio.fixture
async def notifier(notifier_process: NotifierProcess) -> AsyncIterator[NotifierProcess]:
    async with running(notifier_process) as ready:
        yield ready


@pytest_asyncio.fixture
async def topic(parts: Parts, topics: None) -> AsyncIterator[TopicWriter]:
    async with topic_writer(parts.kafka_bootstrap) as writer:
        yield writer


@pytest_asyncio.fixture
async def follow(notifier_process: NotifierProcess, tmp_path: Path) -> AsyncIterator[Followed]:
    """Makes followers, and ends what is left of them."""
    made: list[CommandProcess] = []

    def make(*words: str, **environment: str) -> CommandProcess:
        said = tmp_path / f"follower-{len(made)}.err"
        words = ("follow", ELECTION, *words)
        made.append(CommandProcess(notifier_process.base, OPERATOR_TOKEN, *words, said=said))
        made[-1].environment |= environment
        return made[-1]

    yield make
    for follower in made:
        await follower.close()


def growth(village: str, first: int, last: int) -> list[bytes]:
    return [
        written(village=village, revision=n, position=n, residents=n, before=n - 1)
        for n in range(first, last + 1)
    ]


async def grow(topic: TopicWriter, first: int, last: int, pause_s: float = 0.0) -> None:
    """All villages and voters, one change after the other."""
    for n in range(first, last + 1):
        await topic.write([growth(village, n, n)[0] for village in VILLAGES])
        await topic.write_persons(
            [
                voter_records.written(voter, VILLAGES[(n + place) % len(VILLAGES)], place=n)
                for place, voter in enumerate(VOTERS)
            ]
        )
        await asyncio.sleep(pause_s)


async def told(notifier: NotifierProcess, residents: int) -> list[dict[str, Any]]:
    return await notifier.until_told(dict.fromkeys(VILLAGES, residents))


async def voters_told(notifier: NotifierProcess, changes: int) -> list[dict[str, Any]]:
    """The voters' feed, once it has told so many changes: it is told apart from the villages'."""
    async with asyncio.timeout(60):
        while True:
            answer = await notifier.client.get(
                f"/v1/elections/{ELECTION}/voters/changes?limit=10000"
            )
            found: list[dict[str, Any]] = answer.json()["changes"]
            if len(found) >= changes:
                return found
            await asyncio.sleep(0.1)


async def until_whole(rows: Callable[[], Any], last: int, follower: CommandProcess) -> None:
    """Wait until a target has everything; it never has anything else."""

    async def whole() -> bool:
        found = rows()
        found = await found if asyncio.iscoroutine(found) else found
        assert is_whole(found, len(found)), [row["sequence"] for row in found]
        return len(found) == last

    await until(whole, f"it never had {last} changes", follower.said)


async def test_every_target_has_each_change_once_whoever_is_killed(
    notifier: NotifierProcess, topic: TopicWriter, follow: Followed, parts: Parts, tmp_path: Path
) -> None:
    chance = random.Random(20240922)
    other = f"kpu_{secrets.token_hex(4)}"
    await _execute(parts.admin_dsn, f"CREATE DATABASE {other}")
    csv_file, sqlite_file = tmp_path / "voters.csv", tmp_path / "villages.sqlite"
    followers = [
        follow(CACAH_FOLLOW_TO=parts.dsn(other)),
        follow("--to", f"sqlite:///{sqlite_file}"),
        follow("--voters", "--to", str(csv_file)),
    ]
    over = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for follower in followers:
            await follower.start()
            group.create_task(follower.die_until(over, chance, 0.3, 2.0))
        writing = group.create_task(grow(topic, 1, LAST, pause_s=0.15))
        await asyncio.sleep(chance.uniform(2.0, 4.0))
        await notifier.signal(signal.SIGKILL)
        await notifier.start()
        await writing
        over.set()
    await notifier.until_waiting_for()
    feed = await told(notifier, LAST)
    dsn, last = parts.dsn(other), len(feed)
    changes = "cacah_village_changes"
    await until_whole(lambda: rows_of_postgres(dsn, changes), last, followers[0])
    await until_whole(lambda: rows_of_sqlite(sqlite_file, changes), last, followers[1])
    voters_feed = await voters_told(notifier, LAST * len(VOTERS))
    await until_whole(lambda: rows_of_csv(csv_file), len(voters_feed), followers[2])
    for follower in followers:
        await follower.until_following()
        assert await follower.end() == 0, follower.said()

    assert rows_of_sqlite(sqlite_file, changes) == [flat(change) for change in feed]
    assert rows_of_csv(csv_file) == voters_feed
    in_postgres = await rows_of_postgres(dsn, changes)
    assert [row | {"time": ""} for row in in_postgres] == [flat(c) | {"time": ""} for c in feed]
    stands = await rows_of_postgres(dsn, "cacah_villages")
    assert stands == rows_of_sqlite(sqlite_file, "cacah_villages")
    assert {row["village"]: row["residents"] for row in stands} == dict.fromkeys(VILLAGES, LAST)
    await _execute(parts.admin_dsn, f"DROP DATABASE {other} WITH (FORCE)")


async def test_what_is_printed_goes_on_after_its_cursor(
    notifier: NotifierProcess, topic: TopicWriter, follow: Followed, tmp_path: Path
) -> None:
    cursor = tmp_path / "cursor"
    await grow(topic, 1, 2)
    feed = await told(notifier, 2)
    follower = follow("--cursor", str(cursor))
    await follower.start()
    await follower.until_said("following the villages of pilkada-2024 from the first change")
    await until(lambda: len(lines_of(follower)) == len(feed), "not all is printed", follower.said)
    assert await follower.end(signal.SIGINT) == 0
    assert f"stopped after change {len(feed)}" in follower.said()
    kept = json.loads(cursor.read_text())
    assert (kept["election"], kept["sequence"]) == (ELECTION, len(feed))

    again = follow("--cursor", str(cursor))
    await again.start()
    await again.until_said(f"after change {len(feed)}")
    await topic.write(growth(VILLAGE, 3, 3))
    await until(lambda: len(lines_of(again)) == 1, "the next one is not printed", again.said)
    (line,) = lines_of(again)
    assert line.startswith(f"{len(feed) + 1} {VILLAGE} ")
    assert line.endswith(": residents 3 (+1)")


def lines_of(follower: CommandProcess) -> list[str]:
    return follower.printed.read_text().splitlines()


async def test_a_snapshot_begins_a_target_and_a_feed_that_ends_before_it_is_refused(
    notifier: NotifierProcess, topic: TopicWriter, follow: Followed, tmp_path: Path
) -> None:
    kept, lines = tmp_path / "kpu.sqlite", tmp_path / "changes.jsonl"
    await grow(topic, 1, 3)
    feed = await told(notifier, 3)
    followers = [
        follow("--snapshot", "--to", str(target)) for target in (f"sqlite:///{kept}", lines)
    ]
    for follower in followers:
        await follower.start()
    for follower in followers:
        await follower.until_said(f"after change {len(feed)}")
    await topic.write(growth(OTHER, 4, 4))

    def arrived() -> bool:
        return (
            bool(rows_of_sqlite(kept, "cacah_village_changes"))
            and len(rows_of_json_lines(lines)) > snapshot_rows
        )

    snapshot_rows = len(rows_of_json_lines(lines))
    await until(arrived, "the change did not arrive", followers[0].said)
    for follower in followers:
        assert await follower.end() == 0
    (change,) = rows_of_sqlite(kept, "cacah_village_changes")
    assert change["sequence"] == len(feed) + 1
    stands = {r["village"]: r["residents"] for r in rows_of_sqlite(kept, "cacah_villages")}
    assert {v: n for v, n in stands.items() if n} == dict.fromkeys(VILLAGES, 3) | {OTHER: 4}
    *snapshot, last = rows_of_json_lines(lines)
    assert {row["sequence"] for row in snapshot} == {len(feed)}
    assert (last["sequence"], last["after"]["residents"]) == (len(feed) + 1, 4)

    with contextlib.closing(sqlite3.connect(kept)) as database, database:
        database.execute("UPDATE cacah_followed SET sequence = sequence + 1000")
    beyond = follow("--to", f"sqlite:///{kept}")
    await beyond.start()
    assert await beyond.ended() == 1
    assert "beyond the end of this feed" in beyond.said()
    assert "Then start again from a snapshot" in beyond.said()


async def test_postgres_that_goes_away_is_waited_for(
    notifier: NotifierProcess, topic: TopicWriter, follow: Followed, parts: Parts, database: str
) -> None:
    server = urlsplit(parts.admin_dsn)
    assert server.hostname is not None
    async with proxy_to(server.hostname, server.port or 5432) as door:
        account = server.netloc.rpartition("@")[0]
        behind = server._replace(netloc=f"{account}@127.0.0.1:{door.port}", path=f"/{database}")
        follower = follow(CACAH_FOLLOW_TO=behind.geturl())
        await follower.start()
        await follower.until_said("from the first change")
        await door.shut()
        await grow(topic, 1, 2)
        await follower.until_said("does not answer")
        await door.open()
        dsn, feed = parts.dsn(database), await told(notifier, 2)
        rows = partial(rows_of_postgres, dsn, "cacah_village_changes")
        await until_whole(rows, len(feed), follower)
        second = follow(CACAH_FOLLOW_TO=dsn)
        await second.start()
        await second.until_said(f"after change {len(feed)}")
        await topic.write(growth(VILLAGE, 3, 3))
        ended = asyncio.create_task(first_of(follower, second))
        loser = await ended
        assert await loser.ended() == 2
        assert "another `cacah follow` writes to postgresql://" in loser.said()
        await until_whole(rows, len(feed) + 1, follower)


async def first_of(*followers: CommandProcess) -> CommandProcess:
    """The one that ends first."""
    tasks = {asyncio.create_task(follower.ended()): follower for follower in followers}
    done, rest = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in rest:
        task.cancel()
    return tasks[done.pop()]


async def test_listen_forwards_to_a_receiver_under_development(
    notifier: NotifierProcess, topic: TopicWriter, notifier_process: NotifierProcess, tmp_path: Path
) -> None:
    await grow(topic, 1, 1)
    await told(notifier, 1)
    secret = new_key(Scheme.V1).secret()
    async with receiving(answering(500, body=b"not yet")) as receiver:
        words = ("listen", "--forward", receiver.url, "--after", "0")
        said = tmp_path / "listen.err"
        listener = CommandProcess(notifier_process.base, OPERATOR_TOKEN, *words, said=said)
        listener.environment["CACAH_LISTEN_SECRET"] = secret
        await listener.start()
        try:
            # The second request for a change comes after the answer to the first.
            await until(
                lambda: [r.change["village"] for r in receiver.received].count(VILLAGE) > 1,
                "nothing is tried again",
                listener.said,
            )
            await topic.write(growth(VILLAGE, 2, 5))
            receiver.behave = answering(204)
            feed = (await notifier.until_told(dict.fromkeys(VILLAGES, 1) | {VILLAGE: 5}))[:]
            await until(
                lambda: set(receiver.sequences()) == set(range(1, len(feed) + 1)),
                "not all is delivered",
                listener.said,
            )
            assert await listener.end(signal.SIGINT) == 0
        finally:
            await listener.close()
    order = [received.change["sequence"] for received in receiver.received]
    of_village = [c["sequence"] for c in feed if c["village"] == VILLAGE]
    assert receiver.sequences(VILLAGE) == of_village
    assert order.count(of_village[0]) > 1
    assert order.count(of_village[-1]) == 1
    for received in receiver.received:
        event = Webhook(secret).verify(received.body, received.headers)
        assert event["type"] == "voter.change"
        assert event["data"] == feed[event["data"]["sequence"] - 1]
    printed = listener.printed.read_text()
    assert secret in printed
    assert "500" in printed
    assert "attempt 1, again in" in printed
    assert "204" in printed


async def test_the_examples_keep_each_change_once(
    notifier: NotifierProcess, topic: TopicWriter, tmp_path: Path
) -> None:
    pulled, streamed = tmp_path / "pulled.sqlite", tmp_path / "streamed.sqlite"
    listening = await example("stream.py", notifier, streamed)
    try:
        for last in (2, 3):
            await grow(topic, last if last == 3 else 1, last)
            feed = await told(notifier, last)
            pulling = await example("pull.py", notifier, pulled)
            assert await pulling.wait() == 0
            await until(partial(has, streamed, len(feed)), "the stream is not kept")
            assert rows_of_sqlite(pulled, "changes") == rows_of_sqlite(streamed, "changes")
            assert is_whole(rows_of_sqlite(pulled, "changes"), len(feed))
            if last == 2:
                await notifier.signal(signal.SIGTERM)
                await notifier.start()
                await notifier.until_waiting_for()
    finally:
        listening.terminate()
        await listening.wait()


async def example(name: str, notifier: NotifierProcess, kept: Path) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, str(EXAMPLES / name), notifier.base, ELECTION, str(kept)),
        env={**os.environ, "CACAH_TOKEN": OPERATOR_TOKEN},
    )


def has(kept: Path, number: int) -> bool:
    return kept.exists() and len(rows_of_sqlite(kept, "changes")) == number


async def _execute(dsn: str, statement: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
