"""Projections as a test runs them: the whole program in this process, asked over HTTP."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
from aiokafka import AIOKafkaConsumer, TopicPartition
from fastapi import FastAPI
from pydantic import SecretStr

from services.projections.app import create_app
from services.projections.settings import ProjectionsSettings
from shared.topics import PARTITIONS, VOTER_CHANGES

TOKEN = "operator-of-the-tests"
HEADERS = {"Authorization": f"Bearer {TOKEN}"}
PILKADA = "/v1/elections/pilkada-2024"


@dataclass(slots=True)
class Service:
    """A running projections service."""

    app: FastAPI
    http: httpx.AsyncClient

    async def get(self, path: str, **params: Any) -> httpx.Response:
        return await self.http.get(PILKADA + path, params=params)

    async def at(self, position: int) -> dict[str, dict[str, Any]]:
        """The villages' rows by code, once everything up to a position is counted."""
        async with asyncio.timeout(60):
            while (answer := await self.get("/villages", min_position=position)).status_code == 503:
                pass
        assert answer.status_code == 200, answer.text
        return {row["village"]: row for row in answer.json()["villages"]}

    async def ready(self) -> None:
        async with asyncio.timeout(60):
            while (await self.http.get("/readyz")).status_code != 200:
                await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def running_service(url: str, bootstrap: str) -> AsyncIterator[Service]:
    """Start the service, and stop it in order."""
    settings = ProjectionsSettings(
        database_url=url, kafka_bootstrap=bootstrap, operator_token=SecretStr(TOKEN)
    )
    app = create_app(settings)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(
            transport=transport, base_url="http://projections", headers=HEADERS, timeout=30
        ) as http,
    ):
        yield Service(app, http)


async def all_changes(bootstrap: str) -> list[dict[str, Any]]:
    """Everything that is on `voter.changes` now, each partition in its order."""
    import orjson

    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    try:
        partitions = [TopicPartition(VOTER_CHANGES, p) for p in range(PARTITIONS)]
        ends = await consumer.end_offsets(partitions)
        consumer.assign(partitions)
        changes = []
        for partition in partitions:
            await consumer.seek_to_beginning(partition)
        while any([await consumer.position(p) < ends[p] for p in partitions]):
            fetched = await consumer.getmany(timeout_ms=500)
            changes += [orjson.loads(r.value) for records in fetched.values() for r in records]
        return changes
    finally:
        await consumer.stop()
