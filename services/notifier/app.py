"""The notifier put together: the topic, the feed, and what KPU reads of it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine, Mapping
from typing import Any, Final

from fastapi import FastAPI, Request, Response
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from services.notifier import metrics
from services.notifier.api import feed_routes, voter_routes
from services.notifier.feed import CHANNEL, Feed
from services.notifier.numbering import Numbering, VoterNumbering
from services.notifier.settings import NotifierSettings
from services.notifier.streaming import Announcer, SequencedFeed, Streams, Tailer
from services.notifier.subscriber import Subscriber
from services.notifier.voter_feed import VOTER_CHANNEL, VoterFeed
from shared.access import Tokens
from shared.database import create_engine
from shared.problems import Problem, ProblemType
from shared.topics import VOTER_CHANGES, VOTER_PERSONS
from shared.web import problem_response, service_app

DATABASE_ANSWER_S: Final = 2.0
RETRY_AFTER_S: Final = 2
MOST_VOTERS: Final = 1_000
VOTERS_SUFFIX: Final = "-voters"


class Following:
    """What follows a feed: its tailer, its streams, and the announcer to other processes."""

    def __init__(self, feed: SequencedFeed, tailer: Tailer) -> None:
        self._tailer = tailer
        self._announcer = Announcer(feed)
        self.streams = Streams(feed, tailer)

    def wake(self) -> None:
        self._tailer.wake()
        self._announcer.wake()

    def parts(self) -> tuple[Coroutine[Any, Any, None], ...]:
        return self._tailer.run(), self._announcer.run()


class AllStreams:
    """The streams of both feeds, to be ended together."""

    def __init__(self, *streams: Streams) -> None:
        self._streams = streams

    def close(self) -> None:
        for each in self._streams:
            each.close()


def create_app(settings: NotifierSettings) -> FastAPI:
    """The application; its parts start with it and keep trying for what is away."""
    engine = create_engine(settings.database_url)
    url, bootstrap, group = settings.database_url, settings.kafka_bootstrap, settings.notifier_group
    feed, voter_feed = Feed(engine), VoterFeed(engine)
    villages = Following(feed, Tailer(feed, url, CHANNEL, metrics.SEQUENCE))
    voters = Following(voter_feed, Tailer(voter_feed, url, VOTER_CHANNEL, metrics.VOTER_SEQUENCE))
    numbering = Numbering(feed, villages.wake)
    subscriber = Subscriber(bootstrap, group, VOTER_CHANGES, numbering)
    voter_numbering = VoterNumbering(voter_feed, voters.wake)
    # A group of its own: what goes on in the one topic's group does not disturb the other's.
    voter_group = f"{group}{VOTERS_SUFFIX}"
    voter_subscriber = Subscriber(
        bootstrap, voter_group, VOTER_PERSONS, voter_numbering, MOST_VOTERS
    )
    streams = AllStreams(villages.streams, voters.streams)

    async def readiness() -> Mapping[str, bool]:
        database = await _answers(feed)
        return {
            "database": database,
            "kafka": subscriber.connected and voter_subscriber.connected,
            "numbering": not (database and (numbering.failing or voter_numbering.failing)),
        }

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        parts = (subscriber.run(), voter_subscriber.run(), *villages.parts(), *voters.parts())
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
    app.include_router(feed_routes(feed, villages.streams))
    app.include_router(voter_routes(voter_feed, voters.streams))
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
