"""Makes histories of civil registration that go wrong in every way a station can make them go.

A history is seeded and blind: it does not know the rules, so it cannot agree with anybody's
mistakes about them. What each submission comes to is the slow model's to say. Every resident is
invented.
"""

import calendar
import csv
import gzip
import random
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from functools import cache
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

Event = dict[str, Any]
Data = dict[str, Any]

PREFIX = "id.dukcapil."
FOUR = ("resident.registered", "ktp.recorded", "ikd.activated", "resident.relocated")
ALL = (
    *FOUR,
    "ktp.failed",
    "relocation.started",
    "resident.married",
    "resident.died",
    "service.changed",
    "rights.revoked",
    "rights.restored",
    "biodata.corrected",
    "event.retracted",
)
STATIONS = tuple(f"urn:dukcapil:station:KRC-{number:02}" for number in range(1, 6))
REGIONS_CSV = Path(__file__).parents[2] / "shared" / "data" / "wilayah_nasional.csv.gz"

# Villages of a few districts, two of them named alike; then elsewhere, and what is on no list.
VILLAGES = (
    "15.01.01.1004",
    "15.01.01.2001",
    "15.01.16.2001",
    "15.01.16.2025",
    "15.01.02.2008",
    "15.01.11.2010",
    "15.01.22.2001",
)
ELSEWHERE = ("15.72", "15.02", "15.10", "31.71", "91.71", "11.01")
NOWHERE = ("15.01.03.2001", "15.01.01.9999", "99.01.01.2001")

POLLING_DAY = date(2024, 11, 27)
FIRST_TIME_SINCE = date(2024, 2, 15)
DEFAULT_NOW = datetime(2025, 1, 14, 18, 30, tzinfo=UTC)  # already the 15th in Jakarta
EARLIEST = date(2022, 1, 1)
RESIDENT_PER_EVENTS = 6
OFFSETS = (UTC, *(timezone(timedelta(hours=hours)) for hours in (7, 7, 8, 9)))
JAKARTA = timezone(timedelta(hours=7))

# On either side of 17 on polling day, of a first vote, of a leap day, of 16; and old records.
BIRTHS = (
    *("2007-11-25", "2007-11-26", "2007-11-27", "2007-11-27", "2007-11-28", "2007-11-28"),
    *("2007-02-14", "2007-02-15", "2007-02-16"),
    *("2004-02-29", "2008-02-29", "2008-02-28", "2008-03-01"),
    *("2008-11-27", "2009-01-15", "2009-06-30", "2012-05-05", "2024-12-31"),
    *("2007", "2007-11", "2007-12", "2007-02", "2008-02", "2006", "1950", "1962-07"),
    *("1924-08-17", "1971-03-09", "1985-12-31", "1990-01-01", "1999-10-10", "2000-02-29"),
)
EFFECTIVE = (
    *(POLLING_DAY + timedelta(days=days) for days in (-1, 0, 0, 1)),
    *(date(2024, 9, 22), FIRST_TIME_SINCE, date(2023, 6, 1), date(2019, 3, 4)),
    *(date(2031, 1, 1), date(1900, 1, 1)),
)
NAMES = ("Ani Lestari", "Budi Santoso", "Citra Ñ", "D'Angelo", "Eka 🌺", "Fajar", "Gusti ḥ", "Hadi")


@dataclass(frozen=True)
class Submission:
    """One event as a station sends it, and when; `note` says what was meant by it."""

    event: Event
    received_at: datetime
    note: str


@dataclass
class Person:
    """Somebody invented, with what their papers say."""

    nik: str
    sex: str
    birth_date: str
    letters: tuple[str, ...]
    is_known: bool
    is_registered: bool = False


@dataclass
class Storyteller:
    """Everything a history in the making needs."""

    random: random.Random
    now: datetime
    types: Sequence[str]
    villages: Sequence[str]
    hostile: bool
    people: list[Person] = field(default_factory=list)
    told: list[Event] = field(default_factory=list)
    sequence: dict[str, int] = field(default_factory=dict)

    @property
    def today(self) -> date:
        """The day it is in Jakarta."""
        return self.now.astimezone(JAKARTA).date()

    def one_in(self, number: int) -> bool:
        """Say yes once in a number of times, if the history is hostile at all."""
        return self.hostile and self.random.randrange(number) == 0

    def knows(self, *kinds: str) -> bool:
        """Say whether the history may hold some types."""
        return all(kind in self.types for kind in kinds)

    def tell(self, kind: str, data: Data, happened: str | None = None) -> Event:
        """Make an event of a type, from one of the stations."""
        source = self.random.choice(STATIONS)
        event: Event = {
            "specversion": "1.0",
            "id": f"{self.random.getrandbits(64):016x}",
            "source": source,
            "type": PREFIX + kind,
            "time": happened or moment_for(self),
            "data": data,
        }
        if self.random.random() < 0.7:
            event["stationseq"] = self._next_of(source)
        if self.random.random() < 0.1:
            event |= self.random.choice(EXTENSIONS)
        return event

    def _next_of(self, source: str) -> int:
        gap = 2 if self.one_in(20) else 1
        self.sequence[source] = self.sequence.get(source, 0) + gap
        return self.sequence[source]


EXTENSIONS: tuple[Event, ...] = (
    {"datacontenttype": "application/json"},
    {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
    {"comexampleretry": 3, "comexampleoffline": True},
    {"subject": "loket 2"},
)


def generate(
    seed: int,
    size: int,
    *,
    types: Sequence[str] = ALL,
    villages: Sequence[str] | None = None,
    hostile: bool = True,
    now: datetime = DEFAULT_NOW,
    pace: timedelta = timedelta(milliseconds=100),
) -> list[Submission]:
    """Make a history of that many submissions, the same for the same arguments.

    `now` is when the first is received and `pace` the mean wait between two. All events lie in
    the past of `now` but those of a clock that is ahead, by days, or by less than the ten minutes
    that are allowed; so a registry with a clock of its own may be sent them too.
    Serials have four digits: at most 59,999 submissions.
    """
    chance = random.Random(seed)
    teller = Storyteller(chance, now, types, villages or VILLAGES, hostile)
    teller.people = [invent(teller, n) for n in range(1, max(1, size // RESIDENT_PER_EVENTS) + 1)]
    history: list[Submission] = []
    while len(history) < size:
        for note, event in next_events(teller):
            now += pace * (chance.random() * 2)
            history.append(Submission(event, now, note))
    return history[:size]


def batches(history: Sequence[Submission], seed: int) -> list[list[Submission]]:
    """Cut a history into batches of random sizes, many of them of one."""
    chance = random.Random(seed)
    cut: list[list[Submission]] = []
    begin = 0
    while begin < len(history):
        size = chance.choice((1, 1, 1, 2, 3, 5, 8, 21, 100))
        cut.append(list(history[begin : begin + size]))
        begin += size
    return cut


def smallest(
    history: Sequence[Submission], fails: Callable[[list[Submission]], bool]
) -> list[Submission]:
    """Leave out of a failing history whatever it still fails without, for a person to read."""
    kept = list(history)
    chunk = max(1, len(kept) // 2)
    while True:
        begin, shrunk = 0, False
        while begin < len(kept):
            rest = kept[:begin] + kept[begin + chunk :]
            if fails(rest):
                kept, shrunk = rest, True
            else:
                begin += chunk
        if chunk == 1 and not shrunk:
            return kept
        chunk = max(1, chunk // 2)


@st.composite
def histories(
    draw: st.DrawFn, max_size: int = 40, types: Sequence[str] = ALL, hostile: bool = True
) -> list[Submission]:
    """Draw small histories for Hypothesis, which shrinks them by leaving submissions out."""
    seed = draw(st.integers(0, 2**32 - 1))
    history = generate(seed, max_size, types=types, hostile=hostile)
    told = draw(st.lists(st.booleans(), min_size=max_size, max_size=max_size))
    return [submission for submission, is_told in zip(history, told, strict=True) if is_told]


# People


def invent(teller: Storyteller, number: int) -> Person:
    """Invent somebody; the number is their serial, so that no two have one NIK."""
    chance = teller.random
    birth_date = chance.choice(BIRTHS) if chance.random() < 0.8 else any_birth(teller)
    sex = chance.choice("LP")
    return Person(
        nik=invent_nik(teller, birth_date, sex, number),
        sex=sex,
        birth_date=birth_date,
        letters=tuple(f"SKPWNI/1501/{number}/{letter}" for letter in "ABC"),
        is_known=not teller.one_in(20),
    )


def any_birth(teller: Storyteller) -> str:
    """Give a day of birth anywhere in a lifetime, or one that makes 16 about now."""
    if teller.random.random() < 0.3:
        days = teller.random.choice((-2, 0, 2, 200))
        sixteen_years_ago = teller.today.replace(day=15, year=teller.today.year - 16)
        return (sixteen_years_ago + timedelta(days=days)).isoformat()
    return (date(1930, 1, 1) + timedelta(days=teller.random.randrange(29_000))).isoformat()


def invent_nik(teller: Storyteller, birth_date: str, sex: str, number: int) -> str:
    """Make a NIK that fits what is known of the birth; one in eight does not, as in life."""
    if teller.one_in(8):
        birth_date, sex = teller.random.choice(BIRTHS), teller.random.choice("LP")
    year, month, day = (*birth_date.split("-"), "07", "01")[:3]
    region = teller.random.choice(("150101", "150116", "150103", "157201", "317101", "999999"))
    day_of_sex = int(day) + (40 if sex == "P" else 0)
    return f"{region}{day_of_sex:02}{month}{year[2:]}{number:04}"


# When things happened


def moment_for(teller: Storyteller) -> str:
    """Give a `time`: mostly some time past, now and then of a clock that is ahead."""
    if teller.one_in(25):
        ahead = teller.random.choice((timedelta(minutes=5), timedelta(days=2), timedelta(days=900)))
        return spelled(teller, teller.now + ahead)
    day = teller.random.choice((*EFFECTIVE[:5], any_day(teller), any_day(teller)))
    return moment_on(teller, day)


def moment_on(teller: Storyteller, day: date) -> str:
    """Give a `time` on a day in Jakarta, often close to its ends, and never ahead of now."""
    chance = teller.random
    clock = chance.choice((time(0, 0), time(23, 59, 59), time(6, 59, 59), time(7, 0), time(10, 12)))
    moment = datetime.combine(day, clock, JAKARTA)
    return spelled(teller, min(moment, teller.now - timedelta(minutes=1)))


def spelled(teller: Storyteller, moment: datetime) -> str:
    """Write a moment in one of the ways RFC 3339 has."""
    chance = teller.random
    text = moment.astimezone(chance.choice(OFFSETS)).replace(microsecond=0).isoformat()
    if chance.random() < 0.3:
        text = f"{text[:19]}.{chance.randrange(1000):03}{text[19:]}"
    return text.replace("+00:00", "Z") if chance.random() < 0.8 else text


def any_day(teller: Storyteller) -> date:
    """Give a day of the last few years."""
    span = (teller.today - EARLIEST).days
    return EARLIEST + timedelta(days=teller.random.randrange(max(1, span)))


def effective_day(teller: Storyteller) -> str:
    """Give an effective date: few to choose from, so that two often fall on one day."""
    day = teller.random.choice((*EFFECTIVE, *EFFECTIVE, any_day(teller)))
    return day.isoformat()


def day_past(teller: Storyteller) -> str:
    """Give a day of marriage or death; one in twenty is still to come."""
    if teller.one_in(20):
        return (teller.today + timedelta(days=teller.random.choice((2, 400)))).isoformat()
    day = teller.random.choice((*EFFECTIVE[:5], any_day(teller), teller.today))
    return min(day, teller.today).isoformat()


# Where


@cache
def villages_elsewhere() -> tuple[str, ...]:
    """Read a few villages outside Kerinci from the national list."""
    with gzip.open(REGIONS_CSV, "rt", encoding="utf-8", newline="") as lines:
        codes = [row["kode"] for row in csv.DictReader(lines) if row["kode"].count(".") == 3]
    firsts = (next((code for code in codes if code.startswith(at)), None) for at in ELSEWHERE)
    return tuple(code for code in firsts if code is not None)


def any_village(teller: Storyteller, one_outside_in: int) -> str:
    """Give a village, often one of the few; now and then another's, or one that is not there."""
    if teller.one_in(40):
        return teller.random.choice(NOWHERE)
    if teller.random.randrange(one_outside_in) == 0:
        return teller.random.choice(villages_elsewhere())
    return teller.random.choice(teller.villages)


# What happens to people: the data of each type


def not_born_yet(teller: Storyteller) -> str:
    """Give a birth date after today; an incomplete one is so while it may still come."""
    day = teller.today + timedelta(days=teller.random.choice((2, 40)))
    return teller.random.choice((day.isoformat(), f"{day:%Y-%m}", f"{day:%Y}"))


def registration_of(teller: Storyteller, person: Person) -> Data:
    """Register somebody."""
    chance = teller.random
    data = {
        "nik": person.nik,
        "name": chance.choice(NAMES),
        "sex": person.sex,
        "birth_date": person.birth_date,
        "marital_status": chance.choice("BBBSP"),
        "village": any_village(teller, 10),
    }
    if teller.one_in(30):
        data["birth_date"] = not_born_yet(teller)
    if chance.random() < 0.3:
        data["service"] = chance.choice(("none", "tni", "polri"))
    return data


def failure_of(teller: Storyteller, person: Person) -> Data:
    """Report that a recording was not taken."""
    reason = teller.random.choice(("duplicate", "unreadable", "other"))
    return {"nik": person.nik, "reason": reason}


def letter_of(teller: Storyteller, person: Person) -> Data:
    """Issue a moving letter."""
    return {"nik": person.nik, "letter_no": teller.random.choice(person.letters)}


def arrival_of(teller: Storyteller, person: Person) -> Data:
    """Report an arrival: within the area, out of it, or back."""
    return {
        **letter_of(teller, person),
        "to_village": any_village(teller, 3),
        "effective_date": effective_day(teller),
    }


def service_of(teller: Storyteller, person: Person) -> Data:
    """Take or leave service."""
    service = teller.random.choice(("none", "none", "tni", "polri"))
    return {"nik": person.nik, "service": service, "effective_date": effective_day(teller)}


def verdict_on(teller: Storyteller, person: Person) -> Data:
    """Give a court's verdict on the right to vote."""
    verdict = f"{teller.random.randrange(1, 99)}/Pid/2024"
    return {"nik": person.nik, "effective_date": effective_day(teller), "verdict_no": verdict}


def correction_of(teller: Storyteller, person: Person) -> Data:
    """Correct some of the biodata, often a birth date across the 17-year line."""
    chance = teller.random
    offered = {
        "birth_date": chance.choice(BIRTHS),
        "name": chance.choice(NAMES),
        "sex": chance.choice("LP"),
        "marital_status": chance.choice("BSP"),
    }
    touched = chance.choice(
        (["birth_date"], ["birth_date"], [*offered], [chance.choice([*offered])])
    )
    return {"nik": person.nik, "reason": "salah tulis"} | {name: offered[name] for name in touched}


DATA: dict[str, Callable[[Storyteller, Person], Data]] = {
    "resident.registered": registration_of,
    "ktp.recorded": lambda _, person: {"nik": person.nik},
    "ktp.failed": failure_of,
    "ikd.activated": lambda _, person: {"nik": person.nik},
    "relocation.started": letter_of,
    "resident.relocated": arrival_of,
    "resident.married": lambda teller, person: {"nik": person.nik, "married_on": day_past(teller)},
    "resident.died": lambda teller, person: {"nik": person.nik, "died_on": day_past(teller)},
    "service.changed": service_of,
    "rights.revoked": verdict_on,
    "rights.restored": verdict_on,
    "biodata.corrected": correction_of,
}
WEIGHTS = {
    "ktp.recorded": 8,
    "ktp.failed": 3,
    "ikd.activated": 5,
    "relocation.started": 4,
    "resident.relocated": 9,
    "resident.married": 3,
    "resident.died": 3,
    "service.changed": 4,
    "rights.revoked": 3,
    "rights.restored": 3,
    "biodata.corrected": 5,
}


# What comes next

Told = list[tuple[str, Event]]


def next_events(teller: Storyteller) -> Told:
    """Tell what comes next: mostly somebody's life, else one of the hostile turns."""
    told = turn(teller)(teller)
    teller.told += [event for _, event in told]
    return told


def turn(teller: Storyteller) -> Callable[[Storyteller], Told]:
    """Choose what kind of thing comes next."""
    turns: dict[Callable[[Storyteller], Told], int] = {life: 70}
    if teller.knows("event.retracted") and teller.told:
        turns |= {retraction: 8, change_of_mind: 2}
    if teller.hostile:
        turns |= {parked_chain: 2, registered_again: 3, malformed: 6}
    if teller.hostile and teller.told:
        turns |= {sent_again: 7, identity_reused: 3}
    return teller.random.choices([*turns], weights=[*turns.values()])[0]


def life(teller: Storyteller) -> Told:
    """Register somebody, or let something happen to them, in the wrong order now and then."""
    person = teller.random.choice(teller.people)
    if not person.is_known:
        return [("of a resident never registered", event_of(teller, person))]
    if person.is_registered:
        return [("of a resident", event_of(teller, person))]
    if teller.hostile and teller.random.random() < 0.2:
        return [("before the registration", event_of(teller, person))]
    return [("registration", registered(teller, person))]


def registered(teller: Storyteller, person: Person) -> Event:
    """Register somebody, or send the registration again under another id."""
    person.is_registered = True
    return teller.tell("resident.registered", registration_of(teller, person))


def event_of(teller: Storyteller, person: Person) -> Event:
    """Let something happen to somebody; a recording often falls about the 16th birthday.

    Somebody who is not 16 yet is then recorded by a clock that is ahead.
    """
    weights = {kind: weight for kind, weight in WEIGHTS.items() if kind in teller.types}
    if not weights:
        return registered(teller, person)
    kind = teller.random.choices([*weights], weights=[*weights.values()])[0]
    happened = None
    if kind == "ktp.recorded" and teller.one_in(3):
        happened = about_sixteen(teller, person)
    return teller.tell(kind, DATA[kind](teller, person), happened)


def about_sixteen(teller: Storyteller, person: Person) -> str | None:
    """Give a time the day before, on, or after the 16th birthday; none if that is today."""
    year, month, day = (*map(int, person.birth_date.split("-")), 12, 31)[:3]
    last = calendar.monthrange(year + 16, month)[1]
    birthday = date(year + 16, month, min(day, last))
    near = birthday + timedelta(days=teller.random.choice((-1, 0, 1)))
    if near < teller.today:
        return moment_on(teller, near)
    if near <= teller.today + timedelta(days=1):
        return None
    return spelled(teller, datetime.combine(near, time(12), JAKARTA))


def registered_again(teller: Storyteller) -> Told:
    """Register somebody who may be registered, be dead, or have been retracted."""
    person = teller.random.choice(teller.people)
    if not person.is_known:
        return life(teller)
    return [("registered again", registered(teller, person))]


def parked_chain(teller: Storyteller) -> Told:
    """Send somebody's events backwards, so that each waits for the next."""
    kinds = ["ikd.activated", "resident.relocated", "ktp.failed", "ktp.recorded", "ikd.activated"]
    kinds = [kind for kind in kinds if teller.knows(kind)]
    person = teller.random.choice(teller.people)
    told = [("chain", teller.tell(kind, DATA[kind](teller, person))) for kind in kinds]
    if person.is_known and not person.is_registered:
        told.append(("chain's registration", registered(teller, person)))
    return told


def sent_again(teller: Storyteller) -> Told:
    """Send something again, word for word though perhaps in another order of members."""
    event = deepcopy(teller.random.choice(recent(teller)))
    if teller.random.random() < 0.3:
        event = dict(reversed(event.items()))
    return [("sent again", event)]


def identity_reused(teller: Storyteller) -> Told:
    """Send other content under a source and id that were used, by whatever came of it."""
    used = teller.random.choice(recent(teller))
    if not isinstance(used.get("id"), str) or not isinstance(used.get("source"), str):
        return life(teller)
    event = event_of(teller, teller.random.choice(teller.people))
    if teller.random.random() < 0.3:
        event = deepcopy(used) | {"time": moment_for(teller)}
    return [("id reused", event | {"id": used["id"], "source": used["source"]})]


def recent(teller: Storyteller) -> list[Event]:
    """Give what was told lately, or all of it."""
    return teller.told[-10:] if teller.random.random() < 0.5 else teller.told


def retraction(teller: Storyteller) -> Told:
    """Retract something: of any type, retracted or not, accepted or not, there or not."""
    target = teller.random.choice(recent(teller))
    reference = {"source": target.get("source"), "id": target.get("id")}
    if not all(isinstance(part, str) and part for part in reference.values()):
        return life(teller)
    if teller.one_in(15):
        reference["id"] = "never-sent"
    return [("retraction", retracting(teller, reference))]


def retracting(teller: Storyteller, reference: Data) -> Event:
    """Make a retraction."""
    return teller.tell("event.retracted", {"retracts": reference, "reason": "salah orang"})


def change_of_mind(teller: Storyteller) -> Told:
    """Register somebody, retract it, and retract that; then register them anew."""
    person = teller.random.choice(teller.people)
    if not person.is_known:
        return life(teller)
    first = registered(teller, person)
    second = retracting(teller, {"source": first["source"], "id": first["id"]})
    told = [("registration to retract", first), ("retraction of it", second)]
    if teller.one_in(2):
        third = retracting(teller, {"source": second["source"], "id": second["id"]})
        told.append(("retraction of a retraction", third))
    if teller.random.random() < 0.7:
        told.append(("registered anew", registered(teller, person)))
    return told


# What is not well formed

Spoiler = Callable[[Event], None]


def put(name: str, value: object) -> Spoiler:
    """Spoil an attribute of the envelope."""
    return lambda event: event.update({name: value})


def put_data(name: str, value: object) -> Spoiler:
    """Spoil, or add, a member of the data."""
    return lambda event: event["data"].update({name: value})


def leave_out(name: str) -> Spoiler:
    """Leave out an attribute of the envelope."""
    return lambda event: event.pop(name)


NOT_DATA: tuple[object, ...] = (None, [], "x", {})
SPOILERS: tuple[Spoiler, ...] = (
    *(leave_out(name) for name in ("specversion", "id", "source", "type", "time", "data")),
    *(put("specversion", version) for version in ("0.3", "1.1", 1.0)),
    *(put("id", value) for value in ("", 7, None)),
    *(put("source", value) for value in ("", None)),
    *(put("type", value) for value in ("id.dukcapil.resident.cloned", "ktp.recorded", None)),
    *(
        put("time", value)
        for value in ("2024-11-27", "2024-11-27T07:00:00", "yesterday", 1732665600)
    ),
    *(put("time", value) for value in ("2024-02-30T07:00:00Z", "2024-11-27T25:00:00+07:00")),
    *(put("stationseq", number) for number in (0, -1, "7", 1.5, True)),
    *(put("data", other) for other in NOT_DATA),
    *(put_data(member, "x") for member in ("nkk", "Nik", "birthdate", "retract")),
)
BAD_NIKS = (
    *("150101271107999", "15010127110799999", "150101271107999A", "2222222222222222", ""),
    *("1501010011079999", "1501013211079999", "1501014011079999", "1501017211079999"),
    *("1501012713079999", "1501012700079999", "1501013102079999", "1501012902079999"),
    *("1501012711070000", " 501012711079999", "١٥٠١٠١٢٧١١٠٧٩٩٩٩"),
)
BAD_DATES = (
    "2024-02-30",
    "2023-02-29",
    "2024-13-01",
    "27-11-2024",
    "20241127",
    "0000-01-01",
    "",
    5,
)
BAD_MEMBERS: dict[str, tuple[object, ...]] = {
    "nik": (*BAD_NIKS, 1501012711079999, None),
    "name": ("", None, 5),
    "sex": ("X", "l", "", None),
    "birth_date": (*BAD_DATES, "2007-13", "2007-00", "07", "0000", None),
    "marital_status": ("K", "s", None),
    "village": ("1501012001", "15.01.01", "15.1.1.2001", 15, None),
    "to_village": ("1501012001", "15.01.01", "", None),
    "service": ("navy", "TNI", "", None),
    "effective_date": (*BAD_DATES, "2024", "2024-11", None),
    "married_on": (*BAD_DATES, "2024", "2024-11", None),
    "died_on": (*BAD_DATES, "2024", "2024-11", None),
    "letter_no": ("", 7, None),
    "verdict_no": ("", 7, None),
    "reason": ("", 7, None),
    "retracts": (
        *("never-sent", None, {}, {"id": "1"}, {"source": STATIONS[0], "id": ""}),
        *({"source": STATIONS[0], "id": 1}, {"source": STATIONS[0], "id": "1", "position": 1}),
    ),
}


def malformed(teller: Storyteller) -> Told:
    """Send something that is wrong in one place."""
    event = about_to_be_spoiled(teller)
    if event["type"] == PREFIX + "biodata.corrected" and teller.one_in(3):
        event["data"] = {"nik": event["data"]["nik"], "reason": "nothing is corrected"}
    elif teller.random.random() < 0.4:
        teller.random.choice(SPOILERS)(event)
    else:
        spoil_a_member(teller.random, event["data"])
    return [("malformed", event)]


def about_to_be_spoiled(teller: Storyteller) -> Event:
    """Make an event of any type."""
    person = teller.random.choice(teller.people)
    match teller.random.randrange(8):
        case 0 | 1:
            return teller.tell("resident.registered", registration_of(teller, person))
        case 2 if teller.knows("event.retracted"):
            return retracting(teller, {"source": STATIONS[0], "id": "never-sent"})
        case _:
            return event_of(teller, person)


def spoil_a_member(chance: random.Random, data: Data) -> None:
    """Leave out a member that is required, or give it a value it cannot have."""
    name = chance.choice(sorted(data.keys() & BAD_MEMBERS.keys()))
    if chance.random() < 0.2 and name in ("nik", "effective_date", "married_on", "died_on"):
        del data[name]
    else:
        data[name] = chance.choice(BAD_MEMBERS[name])
