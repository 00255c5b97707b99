"""The notifier put together: the topic, the feed, and what KPU reads of it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Final

from fastapi import FastAPI, Request, Response
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from services.notifier.api import feed_routes
from services.notifier.feed import Feed
from services.notifier.numbering import Numbering
from services.notifier.settings import NotifierSettings
from services.notifier.streaming import Announcer, Streams, Tailer
from services.notifier.subscriber import Subscriber
from shared.access import Tokens
from shared.database import create_engine
from shared.problems import Problem, ProblemType
from shared.web import problem_response, service_app

DATABASE_ANSWER_S: Final = 2.0
RETRY_AFTER_S: Final = 2


def create_app(settings: NotifierSettings) -> FastAPI:
    """The application; its parts start with it and keep trying for what is away."""
    engine = create_engine(settings.database_url)
    feed = Feed(engine)
    tailer = Tailer(feed, settings.database_url)
    announcer = Announcer(feed)
    streams = Streams(feed, tailer)

    def on_numbered() -> None:
        tailer.wake()
        announcer.wake()

    numbering = Numbering(feed, on_numbered)
    subscriber = Subscriber(settings.kafka_bootstrap, settings.notifier_group, numbering)

    async def readiness() -> Mapping[str, bool]:
        database = await _answers(feed)
        return {
            "database": database,
            "kafka": subscriber.connected,
            "numbering": not (database and numbering.failing),
        }

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        parts = (subscriber.run(), tailer.run(), announcer.run())
        tasks = [asyncio.create_task(part) for part in parts]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await engine.dispose()

    app = service_app(
        "cacah notifier",
        "The numbered feed of village changes that KPU follows.",
        lifespan,
        readiness,
    )
    secret = settings.operator_token
    app.state.tokens = Tokens(engine, secret.get_secret_value() if secret else None)
    app.state.streams = streams
    app.include_router(feed_routes(feed, streams))
    for away in (DBAPIError, PoolTimeoutError, OSError):
        app.add_exception_handler(away, _on_database_away)
    return app


async def _answers(feed: Feed) -> bool:
    try:
        async with asyncio.timeout(DATABASE_ANSWER_S):
            await feed.elections()
    except Exception:
        return False
    return True


async def _on_database_away(_: Request, __: Exception) -> Response:
    return problem_response(
        Problem(
            ProblemType.UNAVAILABLE,
            "The database is away; send the same request again in a moment.",
        ),
        {"Retry-After": str(RETRY_AFTER_S)},
    )
