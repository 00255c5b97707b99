"""The tally of a village, as projections keep it and KPU is told it."""

from typing import Annotated, Final, NamedTuple


class Counts(NamedTuple):
    """The counts of contract section 4, in its order; the columns of every table of tallies.

    What is written beside each is what the documents of the interface say of it.
    """

    residents: Annotated[int, "All who reside there on polling day and live."] = 0
    eligible: Annotated[int, "Residents who may vote on polling day."] = 0
    eligible_male: Annotated[int, "Of the eligible, men (L)."] = 0
    eligible_female: Annotated[int, "Of the eligible, women (P)."] = 0
    eligible_recorded: Annotated[int, "Of the eligible, with biometrics (perekaman)."] = 0
    eligible_unrecorded: Annotated[int, "Of the eligible, without biometrics."] = 0
    first_time: Annotated[int, "Of the eligible, first-time voters (pemilih pemula)."] = 0
    first_time_unrecorded: Annotated[int, "Of the first-time voters, without biometrics."] = 0
    ikd_active: Annotated[int, "Of the residents, with an active digital identity (IKD)."] = 0
    relocating: Annotated[int, "Of the residents, with a moving letter not yet used."] = 0
    under_age: Annotated[int, "Residents too young on polling day and not married."] = 0
    tni: Annotated[int, "Residents serving in the armed forces (TNI)."] = 0
    polri: Annotated[int, "Residents serving in the police (Polri)."] = 0
    rights_revoked: Annotated[int, "Residents without the right to vote, by a verdict."] = 0


NOTHING: Final = Counts()


class VillageKey(NamedTuple):
    """A village in an election: a tally's key, in the order in which tallies are locked."""

    election: str
    village: str
