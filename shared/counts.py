"""The tally of a village, as projections keep it and KPU is told it."""

from typing import Final, NamedTuple


class Counts(NamedTuple):
    """The counts of contract section 4, in its order; the columns of every table of tallies."""

    residents: int = 0
    eligible: int = 0
    eligible_male: int = 0
    eligible_female: int = 0
    eligible_recorded: int = 0
    eligible_unrecorded: int = 0
    first_time: int = 0
    first_time_unrecorded: int = 0
    ikd_active: int = 0
    relocating: int = 0
    under_age: int = 0
    tni: int = 0
    polri: int = 0
    rights_revoked: int = 0


NOTHING: Final = Counts()


class VillageKey(NamedTuple):
    """A village in an election: a tally's key, in the order in which tallies are locked."""

    election: str
    village: str
