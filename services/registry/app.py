"""Joins the registry's parts into one program."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Mapping

import asyncpg
from fastapi import FastAPI

from services.registry.api import router, send_events
from services.registry.appending import Appender
from services.registry.ledger import Ledger
from services.registry.log import APPENDER_SETTINGS
from services.registry.lookups import LookUps
from services.registry.lookups_api import router as lookups_router
from services.registry.parked_api import router as parked_router
from services.registry.parking import Parking
from services.registry.relay import CHANNEL, Relay
from services.registry.resolving import Resolving
from services.registry.settings import RegistrySettings
from services.registry.vault import Vault
from shared.access import Tokens
from shared.database import connect, create_engine, database_answers
from shared.regions import village_codes
from shared.running import running
from shared.topics import broker_answers
from shared.web import service_app

logger = logging.getLogger(__name__)


def create_app(settings: RegistrySettings) -> FastAPI:
    """The registry as an application; starting it starts the appender and the relay."""
    engine = create_engine(settings.database_url)
    appending = create_engine(settings.database_url, 2, APPENDER_SETTINGS)
    # Operators and KPU must not keep the appender waiting for a connection.
    asked = create_engine(settings.database_url, 2, APPENDER_SETTINGS)
    appended = asyncio.Event()
    vault = Vault(settings.master_key())
    ledger = Ledger(vault)
    appender = Appender(appending, ledger, appended.set)
    relay = Relay(engine, settings.database_url, settings.kafka_bootstrap)

    async def readiness() -> Mapping[str, bool]:
        database, broker = await asyncio.gather(
            database_answers(engine), broker_answers(settings.kafka_bootstrap)
        )
        return {"postgresql": database, "kafka": broker}

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        village_codes()
        parts = {
            "appending": appender.run,
            "publishing": relay.run,
            "waking the relay": lambda: announce(appended, settings.database_url),
        }
        try:
            async with running(parts):
                yield
        finally:
            await appending.dispose()
            await asked.dispose()
            await engine.dispose()

    token = settings.operator_token
    app = service_app(
        "cacah registry",
        "Decides on what recording stations send and appends it to the event log.",
        lifespan,
        readiness,
    )
    app.state.engine = engine
    app.state.vault = vault
    app.state.appender = appender
    app.state.parking = Parking(asked, ledger, appended.set)
    app.state.lookups = LookUps(asked, vault)
    app.state.resolving = Resolving(asked, vault)
    app.state.relay = relay
    app.state.tokens = Tokens(engine, token.get_secret_value() if token else None)
    # Ahead of FastAPI's own route to the same function, which stays for the documentation: it
    # would look for parameters that are not there, a quarter of the time of a single event.
    app.add_route("/v1/events", send_events, methods=["POST"])
    app.include_router(router)
    app.include_router(parked_router)
    app.include_router(lookups_router)
    return app


async def announce(appended: asyncio.Event, database_url: str) -> None:
    """Wake the relay, wherever it runs, after commits: many commits may share one notice.

    NOTIFY inside the append would serialise commits over the whole server.
    """
    while True:
        try:
            connection = await connect(database_url)
            try:
                while True:
                    await appended.wait()
                    appended.clear()
                    await connection.execute(f"NOTIFY {CHANNEL}")
            finally:
                await connection.close(timeout=2)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
            logger.warning("notice failed", extra={"error": type(error).__name__})
            await asyncio.sleep(1)
