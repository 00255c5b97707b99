"""Who is sent: residents of the sample of whom every event changes a village's tally.

All of them vote and are recorded, so a registration and a recording each move the counts by one,
and KPU must hear of each.
"""

import random
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import orjson

from cli.sample import FIELDWORK_BEGINS, MAX_SIZE, POLLING_DAY_BIRTH, Resident, residents
from shared.calendar import OFFICE_ZONE
from shared.elections import PILKADA_2024
from shared.regions import lies_in
from shared.stations import SOURCE_PREFIX

SEED: Final = 2024

# About two thirds of the sample's residents will do; a few more are made than are needed.
MADE_FOR_EACH: Final = 1.6
MADE_AT_LEAST: Final = 2_000

_OPENS: Final = datetime(
    FIELDWORK_BEGINS.year, FIELDWORK_BEGINS.month, FIELDWORK_BEGINS.day, 8, tzinfo=OFFICE_ZONE
)


@dataclass(frozen=True, slots=True)
class Person:
    """What a station knows of a resident: the data of their registration."""

    nik: str
    village: str
    data: dict[str, str]


@dataclass(frozen=True, slots=True)
class Written:
    """An event as JSON, and the village whose tally it changes."""

    body: bytes
    village: str


def people(count: int) -> Iterator[Person]:
    """So many people with distinct NIKs, of all villages mixed."""
    size = min(MAX_SIZE, int(count * MADE_FOR_EACH) + MADE_AT_LEAST)
    found = [_person(resident) for resident in residents(size, SEED) if _is_told(resident)]
    if len(found) < count:
        raise ValueError(f"the sample has {len(found)} such residents and not {count}")
    random.Random(SEED).shuffle(found)
    return iter(found[:count])


def _is_told(resident: Resident) -> bool:
    return (
        resident.recorded
        and resident.service == "none"
        and resident.born <= POLLING_DAY_BIRTH
        and lies_in(resident.registered_in, PILKADA_2024.area)
    )


def _person(resident: Resident) -> Person:
    data = {
        "nik": resident.nik,
        "name": resident.name,
        "sex": resident.sex,
        "birth_date": resident.birth_date,
        "marital_status": resident.marital_status,
        "village": resident.registered_in,
    }
    return Person(resident.nik, resident.registered_in, data)


class Clerk:
    """Writes the events of one station: each person is registered, and recorded after so many
    others have been registered."""

    def __init__(self, code: str, arriving: Iterator[Person], behind: int) -> None:
        self._code = code
        self._arriving = arriving
        self._behind = behind
        self._registered: deque[Person] = deque()
        self._sequence = 0

    def write(self, count: int) -> list[Written]:
        return [self._next() for _ in range(count)]

    def _next(self) -> Written:
        if len(self._registered) > self._behind:
            person = self._registered.popleft()
            return self._written("ktp.recorded", person, {"nik": person.nik})
        person = next(self._arriving)
        self._registered.append(person)
        return self._written("resident.registered", person, person.data)

    def _written(self, event_type: str, person: Person, data: dict[str, str]) -> Written:
        self._sequence += 1
        event: dict[str, Any] = {
            "specversion": "1.0",
            "id": f"{self._code}-{self._sequence:07}",
            "source": SOURCE_PREFIX + self._code,
            "type": "id.dukcapil." + event_type,
            "time": (_OPENS + timedelta(seconds=self._sequence)).isoformat(),
            "stationseq": self._sequence,
            "data": data,
        }
        return Written(orjson.dumps(event), person.village)
