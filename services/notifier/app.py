"""The notifier put together: the topic, the feed, and what KPU reads of it."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Mapping
from typing import Final

from fastapi import APIRouter, FastAPI, Request, Response
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from services.notifier import metrics
from services.notifier.acknowledgements import Acknowledgements, FeedName
from services.notifier.acknowledgements_api import acknowledgement_routes
from services.notifier.addresses import Resolver
from services.notifier.api import feed_routes, voter_routes
from services.notifier.compare_api import compare_routes
from services.notifier.comparing import Comparing
from services.notifier.courier import SystemClock
from services.notifier.deliveries import Deliveries
from services.notifier.delivering import Delivering, Receivers
from services.notifier.feed import CHANNEL, LOCKING_SETTINGS, Feed, ServedChange
from services.notifier.numbering import Numbering, VoterNumbering
from services.notifier.settings import NotifierSettings
from services.notifier.signing import SecretBox
from services.notifier.streaming import Announcer, SequencedFeed, Streams, Tailer
from services.notifier.subscriber import Subscriber
from services.notifier.subscriptions import Subscriptions
from services.notifier.subscriptions_api import disabled_routes, subscription_routes
from services.notifier.supplements import Supplements
from services.notifier.supplements_api import supplement_routes
from services.notifier.voter_feed import VOTER_CHANNEL, VoterFeed
from shared.access import Tokens
from shared.database import create_engine
from shared.problems import Problem, ProblemType
from shared.running import Part, running
from shared.topics import VOTER_CHANGES, VOTER_PERSONS
from shared.web import problem_response, service_app

DATABASE_ANSWER_S: Final = 2.0
RETRY_AFTER_S: Final = 2
MOST_VOTERS: Final = 1_000
VOTERS_SUFFIX: Final = "-voters"
WEBHOOK_CONNECTIONS: Final = 4
PAST_CONNECTIONS: Final = 2


class Following:
    """What follows a feed: its tailer, its streams, and the announcer to other processes.

    `past` is the same feed, for the pages of clients that are behind.
    """

    def __init__(
        self, name: FeedName, feed: SequencedFeed, past: SequencedFeed, tailer: Tailer
    ) -> None:
        self._name = name.value
        self._tailer = tailer
        self._announcer = Announcer(feed, tailer.name)
        self.streams = Streams(past, tailer, metrics.STREAMED_S.labels(name.value))

    def give(self, numbered: Mapping[str, list[ServedChange]]) -> None:
        """What was committed here goes out here, and others are told that there is more."""
        self._tailer.give(numbered)
        self._announcer.wake()

    def parts(self) -> dict[str, Part]:
        return {
            f"following the feed of {self._name}": self._tailer.run,
            f"announcing the feed of {self._name}": self._announcer.run,
        }


class AllStreams:
    """The streams of both feeds, to be ended together."""

    def __init__(self, *streams: Streams) -> None:
        self._streams = streams

    def close(self) -> None:
        for each in self._streams:
            each.close()


class RecentFeed:
    """The villages' feed as deliveries read it: what has just been numbered is at hand."""

    def __init__(self, feed: Feed, tailer: Tailer) -> None:
        self._feed = feed
        self._tailer = tailer

    async def changes(self, election: str, after: int, limit: int) -> list[ServedChange]:
        """As the feed's; what others have numbered meanwhile comes when the tailer has read it."""
        held = self._tailer.held(election, after, limit)
        return held if held is not None else await self._feed.changes(election, after, limit)

    async def village_changes(
        self, election: str, village: str, first: int, last: int, limit: int
    ) -> list[ServedChange]:
        return await self._feed.village_changes(election, village, first, last, limit)


class Webhooks:
    """Deliveries to subscribers; without a key for their secrets there are none."""

    def __init__(self, settings: NotifierSettings, feed: Feed, tailer: Tailer) -> None:
        # Connections of its own: KPU's reading and the numbering are not kept waiting by it.
        self._engine = create_engine(settings.database_url, WEBHOOK_CONNECTIONS, LOCKING_SETTINGS)
        self._resolver = Resolver()
        self._delivering: Delivering | None = None
        master_key = settings.master_key()
        if master_key is None:
            self.routes: APIRouter = disabled_routes()
            return
        box, deliveries = SecretBox(master_key), Deliveries(self._engine)
        receivers = Receivers(settings.webhook_allowed_networks, self._resolver)
        self._delivering = Delivering(
            deliveries,
            RecentFeed(feed, tailer),
            box,
            receivers,
            settings.database_url,
            SystemClock(),
            random.SystemRandom(),
        )
        subscriptions = Subscriptions(self._engine, box)
        self.routes = subscription_routes(
            subscriptions, deliveries, feed, receivers, self._delivering
        )

    def wake(self) -> None:
        if self._delivering is not None:
            self._delivering.wake()

    def parts(self) -> dict[str, Part]:
        return {} if self._delivering is None else {"delivering to webhooks": self._delivering.run}

    async def close(self) -> None:
        self._resolver.close()
        await self._engine.dispose()


def create_app(settings: NotifierSettings) -> FastAPI:
    """The application; its parts start with it and keep trying for what is away."""
    engine = create_engine(settings.database_url, settings=LOCKING_SETTINGS)
    url, bootstrap, group = settings.database_url, settings.kafka_bootstrap, settings.notifier_group
    feed, voter_feed = Feed(engine), VoterFeed(engine)
    # However many clients come from far behind, the numbering has its connections.
    past = create_engine(settings.database_url, PAST_CONNECTIONS)

    def on_grown() -> None:
        webhooks.wake()

    tailer = Tailer(feed, url, CHANNEL, metrics.SEQUENCE, on_grown)
    villages = Following(FeedName.VILLAGES, feed, Feed(past), tailer)
    webhooks = Webhooks(settings, feed, tailer)
    voter_tailer = Tailer(voter_feed, url, VOTER_CHANNEL, metrics.VOTER_SEQUENCE)
    voters = Following(FeedName.VOTERS, voter_feed, VoterFeed(past), voter_tailer)
    acknowledgements = Acknowledgements(engine)

    numbering = Numbering(feed, villages.give)
    subscriber = Subscriber(bootstrap, group, VOTER_CHANGES, numbering)
    voter_numbering = VoterNumbering(voter_feed, voters.give)
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
        parts = {
            "numbering villages": subscriber.run,
            "numbering voters": voter_subscriber.run,
            **villages.parts(),
            **voters.parts(),
            **webhooks.parts(),
            "measuring acknowledgements": acknowledgements.measure,
        }
        try:
            async with running(parts):
                yield
        finally:
            await webhooks.close()
            await past.dispose()
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
    app.include_router(voter_routes(voter_feed, feed, voters.streams))
    app.include_router(acknowledgement_routes(acknowledgements, feed, voter_feed))
    app.include_router(webhooks.routes)
    app.include_router(compare_routes(feed, Comparing(engine)))
    app.include_router(supplement_routes(feed, Supplements(engine)))
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
