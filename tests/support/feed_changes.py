"""Changes of both feeds as the notifier serves them, that join as a feed's do."""

import json
from collections.abc import Iterator
from itertools import count, cycle
from typing import Any
from uuid import UUID

from cli.following.changes import Change, Feed, read_change
from shared.regions import villages_in
from tests.support.village_records import counts

ELECTION = "pilkada-2024"
VILLAGES = [village.code for village in villages_in("15.01")[:5]]
VOTERS = [str(UUID(int=number)) for number in range(1, 6)]
TIME = "2024-08-20T01:00:00.123456Z"


def village_members(sequence: int, village: str, before: int, after: int) -> dict[str, Any]:
    """A village that goes from so many residents to so many."""
    return {
        "sequence": sequence,
        "election": ELECTION,
        "village": village,
        "district": village[:8],
        "position": sequence,
        "time": TIME,
        "stage": 'a "stage",\nof two lines' if sequence % 3 else None,
        "before": counts(residents=before),
        "after": counts(residents=after, eligible=after // 2),
    }


def voter_members(sequence: int, voter: str, before: str | None, after: str | None) -> Any:
    """A voter who goes from one village, or none, to another."""
    kind = "added" if before is None else "removed" if after is None else "moved"
    return {
        "sequence": sequence,
        "election": ELECTION,
        "voter": voter,
        "kind": kind,
        "reason": "id.dukcapil.resident.relocated",
        "from_village": before,
        "to_village": after,
        "position": sequence,
        "time": TIME,
        "stage": "dps",
    }


def village_feed() -> Iterator[dict[str, Any]]:
    """Villages that grow in turn, without end."""
    stands = dict.fromkeys(VILLAGES, counts())
    for sequence, village in zip(count(1), cycle(VILLAGES), strict=False):
        members = village_members(sequence, village, 0, sequence)
        members["before"], stands[village] = stands[village], members["after"]
        yield members


def voter_feed() -> Iterator[dict[str, Any]]:
    """Voters who come, move and go in turn, without end."""
    route = [None, VILLAGES[0], VILLAGES[1], None]
    for number in count():
        step = number // len(VOTERS) % 3
        voter = VOTERS[number % len(VOTERS)]
        yield voter_members(number + 1, voter, route[step], route[step + 1])


def changes_of(feed: Feed, number: int) -> list[Change]:
    """The first changes of a feed."""
    members = village_feed() if feed is Feed.VILLAGES else voter_feed()
    return [read_change(feed, json.dumps(next(members))) for _ in range(number)]
