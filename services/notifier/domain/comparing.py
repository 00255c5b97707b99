"""How a list that KPU holds differs from what the feed has told it, village by village."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from shared.counts import NOTHING, Counts


class Differs(StrEnum):
    """How a person stands in the list and in the feed."""

    MISSING = "missing"
    SUPERFLUOUS = "superfluous"
    IN_ANOTHER_VILLAGE = "in-another-village"


def differs(listed: str | None, told: str | None) -> Differs | None:
    """What is wrong with a person whom the list has in one village, and the feed made a voter of
    another; None stands for no village. None when nothing is."""
    if listed == told:
        return None
    if listed is None:
        return Differs.MISSING
    return Differs.SUPERFLUOUS if told is None else Differs.IN_ANOTHER_VILLAGE


class Pair(NamedTuple):
    """So many persons are listed in one village and voters of another; None is no village."""

    listed: str | None
    told: str | None
    persons: int


@dataclass(slots=True)
class VillageDifferences:
    """The persons of one village: listed there, voters there, and why the two differ.

    `told = listed - superfluous - votes_elsewhere + missing + listed_elsewhere`.
    """

    listed: int = 0
    told: int = 0
    missing: int = 0
    superfluous: int = 0
    votes_elsewhere: int = 0
    listed_elsewhere: int = 0


def by_village(
    listed: Mapping[str, int], differing: Iterable[Pair]
) -> dict[str, VillageDifferences]:
    """The villages of a list, with how many persons it has in each, and of those that differ."""
    villages = {code: VillageDifferences(persons, persons) for code, persons in listed.items()}

    def village(code: str) -> VillageDifferences:
        return villages.setdefault(code, VillageDifferences())

    for pair in differing:
        match differs(pair.listed, pair.told), pair.listed, pair.told:
            case Differs.MISSING, _, str(told):
                village(told).missing += pair.persons
                village(told).told += pair.persons
            case Differs.SUPERFLUOUS, str(there), _:
                village(there).superfluous += pair.persons
                village(there).told -= pair.persons
            case Differs.IN_ANOTHER_VILLAGE, str(there), str(told):
                village(there).votes_elsewhere += pair.persons
                village(there).told -= pair.persons
                village(told).listed_elsewhere += pair.persons
                village(told).told += pair.persons
            case _:
                raise AssertionError("a pair of one village does not differ")
    return villages


@dataclass(frozen=True, slots=True)
class CountDifference:
    """A count of a village that the list has otherwise; `listed` is None where the list has no
    row of the village."""

    village: str
    count: str
    listed: int | None
    told: int


def count_differences(
    listed: Mapping[str, Mapping[str, int]], told: Mapping[str, Counts], counts: Iterable[str]
) -> list[CountDifference]:
    """Where a list of counts differs, by village and in the order of `counts`.

    A village that the list leaves out differs where the feed has told of anybody there.
    """
    found = []
    names = list(counts)
    for village in sorted(listed.keys() | told.keys()):
        row = listed.get(village)
        stands = told.get(village, NOTHING)._asdict()
        for name in names:
            written = None if row is None else row[name]
            if (written or 0) != stands[name]:
                found.append(CountDifference(village, name, written, stands[name]))
    return found
