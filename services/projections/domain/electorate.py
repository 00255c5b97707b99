"""How a resident stands in an election: where they are counted, and as what.

Each rule answers for polling day alone, so that a pupil who turns 17 by then is a voter now.
"""

from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Final, TypeVar

from services.projections.domain.resident import Biodata, Life, Resident, life_of
from shared.calendar import anniversary
from shared.elections import Election
from shared.events.facts import MaritalStatus, Service, Sex
from shared.region_codes import lies_in

T = TypeVar("T")


class VoterClass(StrEnum):
    """The classes of a village's residents, in the order in which the first that fits holds."""

    UNDER_AGE = "under_age"
    TNI = "tni"
    POLRI = "polri"
    RIGHTS_REVOKED = "rights_revoked"
    ELIGIBLE = "eligible"


_CLASS_OF_SERVICE: Final = {Service.TNI: VoterClass.TNI, Service.POLRI: VoterClass.POLRI}


@dataclass(frozen=True, slots=True)
class Standing:
    """A resident as an election counts them: the village and everything that a tally asks.

    `is_first_time` says that the birthday of age falls into the election's first-time window;
    it makes a first-time voter of those alone who are eligible.
    """

    village: str
    voter_class: VoterClass
    sex: Sex
    is_recorded: bool
    is_first_time: bool
    is_ikd_active: bool
    is_relocating: bool

    @property
    def is_eligible(self) -> bool:
        return self.voter_class is VoterClass.ELIGIBLE


def votes_in(standing: Standing | None) -> str | None:
    """The village whose voter somebody is, none if of no village."""
    return standing.village if standing is not None and standing.is_eligible else None


def standing_for(resident: Resident, election: Election) -> Standing | None:
    """How a resident stands in an election; none if it does not count them.

    Counted are those who are not dead on polling day and whose residence on polling day lies in
    the area (contract section 4). Law: only residents of the area vote in that area's race, at
    the address on their documents, de jure (domain section 3, KPU's chair of 2 May 2024).
    """
    life = life_of(resident)
    return None if life is None else standing_of(life, election)


def standing_of(life: Life, election: Election) -> Standing | None:
    """As `standing_for`, for facts sorted already: they serve every election."""
    village = counted_in(life, election)
    if village is None:
        return None
    return Standing(
        village=village,
        voter_class=class_of(life, election),
        sex=life.biodata.sex,
        is_recorded=life.is_recorded,
        is_first_time=is_first_time(life.biodata, election),
        is_ikd_active=life.is_ikd_active,
        is_relocating=is_relocating(life),
    )


def village_voted_in(life: Life, election: Election) -> str | None:
    """As `votes_in` says of `standing_of`, without what a tally asks besides."""
    village = counted_in(life, election)
    if village is None or class_of(life, election) is not VoterClass.ELIGIBLE:
        return None
    return village


def counted_in(life: Life, election: Election) -> str | None:
    """The village that an election counts somebody in, none if it does not."""
    day = election.polling_day
    village = residence_on(life, day)
    if not lies_in(village, election.area) or is_dead_on(life, day):
        return None
    return village


def class_of(life: Life, election: Election) -> VoterClass:
    """The one class of a resident: the first that fits.

    Contract section 4. Law: PKPU 7/2024 art. 4 (17 or more on polling day, or married, or ever
    married; not deprived of the vote by a final verdict; not serving TNI or Polri) and art. 56 of
    the law first made as Perppu 1/2014; both as quoted in domain section 3.
    """
    day = election.polling_day
    if not is_aged(life.biodata, election.minimum_age, day) and not is_married_on(life, day):
        return VoterClass.UNDER_AGE
    serving = _CLASS_OF_SERVICE.get(service_on(life, day))
    if serving is not None:
        return serving
    if is_revoked_on(life, day):
        return VoterClass.RIGHTS_REVOKED
    return VoterClass.ELIGIBLE


def is_aged(biodata: Biodata, years: int, day: date) -> bool:
    """Whether a person is `years` old on a day.

    Contract section 3: from the anniversary of birth on; for 29 February, in a common year,
    1 March. Law: PKPU 7/2024 art. 4, who is born on 27 November 2007 votes on 27 November 2024
    (domain section 3, the date rule). Calendar dates are compared, never counts of days.
    """
    return anniversary(biodata.birth_date, years) <= day


def is_married_on(life: Life, day: date) -> bool:
    """Whether a person is or was married by a day.

    Contract section 3. Law: PKPU 7/2024 art. 4 "married, or ever married"; divorce and widowhood
    keep the vote (domain section 3).
    """
    if life.biodata.marital_status is not MaritalStatus.NEVER:
        return True
    return any(married_on <= day for married_on in life.marriages)


def is_first_time(biodata: Biodata, election: Election) -> bool:
    """Whether the birthday of age falls on or after the election's `first_time_since`.

    Contract section 4 (pemilih pemula): the 17th birthday where the minimum age is 17.
    """
    return anniversary(biodata.birth_date, election.minimum_age) >= election.first_time_since


def residence_on(life: Life, day: date) -> str:
    """The village of residence on a day.

    Contract section 3: registration from the beginning of time, each relocation from its
    effective date. Law: within a regency a move is one step, between regencies it is complete on
    arrival alone, so that nobody is counted in two places or in none (domain section 4, Perpres
    96/2018 and Permendagri 108/2019).
    """
    return _held_on(life.residences, day)


def service_on(life: Life, day: date) -> Service:
    """The active service on a day, by the rule of residence.

    Contract section 3. Law: PKPU 7/2024 art. 4, joining TNI or Polri removes a voter, leaving
    restores one (domain section 3).
    """
    return _held_on(life.services, day)


def is_revoked_on(life: Life, day: date) -> bool:
    """Whether the right to vote is taken on a day, by the rule of residence.

    Contract section 3. Law: PKPU 7/2024 art. 4, by a final court ruling (domain section 3).
    """
    return _held_on(life.revocations, day)


def is_dead_on(life: Life, day: date) -> bool:
    """Whether a person has died by a day.

    Contract section 3. Law: the dead are struck from the list with a note (domain section 3, TMS
    code 1).
    """
    return any(died_on <= day for died_on in life.deaths)


def is_relocating(life: Life) -> bool:
    """Whether a moving letter (SKPWNI) was issued whose arrival has not been reported.

    Contract section 3. Law: Perpres 96/2018 art. 25 (domain section 4, moves).
    """
    return not life.letters_started <= life.letters_completed


def _held_on(history: list[tuple[date, T]], day: date) -> T:
    """What holds on a day: the entry with the latest date not after it, of two with one date the
    later in the log. The first entry is from the beginning of time, so there is always one."""
    latest, held = history[0]
    for begins, value in history:
        if latest <= begins <= day:
            latest, held = begins, value
    return held
