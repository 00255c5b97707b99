"""The notifier as the process that it is in production, with its door over HTTP."""

import asyncio
import base64
import contextlib
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any, Final

import httpx
import orjson
from aiokafka import AIOKafkaProducer

from shared.topics import VOTER_CHANGES, VOTER_PERSONS

OPERATOR_TOKEN: Final = "operator-token-of-the-tests"
AUTHORIZED: Final = {"Authorization": f"Bearer {OPERATOR_TOKEN}"}
ELECTION: Final = "pilkada-2024"
WAIT_S: Final = 30.0
WEBHOOK_KEY: Final = base64.b64encode(b"a key of the tests, of 32 bytes ").decode()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class NotifierProcess:
    """A child process and a client of it; what it logs goes to the file `said`."""

    def __init__(
        self,
        database_url: str,
        bootstrap: str,
        group: str,
        module: str = "services.notifier",
        said: Path = Path(os.devnull),
    ) -> None:
        self._said = said
        self._module = module
        self.port = free_port()
        self.base = f"http://127.0.0.1:{self.port}"
        self.environment = {
            **os.environ,
            "CACAH_DATABASE_URL": database_url,
            "CACAH_KAFKA_BOOTSTRAP": bootstrap,
            "CACAH_OPERATOR_TOKEN": OPERATOR_TOKEN,
            "CACAH_NOTIFIER_PORT": str(self.port),
            "CACAH_NOTIFIER_GROUP": group,
            "CACAH_WEBHOOK_KEY": WEBHOOK_KEY,
            "CACAH_WEBHOOK_ALLOWED_NETWORKS": "127.0.0.0/8",
        }
        self.client = httpx.AsyncClient(base_url=self.base, headers=AUTHORIZED, timeout=WAIT_S)
        self.process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        with self._said.open("ab") as output:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", self._module, env=self.environment, stdout=output
            )

    async def signal(self, number: signal.Signals) -> int:
        """Send a signal and return the exit status."""
        assert self.process is not None
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)
        return await self.ended()

    async def ended(self) -> int:
        assert self.process is not None
        async with asyncio.timeout(WAIT_S):
            return await self.process.wait()

    async def close(self) -> None:
        if self.process is not None and self.process.returncode is None:
            await self.signal(signal.SIGKILL)
        await self.client.aclose()

    async def waiting_for(self) -> list[str] | None:
        """What `/readyz` says it waits for, nothing when ready; None while it does not answer."""
        try:
            answer = (await self.client.get("/readyz")).json()
        except httpx.TransportError:
            return None
        waiting: list[str] = answer.get("waiting_for", [])
        return waiting

    async def until_waiting_for(self, *parts: str) -> None:
        async with asyncio.timeout(WAIT_S):
            while await self.waiting_for() != sorted(parts):
                await asyncio.sleep(0.05)

    async def changes(self, **query: Any) -> dict[str, Any]:
        answer = await self.client.get(f"/v1/elections/{ELECTION}/changes", params=query)
        answer.raise_for_status()
        body: dict[str, Any] = answer.json()
        return body

    async def metric(self, name: str) -> float:
        lines = (await self.client.get("/metrics")).text.splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith(name))

    async def until_told(self, residents: dict[str, int]) -> list[dict[str, Any]]:
        """Wait until every village stands where it should, and return the whole feed."""
        async with asyncio.timeout(WAIT_S):
            while True:
                feed = (await self.changes(limit=10_000))["changes"]
                told = {change["village"]: change["after"]["residents"] for change in feed}
                if told == residents:
                    return list(feed)
                await asyncio.sleep(0.1)


@contextlib.asynccontextmanager
async def running(notifier: NotifierProcess) -> AsyncIterator[NotifierProcess]:
    """The process from ready to gone."""
    await notifier.start()
    try:
        await notifier.until_waiting_for()
        yield notifier
    finally:
        await notifier.close()


@contextlib.asynccontextmanager
async def topic_writer(bootstrap: str) -> AsyncIterator["TopicWriter"]:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, enable_idempotence=True, acks="all")
    await producer.start()
    try:
        yield TopicWriter(producer)
    finally:
        await producer.stop()


class TopicWriter:
    """Writes values to `voter.changes` as projections do: keyed by the village."""

    def __init__(self, producer: AIOKafkaProducer) -> None:
        self._producer = producer

    async def write(self, values: Iterable[bytes], **given: Any) -> None:
        """Send in order and return when the broker has them."""
        sent = []
        for value in values:
            key = village_of(value).encode()
            sent.append(await self._producer.send(VOTER_CHANGES, value, key=key, **given))
        await asyncio.gather(*sent)

    async def write_unreadable(self, topic: str, key: str, value: bytes) -> None:
        """Send what nobody can read to the partition that records with this key go to."""
        await self._producer.send_and_wait(topic, value, key=key.encode())

    async def write_persons(self, values: Iterable[bytes]) -> None:
        """Send to `voter.persons`, keyed by the person; return when the broker has them."""
        sent = []
        for value in values:
            key = bytes(orjson.loads(value).get("voter", ""), "ascii")
            sent.append(await self._producer.send(VOTER_PERSONS, value, key=key))
        await asyncio.gather(*sent)


def village_of(value: bytes) -> str:
    try:
        return str(orjson.loads(value)["village"])
    except (ValueError, TypeError, KeyError):
        return ""


async def streamed(
    notifier: NotifierProcess,
    last: int,
    after: int | None = None,
    feed: str = "",
    **headers: str,
) -> list[dict[str, Any]]:
    """The changes that a plain SSE client reads of a feed, up to sequence `last`."""
    query = {} if after is None else {"after": after}
    url = f"/v1/elections/{ELECTION}{feed}/stream"
    received: list[dict[str, Any]] = []
    async with (
        asyncio.timeout(WAIT_S),
        notifier.client.stream("GET", url, params=query, headers=headers) as answer,
    ):
        answer.raise_for_status()
        async for line in answer.aiter_lines():
            if line.startswith("data: "):
                received.append(orjson.loads(line[6:]))
                if received[-1]["sequence"] >= last:
                    break
    return received
