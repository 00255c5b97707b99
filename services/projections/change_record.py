"""The record of `voter.changes`, as projections write it and the documents describe it."""

from datetime import datetime

from typing_extensions import TypedDict

from shared.shapes import CountsShown, DistrictCode, VillageCode


class ChangeRecord(TypedDict):
    """A record of `voter.changes`: one village's tally going from `before` to `after`. `revision`
    counts the village's changes from 1; drop one that is not above the last you have."""

    election: str
    village: VillageCode
    district: DistrictCode
    revision: int
    position: int
    time: datetime
    stage: str | None
    before: CountsShown
    after: CountsShown
