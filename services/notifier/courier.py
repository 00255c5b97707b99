"""The delivery of one subscription: in order in each village, many villages at once.

What can go wrong here: the process dies (what was not saved is delivered again, nothing is passed
over); the receiver fails (its village is held and tried again, others go on); the subscription is
changed, deleted or taken over meanwhile (the save finds another version, and this courier ends);
the database is away (the courier ends with the error and is started anew).
"""

import asyncio
import contextlib
import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

import orjson

from services.notifier import metrics
from services.notifier.deliveries import Attempt, Deliveries, Progress, TakenOver
from services.notifier.domain.retry import Failure, next_attempt, read_retry_after
from services.notifier.domain.track import Track
from services.notifier.feed import ServedChange
from services.notifier.posting import Fault, Outcome, Poster
from services.notifier.signing import SigningKey, signature_header
from services.notifier.subscriptions import Why
from services.notifier.traced import observe_delivered

logger = logging.getLogger(__name__)

EVENT_TYPE: Final = "voter.change"
USER_AGENT: Final = "cacah-webhooks/1"

# What one subscriber may keep busy: the first attempts, and beside them those of what failed.
FRESH_AT_ONCE: Final = 64
RETRIES_AT_ONCE: Final = 8

# Changes of one election that are read and not yet delivered or held (about 1 kB each).
WINDOW_CHANGES: Final = 512
PAGE_CHANGES: Final = 256

# A save costs as much as many deliveries, so there is a rest after each as long as some are under
# way. A crash repeats what moved since the last.
REST_AFTER_SAVE_S: Final = 0.1
SAVE_TIMEOUT_S: Final = 10.0
GONE: Final = 410


class Clock(Protocol):
    """The time, and waiting in it."""

    def now(self) -> datetime: ...

    async def wait(self, woken: asyncio.Event, until: datetime | None) -> None:
        """Return when the event is set or the moment has come."""


class DeliveredFeed(Protocol):
    """The villages' feed, as far as deliveries read it."""

    async def changes(self, election: str, after: int, limit: int) -> list[ServedChange]: ...

    async def village_changes(
        self, election: str, village: str, first: int, last: int, limit: int
    ) -> list[ServedChange]: ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    async def wait(self, woken: asyncio.Event, until: datetime | None) -> None:
        wait_s = None if until is None else max(0.0, (until - self.now()).total_seconds())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await woken.wait()


@dataclass(frozen=True, slots=True)
class Keys:
    """What signs: the key, and until a moment the one before."""

    current: SigningKey
    previous: SigningKey | None
    previous_until: datetime | None

    def at(self, now: datetime) -> list[SigningKey]:
        """The keys that sign at a moment."""
        if self.previous is None or self.previous_until is None or now >= self.previous_until:
            return [self.current]
        return [self.current, self.previous]


class LostError(Exception):
    """The subscription was changed or taken over; somebody else goes on."""


class DisablingError(Exception):
    """The subscription is to be disabled."""

    def __init__(self, why: Why) -> None:
        super().__init__(why)
        self.why = why


def message_id(election: str, sequence: int) -> str:
    """The same for a change in every attempt and to every subscriber, and without a point."""
    return "msg_" + hashlib.sha256(f"{election}/{sequence}".encode()).hexdigest()[:32]


def event_body(kind: str, time: datetime, data: bytes) -> bytes:
    """The body as the specification recommends it; `data` is JSON."""
    moment = orjson.dumps(time, option=orjson.OPT_UTC_Z)
    return b'{"type":"%s","timestamp":%s,"data":%s}' % (kind.encode(), moment, data)


async def post_signed(
    poster: Poster, keys: list[SigningKey], event_id: str, body: bytes, now: datetime
) -> Outcome:
    """Post a body with the headers of the specification; the timestamp is the attempt's."""
    timestamp = int(now.timestamp())
    headers = {
        "content-type": "application/json",
        "user-agent": USER_AGENT,
        "webhook-id": event_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": signature_header(keys, event_id, timestamp, body),
    }
    return await poster.post(body, headers)


def kept_answer(answer: bytes) -> str:
    """The first bytes of an answer as PostgreSQL can keep them."""
    return answer.decode("utf-8", "replace").replace("\x00", "�")


class Courier:
    """Delivers one subscription until cancelled, lost or disabled."""

    def __init__(
        self,
        deliveries: Deliveries,
        feed: DeliveredFeed,
        taken: TakenOver,
        keys: Keys,
        poster: Poster,
        clock: Clock,
        chance: Callable[[], float],
    ) -> None:
        self._deliveries = deliveries
        self._feed = feed
        self._id = taken.subscription_id
        self._version = taken.version
        self._keys = keys
        self._poster = poster
        self._clock = clock
        self._chance = chance
        self._tracks = {
            election: Track[ServedChange](cursor, taken.held[election])
            for election, cursor in taken.cursors.items()
        }
        self._unread = set(self._tracks)
        self._attempts: list[Attempt] = []
        self._woken = asyncio.Event()
        self._unsaved = asyncio.Event()
        self._idle = asyncio.Event()
        self._fresh_running = 0
        self._retries_running = 0

    def wake(self) -> None:
        """There may be new changes."""
        self._unread.update(self._tracks)
        self._woken.set()

    async def run(self) -> None:
        """Deliver. Raises LostError, DisablingError, or what went wrong."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._save_on())
                await self._deliver_on(group)
        except ExceptionGroup as errors:
            raise _gravest(errors) from errors
        finally:
            # Cancelled or not, what was attempted is kept where the database can be reached.
            with contextlib.suppress(Exception):
                await self._save()

    async def _deliver_on(self, group: asyncio.TaskGroup) -> None:
        while True:
            self._woken.clear()
            await self._read_on()
            self._start_fresh(group)
            self._start_retries(group)
            await self._clock.wait(self._woken, self._next_due())

    async def _read_on(self) -> None:
        for election in sorted(self._unread):
            track = self._tracks[election]
            while track.under_way + PAGE_CHANGES <= WINDOW_CHANGES:
                # What is announced while the page is read is read by the next.
                self._unread.discard(election)
                changes = await self._feed.changes(election, track.read_to, PAGE_CHANGES)
                track.take(changes)
                if changes:
                    self._unsaved.set()
                if len(changes) < PAGE_CHANGES:
                    break
                self._unread.add(election)

    def _start_fresh(self, group: asyncio.TaskGroup) -> None:
        for election, track in self._tracks.items():
            while self._fresh_running < FRESH_AT_ONCE:
                village = track.start()
                if village is None:
                    break
                self._fresh_running += 1
                self._idle.clear()
                group.create_task(self._deliver(election, track, village))

    def _start_retries(self, group: asyncio.TaskGroup) -> None:
        now = self._clock.now()
        for election, track in self._tracks.items():
            while self._retries_running < RETRIES_AT_ONCE:
                village = track.start_retry(now)
                if village is None:
                    break
                self._retries_running += 1
                group.create_task(self._retry(election, track, village))

    def _next_due(self) -> datetime | None:
        """None also where no retry could be started: one that ends wakes us."""
        if self._retries_running >= RETRIES_AT_ONCE:
            return None
        due = [due for track in self._tracks.values() if (due := track.next_due()) is not None]
        return min(due, default=None)

    async def _deliver(self, election: str, track: Track[ServedChange], village: str) -> None:
        try:
            while (change := track.first(village)) is not None:
                outcome = await self._attempt(election, change, 1)
                if not outcome.delivered:
                    now = self._clock.now()
                    track.hold(village, now, self._next_attempt(outcome, 1, now, now))
                    return
                track.delivered(village)
                if election in self._unread:
                    self._woken.set()
        finally:
            self._fresh_running -= 1
            if self._fresh_running == 0:
                self._idle.set()
            self._woken.set()

    async def _retry(self, election: str, track: Track[ServedChange], village: str) -> None:
        held = track.held[village]
        try:
            while True:
                until = held.until
                changes = await self._feed.village_changes(
                    election, village, held.sequence, until, PAGE_CHANGES
                )
                for change in changes:
                    if not await self._delivered_again(election, track, change):
                        return
                if len(changes) < PAGE_CHANGES and held.until == until:
                    track.release(village)
                    return
        finally:
            self._retries_running -= 1
            self._unsaved.set()
            self._woken.set()

    async def _delivered_again(
        self, election: str, track: Track[ServedChange], change: ServedChange
    ) -> bool:
        held = track.held[change.village]
        tried = held.attempts
        outcome = await self._attempt(election, change, tried + 1)
        if outcome.delivered:
            track.retried(change.village, change.sequence)
            if tried:
                self._hasten()
            return True
        now = self._clock.now()
        since = held.since if tried else now
        next_at = self._next_attempt(outcome, tried + 1, since, now)
        track.failed_again(change.village, change.sequence, since, next_at)
        return False

    def _hasten(self) -> None:
        now = self._clock.now()
        for track in self._tracks.values():
            track.hasten(now)

    async def _attempt(self, election: str, change: ServedChange, attempt: int) -> Outcome:
        began = self._clock.now()
        body = event_body(EVENT_TYPE, change.time, change.body)
        identity = message_id(election, change.sequence)
        outcome = Outcome(None, Fault.INTERRUPTED, 0)
        try:
            outcome = await post_signed(self._poster, self._keys.at(began), identity, body, began)
        finally:
            self._attempts.append(
                Attempt(
                    election,
                    change.village,
                    change.sequence,
                    attempt,
                    began,
                    outcome.status,
                    outcome.fault.value if outcome.fault else None,
                    outcome.duration_ms,
                    kept_answer(outcome.answer),
                )
            )
            self._unsaved.set()
        _measure(change, attempt, outcome, self._clock.now())
        return outcome

    def _next_attempt(
        self, outcome: Outcome, attempts: int, since: datetime, now: datetime
    ) -> datetime:
        """When to try again. Raises DisablingError where that is never."""
        if outcome.status == GONE:
            raise DisablingError(Why.GONE)
        asked = read_retry_after(outcome.retry_after, now)
        at = next_attempt(Failure(attempts, since, now, asked), self._chance())
        if at is None:
            raise DisablingError(Why.FAILING)
        return at

    async def _save_on(self) -> None:
        while True:
            await self._unsaved.wait()
            await self._save()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(REST_AFTER_SAVE_S):
                    await self._idle.wait()

    async def _save(self) -> None:
        """Keep what came since the last time. What is gathered here is of one instant."""
        self._unsaved.clear()
        attempts, self._attempts = self._attempts, []
        progress = [_progress(election, track) for election, track in self._tracks.items()]
        try:
            async with asyncio.timeout(SAVE_TIMEOUT_S):
                held = await self._deliveries.save(self._id, self._version, attempts, progress)
        except BaseException:
            # Without its failing villages the next save's cursor would pass what they wait for.
            self._attempts = attempts + self._attempts
            for each in progress:
                self._tracks[each.election].touched.update(each.held, each.released)
            raise
        if not held:
            raise LostError


def _progress(election: str, track: Track[ServedChange]) -> Progress:
    touched, track.touched = track.touched, set()
    held = {village: replace(track.held[village]) for village in touched if village in track.held}
    return Progress(election, track.cursor, held, [v for v in touched if v not in held])


def _gravest(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """What to act on, where several tasks ended at once: who lost the subscription may not
    disable it."""
    for kind in (LostError, DisablingError):
        found = errors.subgroup(kind)
        if found is not None:
            return _first(found)
    return _first(errors)


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    first = errors.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first


def _measure(change: ServedChange, attempt: int, outcome: Outcome, now: datetime) -> None:
    result = "delivered" if outcome.delivered else outcome.fault or "refused"
    metrics.WEBHOOK_ATTEMPTS.labels(result).inc()
    if outcome.delivered and attempt == 1:
        delay = now - change.time
        metrics.DELIVERED_S.observe(max(0.0, delay / timedelta(seconds=1)))
        if change.passed is not None:
            observe_delivered(change.passed, now)
