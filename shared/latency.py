"""The legs of an event's way to KPU, measured alike in the service where each of them ends."""

from datetime import datetime, timedelta
from enum import StrEnum
from functools import cache
from typing import Final

from prometheus_client import Histogram

# What took longer was not on its way: it lay in a topic that somebody reads from its beginning,
# or in a copy that was put back.
LONGEST: Final = timedelta(hours=1)


class Leg(StrEnum):
    """From where to where."""

    COMMITTED = "received-committed"
    PUBLISHED = "committed-published"
    COUNTED = "published-counted"
    ANNOUNCED = "counted-announced"
    NUMBERED = "announced-numbered"
    SENT = "numbered-sent"
    DELIVERED = "numbered-delivered"
    ALL_SENT = "received-sent"
    ALL_DELIVERED = "received-delivered"


_SECONDS: Final = Histogram(
    "cacah_leg_seconds",
    "How long each leg of an event's way to KPU took, in the service where it ends",
    ["leg"],
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 30, 300),
)


def observe(leg: Leg, begins: datetime, ends: datetime) -> None:
    """Measure one leg; clocks of several machines may make it less than nothing."""
    took = ends - begins
    if took <= LONGEST:
        _of(leg).observe(max(0.0, took.total_seconds()))


@cache
def _of(leg: Leg) -> Histogram:
    return _SECONDS.labels(leg.value)
