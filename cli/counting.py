"""Counts the generated residents by a method of its own, to hold the system's tallies against.

It shares no code with the services and knows nothing of events, logs or deltas: it looks at each
person once, where they live on 27 November 2024 and what they are on that day, and adds one.
"""

import csv
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date
from typing import Final

from cli.sample import Quirk, Resident
from shared.regions import DATA

POLLING_DAY: Final = (2024, 11, 27)
GENERAL_ELECTION_PLUS_ONE: Final = (2024, 2, 15)

COUNTS: Final = (
    "residents",
    "eligible",
    "eligible_male",
    "eligible_female",
    "eligible_recorded",
    "eligible_unrecorded",
    "first_time",
    "first_time_unrecorded",
    "ikd_active",
    "relocating",
    "under_age",
    "tni",
    "polri",
    "rights_revoked",
)

Tally = dict[str, int]


@dataclass(slots=True)
class Expectation:
    """What must come out in the end."""

    tallies: dict[str, Tally]
    names: dict[str, str]
    sent: int = 0
    accepted: int = 0
    duplicates: int = 0
    rejected: int = 0
    total: Tally = field(default_factory=lambda: dict.fromkeys(COUNTS, 0))


def expect(residents: Iterable[Resident]) -> Expectation:
    """Count the residents of each village of Kerinci, and the outcomes of what is sent of them."""
    names = _village_names()
    expected = Expectation({code: dict.fromkeys(COUNTS, 0) for code in sorted(names)}, names)
    for resident in residents:
        _add_submissions(expected, resident)
        tally = expected.tallies.get(village_on_polling_day(resident))
        if tally is not None:
            for name in labels(resident):
                tally[name] += 1
                expected.total[name] += 1
    return expected


def village_on_polling_day(resident: Resident) -> str:
    """Where somebody lives when the polls open: the last move that has happened by then."""
    done = [m for m in resident.moves if m.effective_date.timetuple()[:3] <= POLLING_DAY]
    if not done:
        return resident.registered_in
    return max(done, key=lambda move: move.effective_date).to_village


def labels(resident: Resident) -> list[str]:
    """Every count in which this person is one."""
    found = ["residents"]
    if resident.ikd_active:
        found.append("ikd_active")
    of_age = _seventeenth_birthday(resident.born) <= POLLING_DAY
    if not of_age and resident.marital_status == "B":
        return [*found, "under_age"]
    if resident.service != "none":
        return [*found, resident.service]
    return [*found, "eligible", *_voter_labels(resident)]


def _voter_labels(resident: Resident) -> list[str]:
    found = ["eligible_male" if resident.sex == "L" else "eligible_female"]
    found.append("eligible_recorded" if resident.recorded else "eligible_unrecorded")
    if _seventeenth_birthday(resident.born) >= GENERAL_ELECTION_PLUS_ONE:
        found.append("first_time")
        if not resident.recorded:
            found.append("first_time_unrecorded")
    return found


def _seventeenth_birthday(born: date) -> tuple[int, int, int]:
    """As numbers, so that the 17th birthday of 29 February stays one and falls before 1 March."""
    return born.year + 17, born.month, born.day


def _add_submissions(expected: Expectation, resident: Resident) -> None:
    refused = resident.quirk in (Quirk.REGISTERED_TWICE, Quirk.TOO_YOUNG)
    repeated = resident.quirk is Quirk.RESENT
    accepted = 1 + resident.recorded + resident.ikd_active + len(resident.moves)
    expected.accepted += accepted
    expected.rejected += refused
    expected.duplicates += repeated
    expected.sent += accepted + refused + repeated


def _village_names() -> dict[str, str]:
    with (DATA / "wilayah_kerinci.csv").open(encoding="utf-8", newline="") as lines:
        rows = csv.DictReader(lines)
        return {r["kode"]: r["name"] for r in rows if r["level"] in ("desa", "kelurahan")}
