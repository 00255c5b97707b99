"""Generated residents for the 287 real villages of Kerinci: same size and seed, same people.

How many live where follows the polling stations of February 2024, ages and sexes follow the real
totals (268,951 residents, 135,055 of them men; 198,625 voters, 98,378 of them men). Nobody in it
exists: names are made of invented words, and every serial of a NIK is above 1000, where no office
ever came to on one day.
"""

import csv
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum
from functools import cache
from itertools import accumulate
from typing import Final

from shared.regions import DATA, district_of

REAL_SIZE: Final = 268_951
MAX_SIZE: Final = 1_000_000

FIELDWORK_BEGINS: Final = date(2024, 7, 1)
POLLING_DAY_BIRTH: Final = date(2007, 11, 27)
DAY_AFTER_BIRTH: Final = date(2007, 11, 28)

# Villages without a signal, as the press of 2018 named them (domain facts, section 2): no team
# with a camera reaches them in the sample.
NEVER_REACHED: Final = frozenset(
    {
        "15.01.01.2005",
        "15.01.01.2018",
        "15.01.06.2010",
        "15.01.06.2015",
        "15.01.06.2040",
        "15.01.07.2014",
        "15.01.11.2010",
        "15.01.11.2011",
        "15.01.11.2012",
        "15.01.20.2009",
        "15.01.20.2010",
        "15.01.20.2013",
        "15.01.20.2014",
    }
)

# Sungai Penuh, Jambi, Padang, Batam and Jakarta: where people of Kerinci go.
OUTSIDE: Final = (
    "15.72.01.1001",
    "15.72.01.1003",
    "15.71.01.1001",
    "15.71.01.1004",
    "13.71.01.1001",
    "13.71.01.1008",
    "21.71.01.1007",
    "31.74.01.1001",
)

# The districts that were split off in 2020: whoever was registered before bears the old code.
REGISTERED_BEFORE_2020: Final = {"15.01.22": "15.01.04", "15.01.23": "15.01.08"}


class Quirk(StrEnum):
    """What is unusual about a resident's papers: real offices see it a few times in a thousand."""

    NONE = "none"
    LATE_PAPERS = "late papers"  # recorded in the field before the registration was sent
    ACTIVATED_FIRST = "activated first"  # the activation was sent before the recording
    REGISTERED_TWICE = "registered twice"
    TOO_YOUNG = "too young"  # somebody tried to record a child
    RESENT = "resent"  # an answer was lost, so the station sent the same again


@dataclass(frozen=True, slots=True)
class Move:
    """A completed relocation."""

    to_village: str
    effective_date: date


@dataclass(frozen=True, slots=True)
class Resident:
    """A generated person and what happens to them during the fieldwork.

    `birth_date` is what the registration says, incomplete for some of the old; `born` the day
    that it counts as. `moves` stand in the order in which they are reported.
    """

    nik: str
    name: str
    sex: str
    born: date
    birth_date: str
    marital_status: str
    service: str
    registered_in: str
    moves: tuple[Move, ...]
    recorded: bool
    ikd_active: bool
    quirk: Quirk


@dataclass(frozen=True, slots=True)
class AgeGroup:
    """People born in a span of days; the chances are those of one person of the group."""

    youngest: date
    oldest: date
    weight: float
    male: float
    married: float
    was_married: float
    recorded: float

    def birth(self, random_: random.Random) -> date:
        return self.oldest + timedelta(
            days=random_.randrange((self.youngest - self.oldest).days + 1)
        )


def _born(first_year: int, last_year: int) -> tuple[date, date]:
    return date(last_year, 12, 31), date(first_year, 1, 1)


_CHILD_MALE: Final = 0.514
_ADULT_MALE: Final = 0.503

# Weights are per mille of the residents. Those who come of age between 15 February and polling
# day are one in a hundred; with the soldiers and police taken off, 73.9 % may vote.
AGE_GROUPS: Final = (
    AgeGroup(date(2024, 6, 30), date(2009, 1, 1), 234.5, _CHILD_MALE, 0, 0, 0),
    AgeGroup(date(2008, 12, 31), date(2008, 7, 1), 7.5, _CHILD_MALE, 0, 0, 0),
    AgeGroup(date(2008, 6, 30), date(2007, 11, 29), 9.5, _CHILD_MALE, 0.015, 0.002, 0.30),
    AgeGroup(date(2007, 11, 26), date(2007, 2, 15), 8.0, _ADULT_MALE, 0.02, 0.002, 0.55),
    AgeGroup(date(2007, 2, 14), date(2005, 1, 1), 32, _ADULT_MALE, 0.06, 0.005, 0.86),
    AgeGroup(*_born(2000, 2004), 81, _ADULT_MALE, 0.38, 0.01, 0.93),
    AgeGroup(*_born(1995, 1999), 79, _ADULT_MALE, 0.72, 0.02, 0.95),
    AgeGroup(*_born(1985, 1994), 149, _ADULT_MALE, 0.88, 0.03, 0.96),
    AgeGroup(*_born(1975, 1984), 142, _ADULT_MALE, 0.89, 0.05, 0.97),
    AgeGroup(*_born(1965, 1974), 112, 0.497, 0.86, 0.09, 0.97),
    AgeGroup(*_born(1955, 1964), 80, 0.492, 0.77, 0.2, 0.96),
    AgeGroup(*_born(1945, 1954), 43, 0.48, 0.6, 0.37, 0.94),
    AgeGroup(*_born(1924, 1944), 22.5, 0.44, 0.4, 0.57, 0.88),
)
_CUMULATIVE: Final = tuple(accumulate(group.weight for group in AGE_GROUPS))

# One in a thousand each: rare in life, but the demo must show that the day itself counts.
_BIRTHDAY_EVERY: Final = 1_000

_SERVING_AGE: Final = (date(1969, 1, 1), date(2005, 12, 31))
_TNI_SHARE: Final = {"L": 0.0095, "P": 0.0008}
_POLRI_SHARE: Final = {"L": 0.0070, "P": 0.0010}

_IKD_SHARE: Final = 0.035
_MOVES_WITHIN: Final = 0.016
_MOVES_OUT: Final = 0.007
_MOVES_OUT_AND_BACK: Final = 0.004
_COMES_FROM_OUTSIDE: Final = 0.004
_BIRTH_DATE_INCOMPLETE: Final = 0.02
_OLD_RECORDS_UP_TO: Final = date(1950, 12, 31)
_REGISTERED_ELSEWHERE: Final = 0.04

_FIRST_WORDS: Final = (
    "Adirman",
    "Belarni",
    "Cemira",
    "Dasril",
    "Elvanti",
    "Fadrin",
    "Gusmeri",
    "Hanafar",
    "Irdayu",
    "Jasmaldi",
    "Kerisna",
    "Lusmiran",
    "Marwenda",
    "Nasferi",
    "Ombrani",
    "Patmarel",
    "Rasdiyu",
    "Sarwelma",
    "Tarmizel",
    "Umrasih",
    "Verliandi",
    "Wasnira",
    "Yusmardan",
    "Zelfitra",
    "Aminara",
    "Burhaldi",
    "Danirva",
    "Eprizan",
    "Harmeni",
    "Jufriana",
)
_LAST_WORDS: Final = (
    "Batangsari",
    "Cintarimba",
    "Danaupagi",
    "Embunraya",
    "Gunungputi",
    "Hiliranda",
    "Kayumanih",
    "Kincaiwan",
    "Lempurana",
    "Mendapoan",
    "Pelangibumi",
    "Rawangsani",
    "Rimbajati",
    "Sakoambun",
    "Semurupan",
    "Siulakda",
    "Sungaibiru",
    "Tanjungari",
    "Telagawan",
    "Ulujernih",
)

# Serials are told apart by the district that generated them, so that no two districts ever
# give the same NIK though both write the code of a third.
_FIRST_SERIAL: Final = 1_000
_SERIALS_PER_DISTRICT: Final = 490


@cache
def village_weights() -> dict[str, int]:
    """Polling stations of February 2024 by village: the best public sign of who lives where."""
    path = DATA / "tps_pemilu_2024_per_desa.csv"
    with path.open(encoding="utf-8", newline="") as lines:
        rows = {row["kode"]: int(row["tps_pemilu_2024"]) for row in csv.DictReader(lines)}
    return dict(sorted(rows.items()))


@cache
def districts() -> tuple[str, ...]:
    """The codes of the 18 districts, sorted."""
    return tuple(sorted({district_of(village) for village in village_weights()}))


@cache
def village_sizes(size: int) -> dict[str, int]:
    """How many of `size` residents live in each village: by weight, the largest remainders last."""
    weights = village_weights()
    total = sum(weights.values())
    sizes = {village: size * weight // total for village, weight in weights.items()}
    by_remainder = sorted(weights, key=lambda village: -(size * weights[village] % total))
    for village in by_remainder[: size - sum(sizes.values())]:
        sizes[village] += 1
    return sizes


@cache
def _first_numbers(size: int) -> dict[str, int]:
    """The number of each village's first resident, counted through the regency from 0."""
    sizes = village_sizes(size)
    return dict(zip(sizes, accumulate(sizes.values(), initial=0), strict=False))


def district_size(district: str, size: int) -> int:
    """How many of `size` residents live in a district."""
    return sum(n for village, n in village_sizes(size).items() if district_of(village) == district)


def residents(size: int, seed: int) -> Iterator[Resident]:
    """All residents, district by district, one at a time."""
    for district in districts():
        yield from residents_of(district, size, seed)


def residents_of(district: str, size: int, seed: int) -> Iterator[Resident]:
    """The residents of one district, village by village; no other district need be generated."""
    generator = _Generator(district, size, seed)
    for village, count in village_sizes(size).items():
        if district_of(village) == district:
            first = _first_numbers(size)[village]
            for number in range(first, first + count):
                yield generator.resident(village, number)


class _Generator:
    """Makes the residents of a district in order; its state is chance and the serials given."""

    def __init__(self, district: str, size: int, seed: int) -> None:
        self._district = district
        # Repeatable people are wanted here, not secrets.
        self._random = random.Random(f"{seed}/{size}/{district}")  # noqa: S311
        self._serials: Counter[str] = Counter()
        self._base = _FIRST_SERIAL + districts().index(district) * _SERIALS_PER_DISTRICT

    def resident(self, village: str, number: int) -> Resident:
        group = self._random.choices(AGE_GROUPS, cum_weights=_CUMULATIVE)[0]
        born = self._birth(group, number)
        sex = "L" if self._random.random() < group.male else "P"
        nik = self._nik(self._nik_region(born), born, sex)
        recorded = self._chance(group.recorded) and village not in NEVER_REACHED
        ikd_active = recorded and self._chance(_IKD_SHARE)
        birth_date, counts_as = self._written(born)
        registered_in, moves = self._residence(village)
        return Resident(
            nik=nik,
            name=f"{self._random.choice(_FIRST_WORDS)} {self._random.choice(_LAST_WORDS)}",
            sex=sex,
            born=counts_as,
            birth_date=birth_date,
            marital_status=self._marital_status(group),
            service=self._service(born, sex),
            registered_in=registered_in,
            moves=moves,
            recorded=recorded,
            ikd_active=ikd_active,
            quirk=self._quirk(born, recorded, ikd_active),
        )

    def _chance(self, share: float) -> bool:
        return self._random.random() < share

    def _birth(self, group: AgeGroup, number: int) -> date:
        born = group.birth(self._random)
        if number % _BIRTHDAY_EVERY == 0:
            return POLLING_DAY_BIRTH
        return DAY_AFTER_BIRTH if number % _BIRTHDAY_EVERY == 1 else born

    def _nik_region(self, born: date) -> str:
        """Where somebody was first registered; a move later does not change a NIK."""
        if self._chance(_REGISTERED_ELSEWHERE):
            return self._random.choice((*districts(), "15.72.01", "15.71.01", "13.71.01"))
        if born.year < 2020:
            return REGISTERED_BEFORE_2020.get(self._district, self._district)
        return self._district

    def _nik(self, region: str, born: date, sex: str) -> str:
        day = born.day + (40 if sex == "P" else 0)
        stem = f"{region.replace('.', '')}{day:02}{born:%m%y}"
        self._serials[stem] += 1
        if self._serials[stem] > _SERIALS_PER_DISTRICT:
            raise ValueError(f"{self._district} has more births on one day than NIKs to give")
        return f"{stem}{self._base + self._serials[stem]:04}"

    def _written(self, born: date) -> tuple[str, date]:
        """A birth date as the register has it, and the last day that it can be."""
        if born <= _OLD_RECORDS_UP_TO and self._chance(_BIRTH_DATE_INCOMPLETE):
            return str(born.year), date(born.year, 12, 31)
        return born.isoformat(), born

    def _marital_status(self, group: AgeGroup) -> str:
        drawn = self._random.random()
        if drawn < group.married:
            return "S"
        return "P" if drawn < group.married + group.was_married else "B"

    def _service(self, born: date, sex: str) -> str:
        drawn = self._random.random()
        if not _SERVING_AGE[0] <= born <= _SERVING_AGE[1]:
            return "none"
        if drawn < _TNI_SHARE[sex]:
            return "tni"
        return "polri" if drawn < _TNI_SHARE[sex] + _POLRI_SHARE[sex] else "none"

    def _residence(self, village: str) -> tuple[str, tuple[Move, ...]]:
        """Where somebody of this village is registered, and their moves."""
        drawn = self._random.random()
        if drawn < _MOVES_WITHIN:
            return village, (self._move(self._reached_village()),)
        drawn -= _MOVES_WITHIN
        if drawn < _MOVES_OUT:
            return village, (self._move(self._random.choice(OUTSIDE)),)
        drawn -= _MOVES_OUT
        if drawn < _MOVES_OUT_AND_BACK:
            return village, self._out_and_back(village)
        drawn -= _MOVES_OUT_AND_BACK
        if drawn < _COMES_FROM_OUTSIDE and village not in NEVER_REACHED:
            return self._random.choice(OUTSIDE), (self._move(village),)
        return village, ()

    def _reached_village(self) -> str:
        """A village to move to; a recorded newcomer would make an untouched one touched."""
        while (village := self._random.choice(_reached())) in NEVER_REACHED:
            continue
        return village

    def _move(self, to_village: str) -> Move:
        """A few moves are announced for a day after polling day: they do not count yet."""
        begins = date(2024, 11, 28) if self._chance(0.08) else date(2024, 7, 5)
        span = 30 if begins.month == 11 else 140
        return Move(to_village, begins + timedelta(days=self._random.randrange(span)))

    def _out_and_back(self, village: str) -> tuple[Move, ...]:
        """Away and home again; every third pair is reported in the wrong order."""
        left = date(2024, 7, 5) + timedelta(days=self._random.randrange(90))
        returned = left + timedelta(days=self._random.randint(7, 120))
        out = Move(self._random.choice(OUTSIDE), left)
        back = Move(village, returned)
        return (back, out) if self._chance(1 / 3) else (out, back)

    def _quirk(self, born: date, recorded: bool, ikd_active: bool) -> Quirk:
        drawn = self._random.random()
        if drawn < 0.012:
            return Quirk.RESENT
        if drawn < 0.015:
            return Quirk.REGISTERED_TWICE
        if ikd_active and drawn < 0.1:
            return Quirk.ACTIVATED_FIRST
        if recorded and drawn < 0.025:
            return Quirk.LATE_PAPERS
        return Quirk.TOO_YOUNG if born.year >= 2009 and drawn > 0.996 else Quirk.NONE


@cache
def _reached() -> Sequence[str]:
    return tuple(village for village in village_weights() if village not in NEVER_REACHED)
