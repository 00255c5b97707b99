"""A voters' feed filled by the notifier's own code, without a broker: what a test compares with."""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import httpx
from fastapi import FastAPI
from sqlalchemy.ext.asyncio import AsyncEngine

from services.notifier.compare_api import compare_routes
from services.notifier.comparing import Comparing
from services.notifier.domain.changes import VillageRecord
from services.notifier.domain.voters import Place, VoterKey, VoterRecord
from services.notifier.feed import Feed
from services.notifier.records import Batch, VoterBatch
from services.notifier.supplements import Supplements
from services.notifier.supplements_api import supplement_routes
from services.notifier.voter_feed import VoterFeed
from shared.access import Tokens
from shared.counts import Counts, VillageKey
from shared.database import create_engine
from shared.web import service_app
from tests.support.notifier_process import AUTHORIZED, ELECTION, OPERATOR_TOKEN
from tests.support.parts import Parts

BEGAN: Final = datetime(2024, 8, 20, 1, tzinfo=UTC)
REGISTERED: Final = "id.dukcapil.resident.registered"
AT_ONCE: Final = 5_000


def says(
    voter: UUID, to: str | None, reason: str = REGISTERED, position: int = 1, stage: str = "dps"
) -> VoterRecord:
    """A record of a person at a log position."""
    return VoterRecord(
        key=VoterKey(ELECTION, voter),
        place=Place(0, position),
        to_village=to,
        reason=reason,
        position=position,
        time=BEGAN + timedelta(seconds=position),
        stage=stage,
    )


def stands(village: str, revision: int, position: int = 1, **counts: int) -> VillageRecord:
    """A record of a village's tally; what it was before is what was told."""
    return VillageRecord(
        key=VillageKey(ELECTION, village),
        district=village[:8],
        revision=revision,
        position=position,
        time=BEGAN + timedelta(seconds=position),
        stage="dps",
        before=Counts(),
        after=Counts(**counts),
    )


@asynccontextmanager
async def notifier_database(parts: Parts, database: str) -> AsyncIterator[AsyncEngine]:
    engine = create_engine(parts.url(database), 2)
    try:
        yield engine
    finally:
        await engine.dispose()


async def tell_voters(
    engine: AsyncEngine, records: Sequence[VoterRecord], at: datetime | None = None
) -> None:
    """Number records of persons as the notifier does."""
    feed = VoterFeed(engine)
    for first in range(0, len(records), AT_ONCE):
        batch = VoterBatch(list(records[first : first + AT_ONCE]), [], [])
        await feed.take(batch, at or datetime.now(UTC))


async def tell_villages(
    engine: AsyncEngine, records: Iterable[VillageRecord], at: datetime | None = None
) -> None:
    """Number records of villages as the notifier does, each as a change of its own."""
    for record in records:
        await Feed(engine).take(Batch([record], []), at or datetime.now(UTC))


@asynccontextmanager
async def notifier_door(engine: AsyncEngine) -> AsyncIterator[httpx.AsyncClient]:
    """An operator's client of the notifier's doors for lists, in this process: the feed is only
    what the test tells."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield

    async def readiness() -> Mapping[str, bool]:
        return {}

    app = service_app("lists", "The doors for KPU's list.", lifespan, readiness)
    app.state.tokens = Tokens(engine, OPERATOR_TOKEN)
    app.include_router(compare_routes(Feed(engine), Comparing(engine)))
    app.include_router(supplement_routes(Feed(engine), Supplements(engine)))
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app),
        base_url="http://notifier",
        headers=AUTHORIZED,
        timeout=60,
    ) as client:
        yield client


def persons_csv(voters: Iterable[tuple[Any, str]]) -> bytes:
    """A list of persons as KPU may hold it."""
    rows = "".join(f"{voter},{village}\n" for voter, village in voters)
    return f"resident_id,village\n{rows}".encode()
