"""Joins the parts of projections into one program."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Mapping

from fastapi import FastAPI, Request, Response
from sqlalchemy.ext.asyncio import AsyncEngine

from services.projections import metrics, tables
from services.projections.announcing import Announcer, VoterAnnouncer
from services.projections.api import router
from services.projections.checkpointing import Checkpointer
from services.projections.dashboard import router as dashboard_router
from services.projections.electing import Electing
from services.projections.electing import router as electing_router
from services.projections.explaining import router as explaining_router
from services.projections.failures import DATABASE_AWAY, FORESEEN, described
from services.projections.parked_api import router as parked_router
from services.projections.parking import Parking
from services.projections.progress import router as progress_router
from services.projections.projecting import Projector
from services.projections.reader import RETRY_AFTER_S, Reader
from services.projections.refolding import Backfiller, Refolder
from services.projections.retelling import Reteller
from services.projections.settings import ProjectionsSettings
from services.projections.subscriber import Subscriber
from services.projections.waiting import CutWatch
from shared.access import Tokens
from shared.database import create_engine, database_answers
from shared.elections import PILKADA_2024
from shared.problems import Problem, ProblemType
from shared.regions import villages_in
from shared.running import after, for_ever, running
from shared.topics import broker_answers
from shared.web import problem_response, service_app

logger = logging.getLogger(__name__)


def create_app(settings: ProjectionsSettings) -> FastAPI:
    """Projections as an application; starting it starts consuming and announcing."""
    engine = create_engine(settings.database_url)
    watch = CutWatch(engine)
    announcer = Announcer(engine, settings.kafka_bootstrap)
    voter_announcer = VoterAnnouncer(engine, settings.kafka_bootstrap)
    backfiller = Backfiller(engine, settings.database_url)

    def on_commit() -> None:
        announcer.woken.set()
        voter_announcer.woken.set()
        watch.wake()

    def on_switch() -> None:
        on_commit()
        backfiller.woken.set()

    refolder = Refolder(engine, settings.database_url, on_switch)
    reteller = Reteller(engine, settings.database_url, on_commit)

    subscriber = Subscriber(settings.kafka_bootstrap, Projector(engine, on_commit))
    prepared = asyncio.Event()

    async def readiness() -> Mapping[str, bool]:
        if not prepared.is_set():
            return {"postgresql": False, "kafka": await broker_answers(settings.kafka_bootstrap)}
        database, broker = await asyncio.gather(database_answers(engine), subscriber.is_connected())
        return {"postgresql": database, "kafka": broker}

    async def prepare_once() -> None:
        await prepare(engine)
        prepared.set()
        await for_ever()

    parts = {
        "preparing": prepare_once,
        "consuming": after(prepared, subscriber.run),
        "announcing": after(prepared, announcer.run),
        "announcing voters": after(prepared, voter_announcer.run),
        "folding elections": after(prepared, refolder.run),
        "filling histories": after(prepared, backfiller.run),
        "making checkpoints": after(prepared, Checkpointer(engine).run),
        "telling of voters again": after(prepared, reteller.run),
        "watching the cut": after(prepared, watch.run),
    }

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        try:
            async with running(parts, _tell):
                yield
        finally:
            await engine.dispose()

    token = settings.operator_token
    app = service_app(
        "cacah projections",
        "Counts the residents and voters of every village, election by election.",
        lifespan,
        readiness,
    )
    app.state.tokens = Tokens(engine, token.get_secret_value() if token else None)
    app.state.reader = Reader(engine, watch)
    app.state.electing = Electing(engine, refolder)
    app.state.parking = Parking(engine, on_commit)
    app.include_router(router)
    app.include_router(explaining_router)
    app.include_router(electing_router)
    app.include_router(parked_router)
    app.include_router(progress_router)
    app.include_router(dashboard_router)
    for kind in DATABASE_AWAY:
        app.add_exception_handler(kind, _on_database_away)
    return app


async def _on_database_away(request: Request, error: Exception) -> Response:
    logger.warning("a read failed", extra={"path": request.url.path, "error": described(error)})
    return problem_response(
        Problem(ProblemType.UNAVAILABLE, "The database is away; ask again in a moment."),
        {"Retry-After": str(RETRY_AFTER_S)},
    )


async def prepare(engine: AsyncEngine) -> None:
    """Make sure that the election of the contract is there, with a row for each of its villages."""
    villages = [village.code for village in villages_in(PILKADA_2024.area)]
    async with engine.begin() as connection:
        await tables.seed_election(connection, PILKADA_2024, villages)
        metrics.PARKED.set(await tables.parked_count(connection))


def _tell(what: str, error: BaseException) -> None:
    logger.warning(
        "%s was interrupted and is tried again",
        what,
        exc_info=None if isinstance(error, FORESEEN) else error,
        extra={"error": described(error)},
    )
