"""An election as data: the day, the area and the age that decide who is counted."""

from dataclasses import dataclass
from datetime import date
from typing import Final


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage of the voter list and the first day on which it stands."""

    name: str
    begins: date


@dataclass(frozen=True, slots=True)
class Election:
    """What the counts of an election depend on besides the log (contract section 4).

    `area` is a region code, or `ID` for the country; `first_time_since` is the first 17th
    birthday that makes a first-time voter (pemilih pemula); stages are in the order of their
    days.
    """

    id: str
    polling_day: date
    area: str
    minimum_age: int
    first_time_since: date
    stages: tuple[Stage, ...] = ()

    def stage_on(self, day: date) -> str | None:
        """The stage of the voter list that stands on a day, none before the first."""
        reached = [stage.name for stage in self.stages if stage.begins <= day]
        return reached[-1] if reached else None


# The regional election of 27 November 2024. First-time voters turned 17 after the general
# election of 14 February 2024. Stage days: domain facts on PKPU 2/2024's calendar.
PILKADA_2024: Final = Election(
    id="pilkada-2024",
    polling_day=date(2024, 11, 27),
    area="15.01",
    minimum_age=17,
    first_time_since=date(2024, 2, 15),
    stages=(
        Stage("dp4", date(2024, 5, 2)),
        Stage("coklit", date(2024, 6, 24)),
        Stage("dps", date(2024, 8, 18)),
        Stage("dpt", date(2024, 9, 22)),
    ),
)
