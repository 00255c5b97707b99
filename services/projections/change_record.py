"""The record of `voter.changes`, as projections write it and the documents describe it."""

from datetime import datetime
from typing import NotRequired

from typing_extensions import TypedDict

from shared.shapes import CountsShown, DistrictCode, VillageCode
from shared.traces import CountedTrace


class RecordTrace(TypedDict):
    """When the change's last event was received, published and counted."""

    received_at: datetime
    published_at: datetime
    counted_at: datetime


class ChangeRecord(TypedDict):
    """A record of `voter.changes`: one village's tally going from `before` to `after`. `revision`
    counts the village's changes from 1; drop one that is not above the last you have. `trace` is
    there where the change came straight through."""

    election: str
    village: VillageCode
    district: DistrictCode
    revision: int
    position: int
    time: datetime
    stage: str | None
    before: CountsShown
    after: CountsShown
    trace: NotRequired[RecordTrace]


def record_trace(trace: CountedTrace) -> RecordTrace:
    """A trace as the record carries it."""
    return {
        "received_at": trace.event.received_at,
        "published_at": trace.event.published_at,
        "counted_at": trace.counted_at,
    }
