"""Webhooks on the real PostgreSQL, to receivers that behave as badly as receivers do."""

import asyncio
import contextlib
import random
import ssl
import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from standardwebhooks.webhooks import Webhook

from services.notifier.addresses import Address
from services.notifier.courier import SystemClock
from services.notifier.deliveries import Deliveries
from services.notifier.delivering import Delivering, Receivers
from services.notifier.domain.retry import most_attempts
from services.notifier.feed import Feed
from services.notifier.posting import ANSWER_TIMEOUT_S
from services.notifier.records import Batch, TopicValue, read_fetched
from services.notifier.signing import Scheme, SecretBox, SigningKey, new_key
from services.notifier.subscriptions import Owner, State, Subscription, Subscriptions, Why
from shared.access import Role, Tokens
from shared.database import create_engine
from shared.regions import villages_in
from shared.topics import VOTER_CHANGES
from tests.support.parts import Parts
from tests.support.simulated_clock import SimulatedClock
from tests.support.village_records import written
from tests.support.webhook_receiver import (
    Behaviour,
    Received,
    Receiver,
    a_byte_a_second,
    a_gigabyte,
    answer,
    answer_then_a_byte_a_second,
    answering,
    cut_off,
    endless_headers,
    hang,
    receiving,
)

ELECTION = "pilkada-2024"
# More than are delivered to at a time.
MANY = [village.code for village in villages_in("15.01")[:80]]
VILLAGES = MANY[:40]
VILLAGE, OTHER = VILLAGES[:2]
WAIT_S = 30.0
# Long enough for a status to arrive before it.
TIMEOUT_S = 2.0
OPERATOR = Owner(None, True)
LOOPBACK = ip_network("127.0.0.0/8")


async def resolve_nothing(host: str, _: int) -> Sequence[Address]:
    raise OSError(f"no name is asked for here, but {host} was")


@dataclass
class Office:
    """The notifier's webhooks without Kafka: changes are told to the feed directly."""

    url: str
    engine: AsyncEngine
    feed: Feed
    subscriptions: Subscriptions
    deliveries: Deliveries
    box: SecretBox
    revisions: Counter[str]

    async def tell(self, *villages: str) -> None:
        """One change for each of the villages named, in their order."""
        values: dict[str, bytes] = {}
        for village in villages:
            # Changes of one village that come in one batch would be folded into one.
            if village in values:
                await self._take(values)
                values = {}
            self.revisions[village] += 1
            revision = self.revisions[village]
            values[village] = written(
                village=village, revision=revision, residents=revision, before=revision - 1
            )
        await self._take(values)

    async def _take(self, values: dict[str, bytes]) -> None:
        fetched = [
            TopicValue(0, n, value, VOTER_CHANGES) for n, value in enumerate(values.values())
        ]
        placed, unreadable = read_fetched(fetched)
        batch = Batch([each.record for each in placed], unreadable)
        await self.feed.take(batch, datetime.now(UTC))

    async def subscribe(
        self, receiver: Receiver | str, after: int = 0, key: SigningKey | None = None
    ) -> str:
        url = receiver if isinstance(receiver, str) else receiver.url
        key = key or new_key(Scheme.V1)
        now = datetime.now(UTC)
        return await self.subscriptions.add(None, url, key, {ELECTION: after}, now)

    def delivering(
        self, clock: Any = None, resolve: Any = resolve_nothing, timeout_s: float = TIMEOUT_S
    ) -> Delivering:
        receivers = Receivers([LOOPBACK], resolve, timeout_s)
        return Delivering(
            self.deliveries,
            self.feed,
            self.box,
            receivers,
            self.url,
            clock or SystemClock(),
            random.Random(7),
        )

    @contextlib.asynccontextmanager
    async def delivers(self, clock: Any = None, **given: Any) -> AsyncIterator[Delivering]:
        """Deliver until the block ends."""
        delivering = self.delivering(clock, **given)
        task = asyncio.create_task(delivering.run())
        try:
            yield delivering
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def find(self, subscription: str) -> Subscription:
        found = await self.subscriptions.find(subscription, OPERATOR)
        assert found is not None
        return found

    async def attempts(self, subscription: str) -> list[dict[str, Any]]:
        rows, _ = await self.deliveries.page(subscription, 0, 1_000_000)
        return [dict(row) for row in rows]

    async def until(self, happened: Callable[[], Awaitable[bool] | bool]) -> None:
        async with asyncio.timeout(WAIT_S):
            while True:
                found = happened()
                if found if isinstance(found, bool) else await found:
                    return
                await asyncio.sleep(0.02)

    async def until_drained(self, subscription: str) -> None:
        async def drained() -> bool:
            (place,) = (await self.find(subscription)).places
            return place.sequence == place.last and place.failing_villages == 0

        await self.until(drained)

    async def until_disabled(self, subscription: str) -> Subscription:
        async def disabled() -> bool:
            return (await self.find(subscription)).state is State.DISABLED

        await self.until(disabled)
        return await self.find(subscription)


@pytest_asyncio.fixture
async def office(parts: Parts, database: str) -> AsyncIterator[Office]:
    url = parts.url(database)
    engine = create_engine(url)
    box = SecretBox(b"m" * 32)
    subscriptions, deliveries = Subscriptions(engine, box), Deliveries(engine)
    try:
        yield Office(url, engine, Feed(engine), subscriptions, deliveries, box, Counter())
    finally:
        await engine.dispose()


def assert_in_order(receiver: Receiver, last: int) -> None:
    """Each change at least once, and in each village in the order of its sequences."""
    assert sorted(receiver.sequences()) == list(range(1, last + 1))
    for village in VILLAGES:
        found = receiver.sequences(village)
        assert found == sorted(found)


async def test_a_change_is_delivered_as_it_is_in_the_feed_and_verifies(office: Office) -> None:
    key = new_key(Scheme.V1)
    async with receiving() as receiver, office.delivers():
        subscription = await office.subscribe(receiver, key=key)
        await office.tell(VILLAGE)
        await office.until_drained(subscription)
    (received,) = receiver.received
    event = Webhook(key.secret()).verify(received.body, received.headers)
    (served,) = await office.feed.changes(ELECTION, 0, 10)
    assert event["type"] == "voter.change"
    assert event["timestamp"] == event["data"]["time"] == "2024-08-20T01:00:00.123456Z"
    assert b'"data":' + served.body + b"}" in received.body
    assert received.headers["host"] == f"127.0.0.1:{receiver.port}"
    (attempt,) = await office.attempts(subscription)
    assert (attempt["status"], attempt["error"], attempt["sequence"]) == (204, None, 1)
    assert (attempt["village"], attempt["attempt"]) == (VILLAGE, 1)


async def test_a_quiet_feed_is_delivered_at_once(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with receiving() as receiver, office.delivers() as delivering:
        subscription = await office.subscribe(receiver)
        await office.tell(VILLAGE)
        await office.until_drained(subscription)
        # Looking by itself would come too late.
        monkeypatch.setattr("services.notifier.delivering.POLL_S", 10 * WAIT_S)
        await asyncio.sleep(1.5)
        await office.tell(VILLAGE)
        delivering.wake()
        await office.until(lambda: len(receiver.received) == 2)


async def test_all_is_delivered_in_order_per_village_under_random_failures(
    office: Office,
) -> None:
    chance = random.Random(20240922)

    async def behave(_: Received, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(chance.random() * 0.002)
        if chance.random() < 0.05:
            writer.transport.abort()
            return
        await answer(writer, 204 if chance.random() < 0.7 else chance.choice([301, 404, 500]))

    clock = SimulatedClock()
    order = chance.choices(VILLAGES, k=600)
    await office.tell(*order)
    async with receiving(behave) as receiver, office.delivers(clock):
        subscription = await office.subscribe(receiver)
        await office.until(lambda: len(receiver.received) > 0)

        async def drained() -> bool:
            await clock.pass_by(timedelta(minutes=1))
            (place,) = (await office.find(subscription)).places
            return place.sequence == 600 and place.failing_villages == 0

        await office.until(drained)
    assert_in_order(receiver, 600)
    delivered = [a for a in await office.attempts(subscription) if a["status"] == 204]
    assert {a["sequence"] for a in delivered} == set(range(1, 601))
    assert len(await office.attempts(subscription)) >= len(receiver.received)


async def test_a_failing_village_holds_back_that_village_alone(office: Office) -> None:
    async def behave(received: Received, writer: asyncio.StreamWriter) -> None:
        await answer(writer, 500 if received.change["village"] == VILLAGE else 200)

    clock = SimulatedClock()
    await office.tell(*[VILLAGE, OTHER] * 50)
    async with receiving(behave) as receiver, office.delivers(clock):
        subscription = await office.subscribe(receiver)
        await office.until(lambda: len(receiver.sequences(OTHER)) == 50)

        async def saved() -> bool:
            (place,) = (await office.find(subscription)).places
            return place.sequence == 100

        await office.until(saved)
        assert receiver.sequences(VILLAGE) == [1]
        (failing,) = await office.subscriptions.failing(subscription)
        assert (failing.village, failing.sequence, failing.attempts) == (VILLAGE, 1, 1)
        receiver.behave = answering(200)
        await clock.pass_by(timedelta(seconds=10))
        await office.until_drained(subscription)
    assert_in_order(receiver, 100)


@pytest.mark.parametrize("status", [500, 301])
async def test_after_three_days_it_is_disabled_and_resumed_without_loss(
    office: Office, status: int
) -> None:
    clock = SimulatedClock()
    await office.tell(VILLAGE, OTHER, VILLAGE)
    async with receiving(answering(status, body=b"no " * 100)) as receiver, office.delivers(clock):
        subscription = await office.subscribe(receiver)
        await office.until(lambda: len(receiver.received) == 2)
        await clock.pass_by(timedelta(days=2, hours=23))
        assert (await office.find(subscription)).state is State.ACTIVE
        await clock.pass_by(timedelta(hours=2))
        found = await office.until_disabled(subscription)
        assert found.why is Why.FAILING
        assert found.since - datetime.now(UTC) > timedelta(days=2, hours=23)
        attempts = await office.attempts(subscription)
        # On a busy machine one may end before the receiver has it, or before its answer is here.
        answered = [attempt for attempt in attempts if attempt["status"]]
        assert len(answered) <= len(receiver.received) <= len(attempts)
        for village in (VILLAGE, OTHER):
            tried = [a["time"] for a in attempts if a["village"] == village]
            assert 70 < len(tried) <= most_attempts()
            assert max(tried) - min(tried) <= timedelta(days=3)
        assert {len(a["answer"]) for a in attempts if a["status"]} == {200}
        receiver.behave = answering(200)
        receiver.received.clear()
        await office.subscriptions.resume(subscription, clock.now())
        await office.until_drained(subscription)
    assert_in_order(receiver, 3)


async def test_a_save_that_fails_forgets_no_failing_village(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    save, failed = Deliveries.save, list[str]()

    async def save_but_once(self: Deliveries, *given: Any) -> bool:
        if not failed and any(progress.held for progress in given[3]):
            failed.append("once")
            raise OSError("the connection was cut")
        return await save(self, *given)

    monkeypatch.setattr(Deliveries, "save", save_but_once)
    await office.tell(VILLAGE, OTHER)
    async with receiving(answering(500)) as receiver, office.delivers():
        subscription = await office.subscribe(receiver)
        await office.until(lambda: bool(failed))

        async def kept() -> bool:
            (place,) = (await office.find(subscription)).places
            return place.failing_villages == 2

        await office.until(kept)
        receiver.behave = answering(200)
        await office.until_drained(subscription)
    delivered = [a for a in await office.attempts(subscription) if a["status"] == 200]
    assert {a["village"] for a in delivered} == {VILLAGE, OTHER}


async def test_410_gone_disables_at_once(office: Office) -> None:
    await office.tell(VILLAGE, VILLAGE)
    async with receiving(answering(410)) as receiver, office.delivers():
        subscription = await office.subscribe(receiver)
        found = await office.until_disabled(subscription)
        assert found.why is Why.GONE
        assert len(receiver.received) == 1
        (attempt,) = await office.attempts(subscription)
        assert attempt["status"] == 410


@pytest.mark.parametrize("form", ["seconds", "date"])
async def test_retry_after_is_honoured(office: Office, form: str) -> None:
    clock = SimulatedClock()
    asked = (
        "1800"
        if form == "seconds"
        else f"{clock.now() + timedelta(minutes=30):%a, %d %b %Y %H:%M:%S GMT}"
    )
    await office.tell(VILLAGE)
    async with (
        receiving(answering(503, f"Retry-After: {asked}")) as receiver,
        office.delivers(clock),
    ):
        subscription = await office.subscribe(receiver)

        async def turned_down() -> bool:
            return [a["status"] for a in await office.attempts(subscription)] == [503]

        # A request that has arrived is not yet answered: by then it could still be answered 200.
        await office.until(turned_down)
        receiver.behave = answering(200)
        await clock.pass_by(timedelta(minutes=29))
        assert len(receiver.received) == 1
        await clock.pass_by(timedelta(minutes=2))
        await office.until_drained(subscription)
    assert len(receiver.received) == 2


async def redirect_home(_: Received, writer: asyncio.StreamWriter) -> None:
    await answer(writer, 307, "Location: http://127.0.0.1:5432/")


async def redirect_to_metadata(_: Received, writer: asyncio.StreamWriter) -> None:
    await answer(writer, 302, "Location: http://169.254.169.254/latest/meta-data/")


@pytest.mark.parametrize(
    ("behave", "status", "error"),
    [
        (answering(500), 500, None),
        (hang, None, "timeout"),
        (a_byte_a_second, None, "timeout"),
        (answer_then_a_byte_a_second, 200, "timeout"),
        (a_gigabyte, 200, "answer-too-large"),
        (endless_headers, None, "answer-unreadable"),
        (cut_off, None, None),
        (redirect_home, 307, None),
        (redirect_to_metadata, 302, None),
    ],
)
async def test_a_misbehaving_receiver_fails_and_nobody_else_feels_it(
    office: Office, behave: Behaviour, status: int | None, error: str | None
) -> None:
    await office.tell(*VILLAGES)
    # An answer that is wrong must have the time to be seen as that on a busy machine.
    timeout_s = TIMEOUT_S if error == "timeout" else ANSWER_TIMEOUT_S
    async with (
        receiving(behave) as bad,
        receiving() as good,
        office.delivers(timeout_s=timeout_s),
    ):
        failing = await office.subscribe(bad)
        await office.until(lambda: len(bad.received) > 0)
        healthy = await office.subscribe(good)
        await office.until_drained(healthy)
        await office.until(lambda: len(set(bad.sequences())) == len(VILLAGES))

        async def kept() -> bool:
            return len(await office.attempts(failing)) >= len(VILLAGES)

        await office.until(kept)
    attempts = [a for a in await office.attempts(failing) if a["error"] != "interrupted"]
    assert attempts
    if behave is cut_off:
        assert {a["error"] for a in attempts} <= {"connection-failed", "answer-unreadable"}
    else:
        assert {(a["status"], a["error"]) for a in attempts} == {(status, error)}
    assert all(a["duration_ms"] < 1_000 * ANSWER_TIMEOUT_S for a in attempts)
    assert_in_order(good, len(VILLAGES))


async def test_a_receiver_that_never_answers_holds_nobody_up(office: Office) -> None:
    await office.tell(*VILLAGES)
    async with (
        receiving(hang) as bad,
        receiving() as good,
        office.delivers(timeout_s=10 * WAIT_S),
    ):
        await office.subscribe(bad)
        await office.until(lambda: len(bad.received) == len(VILLAGES))
        healthy = await office.subscribe(good)
        await office.until_drained(healthy)
    assert_in_order(good, len(VILLAGES))


async def test_a_self_signed_certificate_is_a_failure(office: Office, tmp_path: Path) -> None:
    await office.tell(VILLAGE)
    async with receiving(tls=self_signed(tmp_path)) as receiver, office.delivers():
        subscription = await office.subscribe(receiver)

        async def attempted() -> bool:
            return len(await office.attempts(subscription)) > 0

        await office.until(attempted)
    assert {a["error"] for a in await office.attempts(subscription)} == {"tls-failed"}
    assert receiver.received == []


async def test_a_trusted_certificate_is_taken_for_its_own_name_alone(
    office: Office, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tls = self_signed(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "certificate"))

    async def loopback(_: str, __: int) -> Sequence[Address]:
        return [ip_address("127.0.0.1")]

    await office.tell(VILLAGE)
    async with receiving(tls=tls) as receiver, office.delivers(resolve=loopback):
        right = await office.subscribe(f"https://receiver.example:{receiver.port}/")
        wrong = await office.subscribe(f"https://other.example:{receiver.port}/")
        await office.until_drained(right)

        async def attempted() -> bool:
            return len(await office.attempts(wrong)) > 0

        await office.until(attempted)
    assert receiver.received[0].headers["host"] == f"receiver.example:{receiver.port}"
    assert {a["error"] for a in await office.attempts(wrong)} == {"tls-failed"}


def self_signed(folder: Path) -> ssl.SSLContext:
    key, certificate = folder / "key", folder / "certificate"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-subj", "/CN=receiver.example"),
            *("-addext", "subjectAltName=DNS:receiver.example"),
            *("-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context


async def test_a_name_that_changes_its_answer_is_checked_at_every_connection(
    office: Office,
) -> None:
    answers = ["127.0.0.1"]

    async def rebinding(_: str, __: int) -> Sequence[Address]:
        return [ip_address(answer) for answer in answers]

    clock = SimulatedClock()
    async with receiving() as receiver, office.delivers(clock, resolve=rebinding):
        subscription = await office.subscribe(f"http://receiver.example:{receiver.port}/")
        await office.tell(VILLAGE)
        await office.until_drained(subscription)
        receiver.abort()
        answers[:] = ["169.254.169.254"]
        await office.tell(VILLAGE)

        async def refused() -> bool:
            errors = [a["error"] for a in await office.attempts(subscription)]
            return "address-not-allowed" in errors

        await clock.pass_by(timedelta(minutes=5))
        await office.until(refused)
    assert len(receiver.received) == 1


async def test_a_worker_stopped_and_started_again_and_again_passes_nothing_over(
    office: Office,
) -> None:
    chance = random.Random(5)

    async def behave(_: Received, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(chance.random() * 0.01)
        await answer(writer, 200 if chance.random() < 0.9 else 500)

    clock = SimulatedClock()
    await office.tell(*chance.choices(VILLAGES[:10], k=400))
    async with receiving(behave) as receiver:
        subscription = await office.subscribe(receiver)
        for _ in range(10):
            async with office.delivers(clock):
                await clock.pass_by(timedelta(seconds=20))
        receiver.behave = answering(200)
        async with office.delivers(clock):
            await clock.pass_by(timedelta(hours=1))
            await office.until_drained(subscription)
    assert_in_order(receiver, 400)


async def test_two_workers_never_deliver_at_the_same_time(office: Office) -> None:
    async with receiving() as receiver, office.delivers(), office.delivers():
        subscription = await office.subscribe(receiver)
        await office.tell(*VILLAGES * 3)
        await office.until_drained(subscription)
        await asyncio.sleep(0.5)
    assert len(receiver.received) == len(VILLAGES) * 3
    assert_in_order(receiver, len(VILLAGES) * 3)


async def test_who_lost_a_subscription_moves_nothing(office: Office) -> None:
    async with receiving() as receiver:
        subscription = await office.subscribe(receiver)
    first = await office.deliveries.take_over(subscription)
    second = await office.deliveries.take_over(subscription)
    assert first is not None
    assert second is not None
    assert not await office.deliveries.save(subscription, first.version, [], [])
    assert await office.deliveries.save(subscription, second.version, [], [])
    assert not await office.deliveries.disable(
        subscription, first.version, Why.GONE, datetime.now(UTC)
    )


async def test_a_subscriber_far_behind_leaves_few_rows(office: Office) -> None:
    await office.tell(*VILLAGES * 25)
    async with receiving(answering(500)) as receiver, office.delivers(SimulatedClock()):
        subscription = await office.subscribe(receiver)

        async def all_held() -> bool:
            (place,) = (await office.find(subscription)).places
            return place.sequence == place.last == 1_000

        await office.until(all_held)
        (place,) = (await office.find(subscription)).places
        assert place.failing_villages == len(VILLAGES)
        assert len(receiver.received) == len(VILLAGES)


async def test_after_a_recovery_the_queue_drains_at_full_speed(office: Office) -> None:
    """Hours into an outage the next attempts lie an hour apart; the first to succeed brings the
    others forward."""
    clock = SimulatedClock()
    await office.tell(*VILLAGES * 10)
    async with receiving(answering(500)) as receiver, office.delivers(clock):
        subscription = await office.subscribe(receiver)
        await office.until(lambda: len(receiver.sequences()) == len(VILLAGES))
        await clock.pass_by(timedelta(hours=6))
        receiver.behave = answering(200)
        receiver.received.clear()
        due = clock.next_due()
        assert due is not None
        clock.move_to(due)
        await office.until_drained(subscription)
        assert clock.now() == due
    assert_in_order(receiver, len(VILLAGES) * 10)


async def test_a_receiver_is_not_asked_by_more_than_64_villages_at_a_time(office: Office) -> None:
    await office.tell(*MANY)
    async with receiving(hang) as receiver, office.delivers():
        await office.subscribe(receiver)
        await office.until(lambda: len(receiver.received) > 64)
        assert 40 < receiver.busiest <= 64


async def test_a_resend_repeats_in_order_with_the_same_ids(office: Office) -> None:
    await office.tell(*[VILLAGE, OTHER] * 10)
    async with receiving() as receiver, office.delivers() as delivering:
        subscription = await office.subscribe(receiver)
        await office.until_drained(subscription)
        ids = {r.change["sequence"]: r.headers["webhook-id"] for r in receiver.received}
        assert len(set(ids.values())) == 20
        receiver.received.clear()
        await office.subscriptions.resend(subscription, ELECTION, 15)
        delivering.changed()
        await office.until(lambda: len(receiver.received) >= 5)
        await office.until_drained(subscription)
    assert sorted(receiver.sequences()) == [16, 17, 18, 19, 20]
    assert all(ids[r.change["sequence"]] == r.headers["webhook-id"] for r in receiver.received)


async def test_a_resend_never_passes_over_what_has_failed(office: Office) -> None:
    clock = SimulatedClock()
    await office.tell(VILLAGE, OTHER, VILLAGE, OTHER)
    async with receiving(answering(500)) as receiver, office.delivers(clock) as delivering:
        subscription = await office.subscribe(receiver)

        async def all_held() -> bool:
            return (await office.find(subscription)).places[0].sequence == 4

        await office.until(all_held)
        receiver.behave = answering(200)
        receiver.received.clear()
        await office.subscriptions.resend(subscription, ELECTION, 1)
        delivering.changed()
        await clock.pass_by(timedelta(minutes=1))
        await office.until_drained(subscription)
    assert_in_order(receiver, 4)


async def test_paused_nothing_is_sent_and_resumed_everything(office: Office) -> None:
    async with receiving() as receiver, office.delivers() as delivering:
        subscription = await office.subscribe(receiver)
        await office.subscriptions.pause(subscription, datetime.now(UTC))
        await office.tell(VILLAGE, OTHER)
        await asyncio.sleep(1.5)
        assert receiver.received == []
        await office.subscriptions.resume(subscription, datetime.now(UTC))
        delivering.changed()
        await office.until_drained(subscription)
    assert_in_order(receiver, 2)


async def test_the_end_of_a_token_ends_its_subscriptions(office: Office) -> None:
    tokens = Tokens(office.engine, None)
    await tokens.create(Role.KPU, "KPU Kerinci")
    (issued,) = await tokens.issued()
    async with receiving() as receiver, office.delivers():
        subscription = await office.subscriptions.add(
            issued.token_id, receiver.url, new_key(Scheme.V1), {ELECTION: 0}, datetime.now(UTC)
        )
        await tokens.revoke(issued.token_id)
        found = await office.until_disabled(subscription)
    assert found.why is Why.REVOKED


async def test_a_secret_sealed_with_another_key_disables_with_a_notice(office: Office) -> None:
    async with receiving() as receiver:
        subscription = await office.subscribe(receiver)
    office.box = SecretBox(b"n" * 32)
    async with office.delivers():
        assert (await office.until_disabled(subscription)).why is Why.SECRET


async def test_after_the_office_s_key_was_lost_a_rotated_secret_delivers_again(
    office: Office,
) -> None:
    await office.tell(VILLAGE)
    async with receiving() as receiver:
        subscription = await office.subscribe(receiver)
        office.box = SecretBox(b"n" * 32)
        subscriptions = Subscriptions(office.engine, office.box)
        async with office.delivers():
            await office.until_disabled(subscription)
            now, key = datetime.now(UTC), new_key(Scheme.V1)
            await subscriptions.rotate(subscription, key, now + timedelta(days=1))
            await subscriptions.resume(subscription, now)
            await office.until_drained(subscription)
    (received,) = receiver.received
    Webhook(key.secret()).verify(received.body, received.headers)
    assert await subscriptions.keys(subscription, now) == [key]


async def test_old_attempts_are_trimmed(office: Office) -> None:
    async with receiving() as receiver, office.delivers():
        subscription = await office.subscribe(receiver)
        await office.tell(VILLAGE, OTHER)
        await office.until_drained(subscription)
    async with office.engine.begin() as connection:
        await connection.execute(
            text(
                "UPDATE notifier.deliveries SET time = time - interval '8 days' WHERE sequence = 1"
            )
        )
    await office.deliveries.trim(datetime.now(UTC))
    assert [a["sequence"] for a in await office.attempts(subscription)] == [2]
