"""How far a subscriber has a feed, against a receiver that fails at random."""

import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from services.notifier.domain.track import Held, Track

NOW = datetime(2024, 9, 1, tzinfo=UTC)
LATER = NOW + timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Told:
    sequence: int
    village: str


def feed(villages: str) -> list[Told]:
    return [Told(sequence, village) for sequence, village in enumerate(villages, 1)]


def track(villages: str, cursor: int = 0) -> Track[Told]:
    made = Track[Told](cursor, {})
    made.take(feed(villages)[cursor:])
    return made


def deliver_all(way: Track[Told], village: str) -> list[int]:
    sent = []
    while (change := way.first(village)) is not None:
        sent.append(change.sequence)
        way.delivered(village)
    return sent


def test_the_cursor_stays_before_what_is_under_way() -> None:
    way = track("ABA")
    assert (way.start(), way.start(), way.start()) == ("A", "B", None)
    assert deliver_all(way, "B") == [2]
    assert way.cursor == 0
    assert deliver_all(way, "A") == [1, 3]
    assert way.cursor == 3


def test_a_failing_village_holds_back_itself_alone() -> None:
    way = track("ABAC")
    assert way.start() == "A"
    way.hold("A", NOW, LATER)
    assert [way.start(), way.start(), way.start()] == ["B", "C", None]
    deliver_all(way, "B")
    deliver_all(way, "C")
    way.take([Told(5, "A"), Told(6, "B")])
    assert way.cursor == 5
    assert way.held["A"] == Held(1, 5, 1, NOW, LATER)
    assert way.start_retry(NOW) is None
    assert way.next_due() == LATER
    assert way.start_retry(LATER) == "A"
    assert way.start_retry(LATER) is None


def test_after_a_recovery_each_held_village_is_tried_early_once() -> None:
    way = track("AB")
    for village in "AB":
        assert way.start() == village
        way.hold(village, NOW, LATER)
    way.hasten(NOW)
    assert {way.start_retry(NOW), way.start_retry(NOW)} == {"A", "B"}
    way.failed_again("A", 1, NOW, LATER)
    way.hasten(NOW)
    assert way.start_retry(NOW) is None
    assert way.held["A"].attempts == 2


@pytest.mark.parametrize("seed", range(200))
def test_nothing_is_passed_over_however_it_fails_and_is_started_again(seed: int) -> None:
    """A restart at any moment goes on from the cursor and the held villages alone."""
    chance = random.Random(seed)
    changes = feed("".join(chance.choices("ABCD", k=60)))
    delivered: list[Told] = []
    way, now = Track[Told](0, {}), NOW
    for _ in range(5_000):
        now += timedelta(seconds=1)
        if chance.random() < 0.02:
            way = Track(way.cursor, _restored(way))
        if way.under_way < 10:
            way.take(changes[way.read_to : way.read_to + 5])
        _deliver_one(way, now, chance, delivered)
        _retry_one(way, now, chance, changes, delivered)
        if way.cursor == len(changes) and not way.held:
            break
    assert {each.sequence for each in delivered} == set(range(1, 61))
    for village in "ABCD":
        first_seen = list(dict.fromkeys(e.sequence for e in delivered if e.village == village))
        assert first_seen == sorted(first_seen)


def _restored(way: Track[Told]) -> dict[str, Held]:
    return {
        village: Held(
            h.sequence, max(way.cursor, h.sequence), h.attempts, h.since, h.next_at, h.hastened
        )
        for village, h in way.held.items()
    }


def _deliver_one(
    way: Track[Told], now: datetime, chance: random.Random, delivered: list[Told]
) -> None:
    village = way.start()
    while village is not None and (change := way.first(village)) is not None:
        if chance.random() < 0.4:
            way.hold(village, now, now + timedelta(seconds=chance.randrange(9)))
            return
        delivered.append(change)
        way.delivered(village)


def _retry_one(
    way: Track[Told],
    now: datetime,
    chance: random.Random,
    changes: list[Told],
    delivered: list[Told],
) -> None:
    village = way.start_retry(now)
    if village is None:
        return
    held = way.held[village]
    for change in changes[held.sequence - 1 : held.until]:
        if change.village != village:
            continue
        if chance.random() < 0.4:
            way.failed_again(village, change.sequence, now, now + timedelta(seconds=3))
            return
        delivered.append(change)
        way.retried(village, change.sequence)
        if chance.random() < 0.5:
            way.hasten(now)
    way.release(village)
