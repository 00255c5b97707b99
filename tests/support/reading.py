"""Reads a running system back through every door it has: HTTP, topics, tables and files."""

import asyncio
import csv
import io
import json
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any, Final

import asyncpg
import httpx
from aiokafka import AIOKafkaConsumer, TopicPartition

ELECTION_ID: Final = "pilkada-2024"
ELECTION: Final = f"/v1/elections/{ELECTION_ID}"
WITHIN_S: Final = 60.0

# Kafka's indexes: numbers alone, in large files that are mostly empty.
OFFSETS: Final = (".index", ".timeindex")

Row = dict[str, Any]


async def get(http: httpx.AsyncClient, path: str, **params: Any) -> Row:
    """What an address answers; anything but 200 is a failure."""
    response = await http.get(path, params=params)
    assert response.status_code == 200, f"{path} {params}: {response.text}"
    body: Row = response.json()
    return body


async def read_log(registry: httpx.AsyncClient, after: int = 0, page: int = 997) -> list[Row]:
    """The log from after a position to its end."""
    entries: list[Row] = []
    while True:
        answer = await get(registry, "/v1/log", after=after, limit=page)
        entries += answer["events"]
        if not answer["events"]:
            assert answer["last"] == after
            return entries
        assert len(answer["events"]) <= page
        assert answer["last"] >= answer["events"][-1]["position"]
        after = answer["events"][-1]["position"]


async def counted(
    projections: httpx.AsyncClient,
    path: str,
    position: int,
    election: str = ELECTION_ID,
    **params: Any,
) -> Row:
    """What projections answer once everything up to a position is counted."""
    async with asyncio.timeout(WITHIN_S):
        while True:
            query = params | {"min_position": position}
            response = await projections.get(f"/v1/elections/{election}{path}", params=query)
            if response.status_code != 503:
                break
            assert "retry-after" in response.headers
    assert response.status_code == 200, response.text
    body: Row = response.json()
    return body


async def counted_csv(
    projections: httpx.AsyncClient, path: str, position: int
) -> list[dict[str, str]]:
    """The same as CSV: each row by the names of the header."""
    response = await projections.get(
        ELECTION + path, params={"min_position": position}, headers={"Accept": "text/csv"}
    )
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("text/csv")
    return list(csv.DictReader(io.StringIO(response.text, newline="")))


async def read_changes(notifier: httpx.AsyncClient, after: int = 0, page: int = 997) -> list[Row]:
    """The changes from after a sequence to the end."""
    changes: list[Row] = []
    while True:
        answer = await get(notifier, f"{ELECTION}/changes", after=after, limit=page)
        if not answer["changes"]:
            assert answer["last"] == after
            return changes
        changes += answer["changes"]
        after = answer["changes"][-1]["sequence"]


async def read_stream(
    notifier: httpx.AsyncClient, upto: int, headers: Row | None = None, **params: Any
) -> list[tuple[int, Row]]:
    """Server-sent events up to a sequence: each with its `id`."""
    read: list[tuple[int, Row]] = []
    async with (
        asyncio.timeout(WITHIN_S),
        notifier.stream("GET", f"{ELECTION}/stream", params=params, headers=headers) as response,
    ):
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        async with aclosing(server_sent(response)) as events:
            async for identity, data in events:
                read.append((identity, data))
                if identity >= upto:
                    break
    return read


async def server_sent(response: httpx.Response) -> AsyncGenerator[tuple[int, Row], None]:
    """The changes of a stream: each with its `id`; comments and whatever else are left out."""
    members: dict[str, str] = {}
    async for line in response.aiter_lines():
        if line:
            name, _, value = line.partition(":")
            members[name] = value.strip()
            continue
        if members.get("event") == "change":
            yield int(members["id"]), json.loads(members["data"])
        members = {}


async def read_topic(bootstrap: str, topic: str) -> list[tuple[bytes, bytes]]:
    """Every record of a topic from its first to its last: keys and values."""
    consumer: Any = AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False)
    await consumer.start()
    try:
        numbers = await _partitions(consumer, topic)
        consumer.assign(numbers)
        begins = await consumer.beginning_offsets(numbers)
        ends = await consumer.end_offsets(numbers)
        # Not seek_to_beginning: a reset that is under way since `assign` may win over it.
        for number in numbers:
            consumer.seek(number, begins[number])
        records: list[tuple[bytes, bytes]] = []
        async with asyncio.timeout(WITHIN_S):
            while any([await consumer.position(n) < ends[n] for n in numbers]):
                fetched = await consumer.getmany(timeout_ms=500)
                records += [(r.key or b"", r.value or b"") for rs in fetched.values() for r in rs]
        return records
    finally:
        await consumer.stop()


async def _partitions(consumer: Any, topic: str) -> list[TopicPartition]:
    await consumer._client.force_metadata_update()
    cluster = await consumer._client.fetch_all_metadata()
    return [TopicPartition(topic, n) for n in sorted(cluster.partitions_for_topic(topic))]


async def read_tables(dsn: str) -> dict[str, list[str]]:
    """Every row of every table of ours, as text; binary columns with their letters readable."""
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute("SET bytea_output = 'escape'")
        names = await connection.fetch(
            "SELECT schemaname || '.' || tablename FROM pg_tables"
            " WHERE schemaname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1"
        )
        return {
            name: [row[0] for row in await connection.fetch(f"SELECT t::text FROM {name} AS t")]
            for (name,) in names
        }
    finally:
        await connection.close()


async def read_identities(dsn: str) -> set[tuple[str, str]]:
    """The source and id of everything that the registry keeps."""
    connection = await asyncpg.connect(dsn)
    try:
        rows = await connection.fetch("SELECT source, event_id FROM registry.submissions")
        return {(row["source"], row["event_id"]) for row in rows}
    finally:
        await connection.close()


def read_files(home: Path) -> Iterator[tuple[Path, bytes]]:
    """Every file below a home: logs, data, the write-ahead log, the segments of the topics."""
    for path in sorted(home.rglob("*")):
        # Servers remove files of their own while we look.
        try:
            if path.suffix not in OFFSETS and path.is_file():
                yield path, path.read_bytes()
        except FileNotFoundError:
            continue
