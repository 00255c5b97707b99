"""How far a subscriber has a feed, against a receiver that fails at random."""

import random
from collections.abc import Callable
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


def held_and_retried(villages: str = "AB") -> Track[Told]:
    """Every village is held until LATER, and A is being retried."""
    way = track(villages)
    for village in sorted(set(villages)):
        assert way.start() == village
        way.hold(village, NOW, LATER)
    assert way.start_retry(LATER) == "A"
    return way


def test_what_is_to_be_saved_is_touched_by_every_step() -> None:
    steps: dict[str, Callable[[Track[Told]], None]] = {
        "hold": lambda way: way.hold("B", NOW, LATER),
        "retried": lambda way: way.retried("A", 1),
        "failed_again": lambda way: way.failed_again("A", 1, NOW, LATER),
        "release": lambda way: way.release("A"),
    }
    for name, step in steps.items():
        way = track("AB")
        assert (way.start(), way.start()) == ("A", "B")
        way.hold("A", NOW, LATER)
        assert way.start_retry(LATER) == "A"
        way.touched = set()
        step(way)
        assert way.touched == {"B" if name == "hold" else "A"}, name


def test_a_retried_village_goes_on_with_its_next_change_as_if_it_had_never_failed() -> None:
    way = held_and_retried("AA")
    way.hasten(NOW)
    way.retried("A", 1)
    held = way.held["A"]
    assert (held.sequence, held.attempts, held.hastened) == (2, 0, False)


def test_a_village_that_fails_again_is_due_again() -> None:
    way = held_and_retried("A")
    assert way.next_due() is None
    way.failed_again("A", 1, NOW, LATER + timedelta(minutes=2))
    assert way.held["A"].attempts == 2
    assert way.start_retry(LATER) is None
    assert way.start_retry(LATER + timedelta(minutes=2)) == "A"


def test_a_village_that_is_released_may_be_held_and_retried_anew() -> None:
    way = held_and_retried("A")
    way.release("A")
    way.take([Told(2, "A")])
    assert way.start() == "A"
    way.hold("A", LATER, LATER)
    assert way.start_retry(LATER) == "A"


def test_who_is_being_retried_is_hastened_only_when_it_has_failed_again() -> None:
    way = held_and_retried("AB")
    way.hasten(NOW)
    assert (way.held["A"].hastened, way.held["B"].hastened) == (False, True)
    assert (way.start_retry(NOW), way.start_retry(NOW)) == ("B", None)
    way.failed_again("A", 1, NOW, LATER + timedelta(hours=1))
    way.hasten(LATER)
    assert way.held["A"].hastened
    assert way.start_retry(LATER) == "A"


def test_a_stale_time_in_the_queue_is_passed_over() -> None:
    way = track("AB")
    for village in "AB":
        assert way.start() == village
        way.hold(village, NOW, LATER)
    way.hasten(NOW)
    assert {way.start_retry(NOW), way.start_retry(NOW)} == {"A", "B"}
    assert way.next_due() is None


def test_after_a_restart_a_village_that_was_hastened_is_not_hastened_again() -> None:
    held = {name: Held(1, 1, 3, NOW, LATER, hastened=name == "A") for name in "AB"}
    way = Track[Told](2, held)
    way.hasten(NOW)
    assert (way.start_retry(NOW), way.start_retry(NOW)) == ("B", None)


def test_a_change_is_held_from_the_sequence_that_is_still_to_come() -> None:
    way = Track[Told](2, {"A": Held(3, 2, 0, NOW, LATER)})
    way.take([Told(3, "A"), Told(4, "B")])
    assert way.held["A"].until == 3
