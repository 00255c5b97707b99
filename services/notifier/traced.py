"""When each change passed the stations of its way: told to whoever asks, and measured by legs."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import orjson

from services.notifier.domain.changes import Change, Trace
from shared.latency import Leg, observe

# What stands before the `}` that closes a change.
_MEMBER: Final = b',"trace":%s}'


@dataclass(frozen=True, slots=True)
class Passed:
    """A numbered change's way: `committed_at` is when the log says that its last event was
    recorded. Without a trace it did not come straight through."""

    committed_at: datetime
    numbered_at: datetime
    trace: Trace | None


def with_trace(written: bytes, passed: Passed) -> bytes:
    """A change's JSON, with its trace as one more member: null where it has none."""
    trace = passed.trace
    members = None
    if trace is not None:
        members = {
            "received_at": trace.received_at,
            "committed_at": passed.committed_at,
            "published_at": trace.published_at,
            "counted_at": trace.counted_at,
            "announced_at": trace.announced_at,
            "numbered_at": passed.numbered_at,
        }
    return written[:-1] + _MEMBER % orjson.dumps(members, option=orjson.OPT_UTC_Z)


def observe_numbered(changes: Iterable[Change], numbered_at: datetime) -> None:
    """Measure the legs that end here."""
    for change in changes:
        if (trace := change.trace) is not None:
            observe(Leg.ANNOUNCED, trace.counted_at, trace.announced_at)
            observe(Leg.NUMBERED, trace.announced_at, numbered_at)


def observe_sent(passed: Passed, now: datetime) -> None:
    """Measure the last leg and the whole way of what a client of the stream waited for."""
    if passed.trace is not None:
        observe(Leg.SENT, passed.numbered_at, now)
        observe(Leg.ALL_SENT, passed.trace.received_at, now)


def observe_delivered(passed: Passed, now: datetime) -> None:
    """Measure the same of what a webhook's receiver has confirmed."""
    if passed.trace is not None:
        observe(Leg.DELIVERED, passed.numbered_at, now)
        observe(Leg.ALL_DELIVERED, passed.trace.received_at, now)
