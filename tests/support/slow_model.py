"""Says what the contract says, slowly and plainly, so that the services can be checked against it.

It shares no code with the services. Nothing is kept up to date as events arrive but the log, what
became of each submission, and which log entries belong to whom; each question goes through the
log again. Section numbers are those of `contract.md`.
"""

import csv
import gzip
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, Literal
from zoneinfo import ZoneInfo

Event = dict[str, Any]
Key = tuple[str, str]
Counts = dict[str, int]
Row = dict[str, int | float | bool | None]
Outcome = Literal["accepted", "duplicate", "parked", "rejected"]

PREFIX = "id.dukcapil."
JAKARTA = ZoneInfo("Asia/Jakarta")
CLOCK_TOLERANCE = timedelta(minutes=10)
RECORDING_AGE_YEARS = 16
TPS_MAX_VOTERS = 600
ALWAYS = date.min
REGIONS_CSV = Path(__file__).parents[2] / "shared" / "data" / "wilayah_nasional.csv.gz"
VILLAGE_LEVELS = {"desa", "kelurahan"}

COUNTS = (
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


# Section 1: what a well-formed event is


def is_text(value: object) -> bool:
    """Say whether it is a string with something in it."""
    return isinstance(value, str) and value.strip() != ""


def is_not_empty(value: object) -> bool:
    """Say whether it is a string that is not empty."""
    return isinstance(value, str) and value != ""


def one_of(*allowed: str) -> Callable[[object], bool]:
    """Make a check for one of a few words."""
    return lambda value: isinstance(value, str) and value in allowed


def is_date(value: object) -> bool:
    """Say whether it is a day of the calendar, `YYYY-MM-DD`."""
    if not isinstance(value, str) or not re.fullmatch("[0-9]{4}-[0-9]{2}-[0-9]{2}", value):
        return False
    try:
        date.fromisoformat(value)
    except ValueError:
        return False
    return True


def is_birth_date(value: object) -> bool:
    """Say whether it is a day, a month or a year: old records know no more."""
    if not isinstance(value, str):
        return False
    if re.fullmatch("[0-9]{4}", value):
        return is_date(f"{value}-01-01")
    if re.fullmatch("[0-9]{4}-[0-9]{2}", value):
        return is_date(f"{value}-01")
    return is_date(value)


def is_village_code(value: object) -> bool:
    """Say whether it has the form of a village code; the list is asked later."""
    form = r"[0-9]{2}\.[0-9]{2}\.[0-9]{2}\.[0-9]{4}"
    return isinstance(value, str) and re.fullmatch(form, value) is not None


def is_nik(value: object) -> bool:
    """Say whether it is 16 digits with a date of some century, and a serial from 0001."""
    if not isinstance(value, str) or not re.fullmatch("[0-9]{16}", value):
        return False
    day, month, year = nik_birth(value)
    return is_date(f"20{year:02}-{month:02}-{day:02}") and value[12:] != "0000"


def is_reference(value: object) -> bool:
    """Say whether it is `{source, id}`, and no more."""
    return (
        isinstance(value, dict)
        and set(value) == {"source", "id"}
        and all(is_not_empty(part) for part in value.values())
    )


REQUIRED: dict[str, dict[str, Callable[[object], bool]]] = {
    "resident.registered": {
        "nik": is_nik,
        "name": is_text,
        "sex": one_of("L", "P"),
        "birth_date": is_birth_date,
        "marital_status": one_of("B", "S", "P"),
        "village": is_village_code,
    },
    "ktp.recorded": {"nik": is_nik},
    "ktp.failed": {"nik": is_nik, "reason": one_of("duplicate", "unreadable", "other")},
    "ikd.activated": {"nik": is_nik},
    "relocation.started": {"nik": is_nik, "letter_no": is_text},
    "resident.relocated": {
        "nik": is_nik,
        "to_village": is_village_code,
        "effective_date": is_date,
        "letter_no": is_text,
    },
    "resident.married": {"nik": is_nik, "married_on": is_date},
    "resident.died": {"nik": is_nik, "died_on": is_date},
    "service.changed": {
        "nik": is_nik,
        "service": one_of("none", "tni", "polri"),
        "effective_date": is_date,
    },
    "rights.revoked": {"nik": is_nik, "effective_date": is_date, "verdict_no": is_text},
    "rights.restored": {"nik": is_nik, "effective_date": is_date, "verdict_no": is_text},
    "biodata.corrected": {"nik": is_nik, "reason": is_text},
    "event.retracted": {"retracts": is_reference, "reason": is_text},
}
BIODATA: dict[str, Callable[[object], bool]] = {
    "name": is_text,
    "sex": one_of("L", "P"),
    "birth_date": is_birth_date,
    "marital_status": one_of("B", "S", "P"),
}
OPTIONAL: dict[str, dict[str, Callable[[object], bool]]] = {
    "resident.registered": {"service": one_of("none", "tni", "polri")},
    "biodata.corrected": BIODATA,
}
TYPES = tuple(REQUIRED)


def fault(event: object) -> str | None:
    """Name what makes the event `invalid`, if anything does."""
    if not isinstance(event, dict):
        return "not an object"
    return fault_of_envelope(event) or fault_of_data(kind_of(event), event.get("data"))


def fault_of_envelope(event: Event) -> str | None:
    """Name the CloudEvents attribute that is wrong, if one is; extensions may be anything."""
    checks: dict[str, Callable[[object], bool]] = {
        "specversion": one_of("1.0"),
        "id": is_not_empty,
        "source": is_station,
        "type": one_of(*(PREFIX + kind for kind in TYPES)),
        "time": is_time,
    }
    for name, is_right in checks.items():
        if not is_right(event.get(name)):
            return name
    if event.get("stationseq") is not None and not is_sequence(event["stationseq"]):
        return "stationseq"
    return None


def fault_of_data(kind: str, data: object) -> str | None:
    """Name the member of `data` that is wrong, missing or unknown, if one is."""
    if not isinstance(data, dict):
        return "data"
    required, optional = REQUIRED[kind], OPTIONAL.get(kind, {})
    for name, value in data.items():
        is_right = required.get(name) or optional.get(name)
        if is_right is None or not is_right(value):
            return f"data.{name}"
    if missing := required.keys() - data.keys():
        return f"data lacks {sorted(missing)}"
    if kind == "biodata.corrected" and not BIODATA.keys() & data.keys():
        return "nothing is corrected"
    return None


def is_station(value: object) -> bool:
    """Say whether it is a station's source."""
    return isinstance(value, str) and re.fullmatch(r"urn:dukcapil:station:\S+", value) is not None


def is_sequence(value: object) -> bool:
    """Say whether it is a whole number from 1."""
    return type(value) is int and value >= 1


def is_time(value: object) -> bool:
    """Say whether it is an RFC 3339 time with an offset."""
    form = (
        "[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}"
        r"([.][0-9]+)?([Zz]|[+-][0-9]{2}:[0-9]{2})"
    )
    if not isinstance(value, str) or not re.fullmatch(form, value):
        return False
    try:
        parse_time(value)
    except ValueError:
        return False
    return True


# Reading an event that is well-formed


def parse_time(text: str) -> datetime:
    """Read an RFC 3339 time; the ends of what can be reckoned with stand for what is beyond."""
    moment = datetime.fromisoformat(text.upper())
    try:
        moment.astimezone(JAKARTA)
    except OverflowError:
        ends = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 16, tzinfo=UTC)
        return ends[moment.year > 1]
    return moment


def kind_of(event: Event) -> str:
    """Give the type without its prefix."""
    return str(event["type"]).removeprefix(PREFIX)


def key_of(event: object) -> Key | None:
    """Give `source` and `id`, where they can be read."""
    if not isinstance(event, dict):
        return None
    source, identity = event.get("source"), event.get("id")
    if isinstance(source, str) and isinstance(identity, str) and source and identity:
        return (source, identity)
    return None


def content_of(event: object) -> str:
    """Give the parsed event in one spelling, so that equal ones are equal (section 2)."""
    return json.dumps(event, sort_keys=True)


def day_in_jakarta(moment: datetime) -> date:
    """Give the day it is in Jakarta at that moment."""
    return moment.astimezone(JAKARTA).date()


def last_day(text: str) -> date:
    """Give the last day that a birth date can be (section 1)."""
    if len(text) == len("YYYY"):
        return date.fromisoformat(f"{text}-12-31")
    if len(text) == len("YYYY-MM"):
        end = next(day for day in (31, 30, 29, 28) if is_date(f"{text}-{day}"))
        return date.fromisoformat(f"{text}-{end}")
    return date.fromisoformat(text)


def anniversary(birth: date, years: int) -> date:
    """Give a birthday; for 29 February, in a common year, 1 March (section 3)."""
    try:
        return birth.replace(year=birth.year + years)
    except ValueError:
        return date(birth.year + years, 3, 1)


def nik_birth(nik: str) -> tuple[int, int, int]:
    """Give day, month and two digits of the year as a NIK states them, for either sex."""
    day = int(nik[6:8])
    return (day - 40 if day > 40 else day, int(nik[8:10]), int(nik[10:12]))


def nik_sex(nik: str) -> str:
    """Give the sex as a NIK states it: 40 is added to a woman's day."""
    return "P" if int(nik[6:8]) > 40 else "L"


def nik_differs(nik: str, sex: str, birth_date: str) -> bool:
    """Say whether a NIK differs from the biodata in anything that is known of them."""
    day, month, year = nik_birth(nik)
    stated = [f"{year:02}", f"{month:02}", f"{day:02}"]
    known = birth_date[2:].split("-")
    return nik_sex(nik) != sex or stated[: len(known)] != known


def clock_is_ahead(event: Event, received_at: datetime) -> bool:
    """Say whether the station's clock is more than 10 minutes ahead (section 1)."""
    return parse_time(event["time"]) > received_at + CLOCK_TOLERANCE


def effective_time(event: Event, received_at: datetime) -> datetime:
    """Give the time that counts in every rule: that of receipt where the clock is ahead."""
    return received_at if clock_is_ahead(event, received_at) else parse_time(event["time"])


# Regions


@dataclass(frozen=True)
class Regions:
    """The country's villages, by code."""

    villages: Mapping[str, str]

    def within(self, area: str) -> list[str]:
        """List the villages of an area."""
        return sorted(code for code in self.villages if is_within(code, area))


def is_within(code: str, area: str) -> bool:
    """Say whether a village lies in an area, whose segments begin its code; ID is the country."""
    return area == "ID" or code == area or code.startswith(area + ".")


def district_of(village: str) -> str:
    """Give the kecamatan of a village."""
    return village.rpartition(".")[0]


@cache
def national_regions() -> Regions:
    """Read the national list."""
    with gzip.open(REGIONS_CSV, "rt", encoding="utf-8", newline="") as lines:
        rows = csv.DictReader(lines)
        return Regions({row["kode"]: row["name"] for row in rows if row["level"] in VILLAGE_LEVELS})


# Section 3: what a resident is


@dataclass(frozen=True)
class Entry:
    """One event of the log, with the resident it belongs to in the model's own numbering."""

    position: int
    recorded_at: datetime
    resident: int
    event: Event = field(repr=False)

    @property
    def kind(self) -> str:
        """The type without its prefix."""
        return kind_of(self.event)

    @property
    def key(self) -> Key:
        """`source` and `id`."""
        return (self.event["source"], self.event["id"])

    @property
    def data(self) -> dict[str, Any]:
        """What was sent."""
        data: dict[str, Any] = self.event["data"]
        return data

    @property
    def served_data(self) -> dict[str, Any]:
        """What `GET /v1/log` may show: what was sent less `nik` and `name` (section 2)."""
        return {name: value for name, value in self.data.items() if name not in ("nik", "name")}


@dataclass(frozen=True)
class Dated:
    """An entry of a history: something is so from a day on."""

    since: date
    position: int
    value: str


def in_force(history: Iterable[Dated], day: date) -> str:
    """Give the entry with the latest date not after the day; of two, the later position."""
    begun = [entry for entry in history if entry.since <= day]
    return max(begun, key=lambda entry: (entry.since, entry.position)).value


@dataclass(frozen=True)
class Resident:
    """A resident as the log has them, folded from the standing events."""

    key: int
    nik: str
    name: str
    sex: str
    birth_date: str
    marital_status: str
    residence: tuple[Dated, ...]
    service: tuple[Dated, ...]
    rights: tuple[Dated, ...]
    marriages: tuple[date, ...]
    died_on: date | None
    recorded: bool
    ikd_active: bool
    relocating: bool

    def born(self) -> date:
        """The day of birth, the last one it can be."""
        return last_day(self.birth_date)

    def village_on(self, day: date) -> str:
        """Residence on a day."""
        return in_force(self.residence, day)

    def service_on(self, day: date) -> str:
        """Service on a day: none, tni or polri."""
        return in_force(self.service, day)

    def is_revoked_on(self, day: date) -> bool:
        """Whether the right to vote is revoked on a day."""
        return in_force(self.rights, day) == "revoked"

    def is_married_on(self, day: date) -> bool:
        """Whether married, or married once, by a day."""
        return self.marital_status in ("S", "P") or any(on <= day for on in self.marriages)

    def is_dead_on(self, day: date) -> bool:
        """Whether dead by a day."""
        return self.died_on is not None and self.died_on <= day

    def is_aged_on(self, years: int, day: date) -> bool:
        """Whether that old by a day."""
        return day >= anniversary(self.born(), years)


def fold(standing: list[Entry]) -> Resident:
    """Fold one resident's standing events, the registration first (section 3)."""
    registration = standing[0]
    biodata = laid_over(standing)
    return Resident(
        key=registration.resident,
        nik=registration.data["nik"],
        name=biodata["name"],
        sex=biodata["sex"],
        birth_date=biodata["birth_date"],
        marital_status=biodata["marital_status"],
        residence=tuple(residence_history(standing)),
        service=tuple(service_history(standing)),
        rights=tuple(rights_history(standing)),
        marriages=tuple(
            date.fromisoformat(entry.data["married_on"])
            for entry in of_kind(standing, "resident.married")
        ),
        died_on=death(standing),
        recorded=is_recorded(standing),
        ikd_active=bool(of_kind(standing, "ikd.activated")),
        relocating=is_relocating(standing),
    )


def of_kind(entries: list[Entry], *kinds: str) -> list[Entry]:
    """Pick the entries of some types."""
    return [entry for entry in entries if entry.kind in kinds]


def laid_over(standing: list[Entry]) -> dict[str, str]:
    """Give the biodata: the registration's, with corrections laid over it in log order."""
    biodata: dict[str, str] = {}
    for entry in of_kind(standing, "resident.registered", "biodata.corrected"):
        biodata |= {name: entry.data[name] for name in BIODATA if name in entry.data}
    return biodata


def residence_history(standing: list[Entry]) -> Iterator[Dated]:
    """Give where they live: registration from the beginning of time, then each relocation."""
    yield Dated(ALWAYS, standing[0].position, standing[0].data["village"])
    for entry in of_kind(standing, "resident.relocated"):
        yield dated(entry, entry.data["to_village"])


def service_history(standing: list[Entry]) -> Iterator[Dated]:
    """Give their service, by the same rule."""
    yield Dated(ALWAYS, standing[0].position, standing[0].data.get("service", "none"))
    for entry in of_kind(standing, "service.changed"):
        yield dated(entry, entry.data["service"])


def rights_history(standing: list[Entry]) -> Iterator[Dated]:
    """Give the right to vote, by the same rule: restored, as it were, from the beginning."""
    yield Dated(ALWAYS, standing[0].position, "restored")
    for entry in of_kind(standing, "rights.revoked", "rights.restored"):
        yield dated(entry, entry.kind.removeprefix("rights."))


def dated(entry: Entry, value: str) -> Dated:
    """Make a history's entry from an event with an `effective_date`."""
    return Dated(date.fromisoformat(entry.data["effective_date"]), entry.position, value)


def death(standing: list[Entry]) -> date | None:
    """Give the day of death; no second death is accepted while one stands."""
    deaths = of_kind(standing, "resident.died")
    return date.fromisoformat(deaths[-1].data["died_on"]) if deaths else None


def is_recorded(standing: list[Entry]) -> bool:
    """Say whether the last word on the recording is that it was made."""
    captures = of_kind(standing, "ktp.recorded", "ktp.failed")
    return bool(captures) and captures[-1].kind == "ktp.recorded"


def is_relocating(standing: list[Entry]) -> bool:
    """Say whether a moving letter was issued with which nobody has arrived."""
    issued = {entry.data["letter_no"] for entry in of_kind(standing, "relocation.started")}
    arrived = {entry.data["letter_no"] for entry in of_kind(standing, "resident.relocated")}
    return bool(issued - arrived)


# Section 4: what is counted


@dataclass(frozen=True)
class Stage:
    """A stage of the voter list, from a day on."""

    name: str
    since: date


@dataclass(frozen=True)
class Election:
    """What an election needs to be counted."""

    id: str
    polling_day: date
    area: str
    minimum_age: int
    first_time_since: date
    stages: tuple[Stage, ...] = ()

    def stage_at(self, recorded_at: datetime) -> str | None:
        """Give the list's stage when something was recorded; none before the first (section 6)."""
        day = day_in_jakarta(recorded_at)
        begun = [stage for stage in self.stages if stage.since <= day]
        return max(begun, key=lambda stage: stage.since).name if begun else None


PILKADA_2024 = Election(
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

# Others to count the same log for: a district, a whole province, one village; and a polling day
# between the 17th birthdays of 28 February and of 29 February 2008.
ELECTIONS = (
    PILKADA_2024,
    Election("siulak", date(2024, 11, 28), "15.01.16", 17, date(2024, 11, 27)),
    Election("leap-day", date(2025, 2, 28), "15", 17, date(2025, 2, 28)),
    Election("one-village", date(2023, 6, 1), "15.01.01.2001", 16, date(2020, 1, 1)),
)


def village_counted_in(resident: Resident, election: Election) -> str | None:
    """Give the village of the area that counts a resident, if one does."""
    village = resident.village_on(election.polling_day)
    if resident.is_dead_on(election.polling_day) or not is_within(village, election.area):
        return None
    return village


def class_of(resident: Resident, election: Election) -> str:
    """Give the one class a counted resident is in: the first that fits."""
    day = election.polling_day
    if not resident.is_aged_on(election.minimum_age, day) and not resident.is_married_on(day):
        return "under_age"
    if resident.service_on(day) != "none":
        return resident.service_on(day)
    return "rights_revoked" if resident.is_revoked_on(day) else "eligible"


def counts_of(resident: Resident, election: Election) -> Counts:
    """Give what one counted resident adds to the tally of their village."""
    adds = {
        "residents",
        class_of(resident, election),
        *(["ikd_active"] if resident.ikd_active else []),
        *(["relocating"] if resident.relocating else []),
    }
    if "eligible" in adds:
        adds |= counts_of_a_voter(resident, election)
    return {count: int(count in adds) for count in COUNTS}


def counts_of_a_voter(resident: Resident, election: Election) -> set[str]:
    """Name the counts of the eligible that one of them is in."""
    state = "recorded" if resident.recorded else "unrecorded"
    names = {"eligible_male" if resident.sex == "L" else "eligible_female", f"eligible_{state}"}
    birthday = anniversary(resident.born(), election.minimum_age)
    if birthday >= election.first_time_since:
        names |= {"first_time"} if resident.recorded else {"first_time", "first_time_unrecorded"}
    return names


def summed(tallies: Iterable[Counts]) -> Counts:
    """Add tallies up."""
    listed = list(tallies)
    return {count: sum(tally[count] for tally in listed) for count in COUNTS}


def measured(counts: Counts, tps_min: int) -> Row:
    """Lay beside the counts what follows from them."""
    eligible, recorded = counts["eligible"], counts["eligible_recorded"]
    return {
        **counts,
        "coverage": recorded / eligible if eligible else None,
        "untouched": eligible > 0 and recorded == 0,
        "tps_min": tps_min,
    }


def tps_min(counts: Counts) -> int:
    """Give the least number of polling stations of a village."""
    return -(-counts["eligible"] // TPS_MAX_VOTERS)


# Sections 2 to 6: the model


@dataclass(frozen=True)
class Result:
    """The answer to a submission; `problem` is the last part of the problem's `type`.

    A duplicate carries position, warnings and problem of the first as it stands now, and its
    outcome in `first`.
    """

    outcome: Outcome
    position: int | None = None
    warnings: tuple[str, ...] = ()
    problem: str | None = None
    first: Outcome | None = None


@dataclass
class Kept:
    """The first submission of a source and id, and what has become of it."""

    event: Event
    content: str
    result: Result


@dataclass(frozen=True)
class VoterChange:
    """A person becomes, stops being, or moves as a voter (section 6)."""

    position: int
    resident: int
    kind: Literal["added", "removed", "moved"]
    from_village: str | None
    to_village: str | None
    reason: str


@dataclass(frozen=True)
class VillageChange:
    """A village's tally goes from `before` to `after` at one position (section 6)."""

    position: int
    village: str
    stage: str | None
    before: Counts
    after: Counts


@dataclass(frozen=True)
class Station:
    """What is known of a station's contact (section 1)."""

    last_contact: datetime
    received_without_gap: int
    missing: tuple[int, ...]


class Model:
    """The whole system, in one place and without haste."""

    def __init__(self, regions: Regions | None = None) -> None:
        """Begin with an empty log and the national list of villages."""
        self.regions = regions or national_regions()
        self.log: list[Entry] = []
        self._kept: dict[Key, Kept] = {}
        self._parked: list[Kept] = []
        self._arrivals: list[tuple[Event, datetime]] = []
        self._entries_of: dict[int, list[Entry]] = {}
        self._residents_with: dict[str, list[int]] = {}
        self._retracted_at: dict[int, int] = {}

    # Section 2: what the registry answers

    def submit_batch(self, events: Iterable[object], received_at: datetime) -> list[Result]:
        """Answer a batch: as if its events had been sent one by one."""
        return [self.submit(event, received_at) for event in events]

    def submit(self, event: object, received_at: datetime) -> Result:
        """Answer one event of a sender who may send it."""
        key = key_of(event)
        if key is None or not isinstance(event, dict):
            return Result("rejected", problem="invalid")
        self._arrivals.append((event, received_at))
        if fault(event) is not None:
            result = Result("rejected", problem="invalid")
            self._kept.setdefault(key, Kept(event, content_of(event), result))
            return result
        if key in self._kept:
            return self._answer_again(self._kept[key], event)
        return self._answer_first(key, event, received_at)

    def _answer_again(self, first: Kept, event: Event) -> Result:
        if content_of(event) != first.content:
            return Result("rejected", problem="id-reused")
        now = first.result
        return Result("duplicate", now.position, now.warnings, now.problem, first=now.outcome)

    def _answer_first(self, key: Key, event: Event, received_at: datetime) -> Result:
        result = self._settle(event, received_at)
        kept = self._kept[key] = Kept(event, content_of(event), result)
        if result.outcome == "parked":
            self._parked.append(kept)
        if result.outcome == "accepted":
            self._try_parked_again(received_at)
        return result

    def _try_parked_again(self, now: datetime) -> None:
        """Try the parked in their order, from the first, as if sent now, until none moves."""
        while any(self._moves(kept, now) for kept in self._parked):
            self._parked = [kept for kept in self._parked if kept.result.outcome == "parked"]

    def _moves(self, kept: Kept, now: datetime) -> bool:
        result = self._settle(kept.event, now)
        if result.outcome == "parked":
            return False
        kept.result = result
        return True

    def _settle(self, event: Event, now: datetime) -> Result:
        """Decide, and append to the log what is accepted."""
        verdict = self._verdict(event, now)
        if verdict == "parked":
            return Result("parked", warnings=self._warnings(event, now))
        if verdict != "accepted":
            return Result("rejected", problem=verdict)
        warnings = self._warnings(event, now)
        return Result("accepted", self._append(event, now), warnings)

    def _verdict(self, event: Event, now: datetime) -> str:
        """Give `accepted`, `parked`, or the first problem that fits, in the order of section 2."""
        kind, data = kind_of(event), event["data"]
        if is_in_the_future(data, day_in_jakarta(now)):
            return "in-the-future"
        if self._names_unknown_village(data):
            return "unknown-village"
        if kind == "event.retracted":
            return self._verdict_on_retraction(data["retracts"])
        resident = self.registered(data["nik"])
        if kind == "resident.registered":
            return "accepted" if resident is None else "already-registered"
        if resident is None:
            return "parked"
        return verdict_on_resident(kind, resident, day_in_jakarta(effective_time(event, now)))

    def _names_unknown_village(self, data: dict[str, Any]) -> bool:
        named = [data[name] for name in ("village", "to_village") if name in data]
        return any(village not in self.regions.villages for village in named)

    def _verdict_on_retraction(self, retracts: dict[str, str]) -> str:
        target = self._logged(retracts)
        if target is None:
            return "unknown-event"
        standing = self._standing_of(target.resident)
        others = [entry for entry in standing if entry.position != target.position]
        if (
            target.kind == "event.retracted"
            or target.position in self._retracted_at
            or (target.kind == "resident.registered" and others)
        ):
            return "not-retractable"
        return "accepted"

    def _logged(self, reference: dict[str, str]) -> Entry | None:
        kept = self._kept.get((reference["source"], reference["id"]))
        if kept is None or kept.result.position is None:
            return None
        return self.log[kept.result.position - 1]

    def _warnings(self, event: Event, now: datetime) -> tuple[str, ...]:
        """Give the warnings of section 1, sorted."""
        warnings = {
            "birth-date-incomplete": len(event["data"].get("birth_date", "YYYY-MM-DD")) < 10,
            "clock-ahead": clock_is_ahead(event, now),
            "nik-mismatch": self._nik_mismatches(kind_of(event), event["data"]),
        }
        return tuple(name for name, applies in warnings.items() if applies)

    def _nik_mismatches(self, kind: str, data: dict[str, Any]) -> bool:
        """Compare the NIK with the biodata that result, where the event touches them.

        While a correction waits for the registration, there are no biodata to compare with.
        """
        if not data.keys() & {"sex", "birth_date"}:
            return False
        if kind == "resident.registered":
            return nik_differs(data["nik"], data["sex"], data["birth_date"])
        resident = self.registered(data["nik"])
        if resident is None:
            return False
        sex = data.get("sex", resident.sex)
        return nik_differs(data["nik"], sex, data.get("birth_date", resident.birth_date))

    def _append(self, event: Event, now: datetime) -> int:
        """Add an accepted event to the log, and give its position."""
        position = len(self.log) + 1
        resident = self._resident_of(event)
        if kind_of(event) == "event.retracted":
            target = self._logged(event["data"]["retracts"])
            assert target is not None, "an accepted retraction retracts an entry of the log"
            self._retracted_at[target.position] = position
        entry = Entry(position, now, resident, event)
        self.log.append(entry)
        self._entries_of[resident].append(entry)
        return position

    def _resident_of(self, event: Event) -> int:
        """Give the resident an accepted event belongs to; a registration makes a new one."""
        data = event["data"]
        match kind_of(event):
            case "resident.registered":
                resident = len(self._entries_of) + 1
                self._entries_of[resident] = []
                self._residents_with.setdefault(data["nik"], []).append(resident)
                return resident
            case "event.retracted":
                target = self._logged(data["retracts"])
                assert target is not None, "an accepted retraction retracts an entry of the log"
                return target.resident
            case _:
                return self._residents_with[data["nik"]][-1]

    def parked(self) -> list[Key]:
        """List what waits, in order of arrival."""
        return [(kept.event["source"], kept.event["id"]) for kept in self._parked]

    def outcome_of(self, key: Key) -> Result | None:
        """Give what has become of the first submission of a source and id."""
        return self._kept[key].result if key in self._kept else None

    def stations(self) -> dict[str, Station]:
        """Give each source's contact; whatever arrived counts, the refused too (section 1)."""
        arrived: dict[str, list[tuple[Event, datetime]]] = {}
        for event, received_at in self._arrivals:
            arrived.setdefault(event["source"], []).append((event, received_at))
        return {source: station_of(arrivals) for source, arrivals in arrived.items()}

    # Section 3: what a resident is

    def _standing_of(self, resident: int, position: int | None = None) -> list[Entry]:
        """List a resident's events that stand, after the log up to a position."""
        end = len(self.log) if position is None else position
        return [
            entry
            for entry in self._entries_of[resident]
            if entry.position <= end
            and entry.kind != "event.retracted"
            and not self._retracted_at.get(entry.position, end + 1) <= end
        ]

    def resident(self, key: int, position: int | None = None) -> Resident | None:
        """Fold one resident, after the log up to a position; none if not registered then."""
        standing = self._standing_of(key, position)
        return fold(standing) if standing else None

    def registered(self, nik: str) -> Resident | None:
        """Give the resident who has a NIK now, if it is registered."""
        residents = self._residents_with.get(nik, [])
        return self.resident(residents[-1]) if residents else None

    def standing(self, position: int | None = None) -> dict[int, Resident]:
        """Fold every resident, after the log up to a position."""
        folded = (self.resident(key, position) for key in self._entries_of)
        return {resident.key: resident for resident in folded if resident is not None}

    def position_at(self, moment: datetime) -> int:
        """Give the last position recorded by then: `?as_of=<time>` (section 5)."""
        return sum(entry.recorded_at <= moment for entry in self.log)

    # Sections 4 and 5: what is counted

    def _counts(self, election: Election, position: int | None) -> dict[str, Counts]:
        added: dict[str, list[Counts]] = {
            village: [] for village in self.regions.within(election.area)
        }
        for resident in self.standing(position).values():
            village = village_counted_in(resident, election)
            if village is not None:
                added[village].append(counts_of(resident, election))
        return {village: summed(counts) for village, counts in added.items()}

    def tallies(self, election: Election, position: int | None = None) -> dict[str, Row]:
        """Give every village's tally, in the order of their codes."""
        counts = self._counts(election, position)
        return {village: measured(tally, tps_min(tally)) for village, tally in counts.items()}

    def districts(self, election: Election, position: int | None = None) -> dict[str, Row]:
        """Give every kecamatan's tally: the sum of its villages, polling stations too."""
        villages: dict[str, list[Counts]] = {}
        for village, tally in self._counts(election, position).items():
            villages.setdefault(district_of(village), []).append(tally)
        return {district: sum_of_villages(tallies) for district, tallies in villages.items()}

    def total(self, election: Election, position: int | None = None) -> Row:
        """Give the whole area's tally: the sum of its villages."""
        return sum_of_villages(list(self._counts(election, position).values()))

    # Section 6: what KPU receives

    def voters(self, election: Election, position: int | None = None) -> dict[str, set[int]]:
        """Give the residents who are eligible, by village; villages without any are left out."""
        voters: dict[str, set[int]] = {}
        for key, resident in self.standing(position).items():
            village = village_as_voter(resident, election)
            if village is not None:
                voters.setdefault(village, set()).add(key)
        return voters

    def voter_changes(self, election: Election) -> list[VoterChange]:
        """Give what each event of the log changed in its resident's vote."""
        changes = []
        for entry, old, new in self._steps():
            before, after = village_as_voter(old, election), village_as_voter(new, election)
            if before == after:
                continue
            kind: Literal["added", "removed", "moved"] = "moved"
            if before is None or after is None:
                kind = "added" if before is None else "removed"
            reason = entry.event["type"]
            changes.append(VoterChange(entry.position, entry.resident, kind, before, after, reason))
        return changes

    def village_changes(self, election: Election) -> list[VillageChange]:
        """Give each event's changes of the tallies, unfolded: one per position and village."""
        tallies: dict[str, Counts] = {}
        changes = []
        for entry, old, new in self._steps():
            stage = election.stage_at(entry.recorded_at)
            for village, added in difference(old, new, election).items():
                before = tallies.get(village, summed([]))
                after = tallies[village] = summed([before, added])
                changes.append(VillageChange(entry.position, village, stage, before, after))
        return changes

    def _steps(self) -> Iterator[tuple[Entry, Resident | None, Resident | None]]:
        """Go through the log with each event's resident before and after it."""
        for entry in self.log:
            before = self.resident(entry.resident, entry.position - 1)
            yield entry, before, self.resident(entry.resident, entry.position)


def is_in_the_future(data: dict[str, Any], today: date) -> bool:
    """Say whether a birth, marriage or death is said to be after today."""
    days = [last_day(data[n]) for n in ("birth_date", "married_on", "died_on") if n in data]
    return any(day > today for day in days)


def verdict_on_resident(kind: str, resident: Resident, day: date) -> str:
    """Judge an event of a registered resident that happened on a day."""
    if kind != "biodata.corrected" and is_deceased(kind, resident, day):
        return "deceased"
    if kind == "ktp.recorded" and not resident.is_aged_on(RECORDING_AGE_YEARS, day):
        return "too-young"
    if kind == "ikd.activated" and not resident.recorded:
        return "parked"
    return "accepted"


def is_deceased(kind: str, resident: Resident, day: date) -> bool:
    """Say whether it comes after the day of death, or is a second death."""
    return resident.died_on is not None and (kind == "resident.died" or day > resident.died_on)


def station_of(arrivals: list[tuple[Event, datetime]]) -> Station:
    """Say what of a station's events has come, and what is missing."""
    numbers = {event["stationseq"] for event, _ in arrivals if is_sequence(event.get("stationseq"))}
    missing = tuple(n for n in range(1, max(numbers, default=0) + 1) if n not in numbers)
    without_gap = missing[0] - 1 if missing else max(numbers, default=0)
    return Station(max(at for _, at in arrivals), without_gap, missing)


def sum_of_villages(tallies: list[Counts]) -> Row:
    """Give the tally of several villages; no polling station serves two of them."""
    return measured(summed(tallies), sum(tps_min(tally) for tally in tallies))


def village_as_voter(resident: Resident | None, election: Election) -> str | None:
    """Give the village in which a resident is a voter, if they are."""
    if resident is None or class_of(resident, election) != "eligible":
        return None
    return village_counted_in(resident, election)


def difference(old: Resident | None, new: Resident | None, election: Election) -> dict[str, Counts]:
    """Give what a resident's change adds to each village's tally, where it adds anything."""
    added: dict[str, Counts] = {}
    for resident, sign in ((old, -1), (new, 1)):
        village = None if resident is None else village_counted_in(resident, election)
        if resident is not None and village is not None:
            counts = {n: sign * c for n, c in counts_of(resident, election).items()}
            added[village] = summed([added.get(village, summed([])), counts])
    return {village: counts for village, counts in sorted(added.items()) if any(counts.values())}
