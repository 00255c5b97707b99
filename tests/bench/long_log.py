"""A log of any length, made and not sent: what a regency's stations would have left in some years.

Nothing decides here. The entries are such as the registry accepts: all thirteen types, each
resident's in an order that the rules allow, the residents mixed as stations mix them.
"""

import random
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import orjson

from shared.elections import PILKADA_2024
from shared.events.codec import VERSION
from shared.events.facts import TYPE_PREFIX
from shared.events.records import LogEntry
from shared.regions import villages_in

SEED: Final = 6

# Residents whose events are under way at a time.
AT_A_TIME: Final = 5_000

_BEGINS: Final = datetime(2024, 5, 2, 1, tzinfo=UTC)
_BETWEEN: Final = timedelta(milliseconds=5)
_OLDEST: Final = date(1935, 1, 1)
_DAYS_OF_BIRTH: Final = (date(2012, 1, 1) - _OLDEST).days
_ELSEWHERE: Final = ("31.71.01.1001", "15.72.01.1001")

# A planned event: its type, and its data with the end of its id as `_id`.
Planned = tuple[str, dict[str, Any]]


def entries(count: int, seed: int = SEED) -> Iterator[LogEntry]:
    """So many entries, the same for the same seed."""
    chance = random.Random(seed)
    villages = [village.code for village in villages_in(PILKADA_2024.area)]
    under_way: list[tuple[UUID, str, Iterator[Planned]]] = []
    for position in range(1, count + 1):
        resident_id, source, planned = None, "", None
        while planned is None:
            if len(under_way) < AT_A_TIME:
                under_way.append(_resident(chance, villages))
            n = chance.randrange(len(under_way))
            resident_id, source, plan = under_way[n]
            planned = next(plan, None)
            if planned is None:
                under_way[n] = under_way[-1]
                under_way.pop()
        assert resident_id is not None
        yield _entry(position, resident_id, source, planned)


def _entry(position: int, resident_id: UUID, source: str, planned: Planned) -> LogEntry:
    event_type, data = planned
    recorded_at = _BEGINS + position * _BETWEEN
    return LogEntry(
        position,
        recorded_at,
        TYPE_PREFIX + event_type,
        VERSION,
        recorded_at.isoformat(),
        source,
        f"{resident_id.int % 10**12:012}-{data.pop('_id')}",
        resident_id,
        orjson.dumps(data).decode(),
    )


def _resident(chance: random.Random, villages: list[str]) -> tuple[UUID, str, Iterator[Planned]]:
    resident_id = UUID(int=chance.getrandbits(128), version=4)
    source = f"urn:dukcapil:station:KRC-{chance.randint(1, 40):02}"
    return resident_id, source, _life(chance, villages, resident_id, source)


def _life(
    chance: random.Random, villages: list[str], resident_id: UUID, source: str
) -> Iterator[Planned]:
    """What happens to a resident, in order: three and a half events on average."""
    for number, (event_type, data) in enumerate(_events(chance, villages)):
        yield event_type, data | {"_id": number}
        if number and chance.random() < 0.01:
            named = {"source": source, "id": f"{resident_id.int % 10**12:012}-{number}"}
            retraction = {"retracts": named, "reason": "entered twice"}
            yield "event.retracted", retraction | {"_id": f"{number}r"}


def _events(chance: random.Random, villages: list[str]) -> Iterator[Planned]:
    yield "resident.registered", _biodata(chance, chance.choice(villages))
    yield from _cards(chance)
    if chance.random() < 0.20:
        yield "biodata.corrected", {"reason": "birth certificate", "birth_date": _birth(chance)}
    if chance.random() < 0.15:
        yield from _move(chance, villages)
    if chance.random() < 0.25:
        yield "resident.married", {"married_on": _day(chance)}
    yield from _what_bars_from_voting(chance)


def _cards(chance: random.Random) -> Iterator[Planned]:
    if chance.random() < 0.25:
        return
    yield "ktp.recorded", {}
    if chance.random() < 0.03:
        yield "ktp.failed", {"reason": "unreadable"}
        yield "ktp.recorded", {}
    if chance.random() < 0.45:
        yield "ikd.activated", {}


def _move(chance: random.Random, villages: list[str]) -> Iterator[Planned]:
    letter = {"letter_no": f"SKPWNI/{chance.getrandbits(40)}"}
    yield "relocation.started", dict(letter)
    if chance.random() < 0.8:
        to_village = chance.choice([*_ELSEWHERE, *chance.sample(villages, 10)])
        arrival = {"to_village": to_village, "effective_date": _day(chance)}
        yield "resident.relocated", arrival | letter


def _what_bars_from_voting(chance: random.Random) -> Iterator[Planned]:
    if chance.random() < 0.05:
        service = chance.choice(["tni", "polri", "none"])
        yield "service.changed", {"service": service, "effective_date": _day(chance)}
    if chance.random() < 0.01:
        verdict = {"verdict_no": f"12/Pid/{chance.getrandbits(20)}"}
        yield "rights.revoked", {"effective_date": _day(chance)} | verdict
        if chance.random() < 0.3:
            yield "rights.restored", {"effective_date": _day(chance)} | verdict
    if chance.random() < 0.06:
        yield "resident.died", {"died_on": _day(chance)}


def _biodata(chance: random.Random, village: str) -> dict[str, Any]:
    return {
        "sex": chance.choice("LP"),
        "birth_date": _birth(chance),
        "marital_status": chance.choice("BBSSP"),
        "village": village,
        "service": "none" if chance.random() < 0.99 else chance.choice(["tni", "polri"]),
    }


def _birth(chance: random.Random) -> str:
    day = str(_OLDEST + timedelta(days=chance.randrange(_DAYS_OF_BIRTH)))
    return day[:4] if chance.random() < 0.01 else day


def _day(chance: random.Random) -> str:
    return str(date(2020, 1, 1) + timedelta(days=chance.randrange(2_200)))
