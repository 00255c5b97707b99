"""The events that stations send about generated residents, in the order that a real office sees.

A station enters the residents of a district, then its team goes from village to village with the
camera, then the moves are reported; and on to its next district. Papers that come late, answers
that were lost and attempts that are refused are part of it (`Quirk`).
"""

import random
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain
from typing import Any, Final

from cli.sample import (
    FIELDWORK_BEGINS,
    Quirk,
    Resident,
    district_size,
    districts,
    residents_of,
)
from shared.calendar import OFFICE_ZONE
from shared.stations import SOURCE_PREFIX

Event = dict[str, Any]

# Late papers follow after this many other events, and a station repeats itself after as many.
LATE_BY_EVENTS: Final = 700
RESENT_AFTER_EVENTS: Final = 250

_OPENS: Final = datetime(
    FIELDWORK_BEGINS.year, FIELDWORK_BEGINS.month, FIELDWORK_BEGINS.day, 8, tzinfo=OFFICE_ZONE
)
_BETWEEN_EVENTS: Final = timedelta(seconds=15)


@dataclass(frozen=True, slots=True)
class Station:
    """A recording station and the districts that it serves, in the order of its work."""

    code: str
    districts: tuple[str, ...]


def stations(count: int, size: int) -> list[Station]:
    """Up to 18 stations, the districts dealt out so that each has about as much to do."""
    codes = [f"KRC-{number:02}" for number in range(1, min(count, len(districts())) + 1)]
    work: dict[str, list[str]] = {code: [] for code in codes}
    load = dict.fromkeys(codes, 0)
    for district in sorted(districts(), key=lambda code: -district_size(code, size)):
        least = min(codes, key=lambda code: (load[code], len(work[code])))
        work[least].append(district)
        load[least] += district_size(district, size)
    return [Station(code, tuple(work[code])) for code in codes]


def events(station: Station, size: int, seed: int) -> Iterator[Event]:
    """All that a station sends, in order, what it sends twice included; one district in memory."""
    writer = _Writer(station.code)
    for district in station.districts:
        yield from _resending(_district_events(writer, district, size, seed))


class _Writer:
    """Writes the CloudEvents of one station; `stationseq` counts them without a gap."""

    def __init__(self, code: str) -> None:
        self._code = code
        self._sequence = 0

    def write(self, event_type: str, data: dict[str, str]) -> Event:
        self._sequence += 1
        return {
            "specversion": "1.0",
            "id": f"{self._code}-{self._sequence:07}",
            "source": SOURCE_PREFIX + self._code,
            "type": "id.dukcapil." + event_type,
            "time": (_OPENS + self._sequence * _BETWEEN_EVENTS).isoformat(),
            "stationseq": self._sequence,
            "data": data,
        }

    def registered(self, resident: Resident) -> Event:
        data = {
            "nik": resident.nik,
            "name": resident.name,
            "sex": resident.sex,
            "birth_date": resident.birth_date,
            "marital_status": resident.marital_status,
            "village": resident.registered_in,
        }
        if resident.service != "none":
            data["service"] = resident.service
        return self.write("resident.registered", data)

    def recorded(self, resident: Resident) -> Event:
        return self.write("ktp.recorded", {"nik": resident.nik})

    def activated(self, resident: Resident) -> Event:
        return self.write("ikd.activated", {"nik": resident.nik})

    def moved(self, resident: Resident) -> Iterator[Event]:
        for move in resident.moves:
            yield self.write(
                "resident.relocated",
                {
                    "nik": resident.nik,
                    "to_village": move.to_village,
                    "effective_date": move.effective_date.isoformat(),
                    "letter_no": f"SKPWNI/{self._code}/{self._sequence + 1:07}",
                },
            )


# An event, and whether its answer gets lost, so that the station sends it again.
_Sent = tuple[Event, bool]


def _district_events(writer: _Writer, district: str, size: int, seed: int) -> Iterator[_Sent]:
    entered: list[Resident] = []
    yield from _entering(writer, residents_of(district, size, seed), entered)
    teams = random.Random(f"{seed}/{district}/teams")  # noqa: S311
    yield from _visiting(writer, _by_village(entered, teams))
    for resident in entered:
        for event in writer.moved(resident):
            yield event, False


def _entering(
    writer: _Writer, arriving: Iterator[Resident], entered: list[Resident]
) -> Iterator[_Sent]:
    """Register everybody; whose papers are late has been recorded by then."""
    late: deque[tuple[int, Resident]] = deque()
    for number, resident in enumerate(arriving):
        entered.append(resident)
        if resident.quirk is Quirk.LATE_PAPERS:
            late.append((number + LATE_BY_EVENTS, resident))
            yield writer.recorded(resident), False
        else:
            yield from _registering(writer, resident)
        if late and late[0][0] <= number:
            yield writer.registered(late.popleft()[1]), False
    for _, resident in late:
        yield writer.registered(resident), False


def _registering(writer: _Writer, resident: Resident) -> Iterator[_Sent]:
    yield writer.registered(resident), resident.quirk is Quirk.RESENT
    if resident.quirk is Quirk.REGISTERED_TWICE:
        yield writer.registered(resident), False


def _by_village(entered: list[Resident], teams: random.Random) -> Iterator[Resident]:
    """The residents of one village after another, in the order in which the teams go there."""
    villages: dict[str, list[Resident]] = {}
    for resident in entered:
        villages.setdefault(resident.registered_in, []).append(resident)
    order = sorted(villages)
    teams.shuffle(order)
    return chain.from_iterable(villages[village] for village in order)


def _visiting(writer: _Writer, met: Iterator[Resident]) -> Iterator[_Sent]:
    """Record whom the team meets, and activate the digital identity of a few."""
    for resident in met:
        if resident.quirk is Quirk.ACTIVATED_FIRST:
            yield writer.activated(resident), False
        if resident.quirk is Quirk.TOO_YOUNG:
            yield writer.recorded(resident), False
        if resident.recorded and resident.quirk is not Quirk.LATE_PAPERS:
            yield writer.recorded(resident), False
        if resident.ikd_active and resident.quirk is not Quirk.ACTIVATED_FIRST:
            yield writer.activated(resident), False


def _resending(sent: Iterator[_Sent]) -> Iterator[Event]:
    """The events, those whose answer was lost a second time a while later."""
    again: deque[tuple[int, Event]] = deque()
    for number, (event, answer_lost) in enumerate(sent):
        yield event
        if answer_lost:
            again.append((number + RESENT_AFTER_EVENTS, event))
        if again and again[0][0] <= number:
            yield again.popleft()[1]
    for _, event in again:
        yield event
