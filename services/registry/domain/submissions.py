"""What a station sends, read and checked for its form alone (contract section 1).

A parsed JSON value becomes an `Arrival` when its `source` and `id` can be read: from then on it
is kept whatever becomes of it. Its content is either `WellFormed` or a `Problem`.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Annotated, Any, Final

import orjson
from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints, ValidationError
from pydantic import Field as PydanticField
from pydantic_core import PydanticCustomError

from services.registry.domain import nik as niks
from shared.calendar import is_incomplete, latest_day
from shared.events.codec import read_fact
from shared.events.facts import (
    TYPE_PREFIX,
    Fact,
    MaritalStatus,
    RecordingFailure,
    Service,
    Sex,
)
from shared.problems import Problem, ProblemType

SPEC_VERSION: Final = "1.0"
MAX_EVENT_BYTES: Final = 65_536
MAX_ID_LENGTH: Final = 200
MAX_STATION_SEQ: Final = 2**53 - 1

SOURCE_FORM: Final = re.compile(r"urn:dukcapil:station:[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_VILLAGE: Final = re.compile(r"[0-9]{2}\.[0-9]{2}\.[0-9]{2}\.[0-9]{4}")
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_TIME: Final = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt]([01][0-9]|2[0-3]):([0-5][0-9]):([0-5][0-9]|60)"
    r"(\.[0-9]+)?([Zz]|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
)
_MEMBER_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,39}")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def _fault(sentence: str) -> PydanticCustomError:
    return PydanticCustomError("contract", "{sentence}", {"sentence": sentence})


def _nik(value: str) -> str:
    if (fault := niks.fault_of(value)) is not None:
        raise _fault(fault)
    return value


def _full_date(value: str) -> str:
    if not _DATE.fullmatch(value):
        raise _fault("must be a date written YYYY-MM-DD")
    return _existing(value)


def _birth_date(value: str) -> str:
    if len(value) not in (4, 7, 10) or not value.replace("-", "").isascii():
        raise _fault("must be a date written YYYY-MM-DD, or YYYY-MM or YYYY where no more is known")
    return _existing(value)


def _existing(value: str) -> str:
    try:
        latest_day(value)
    except ValueError:
        raise _fault("is not a date that exists") from None
    return value


def _village(value: str) -> str:
    if not _VILLAGE.fullmatch(value):
        raise _fault("must be a village code written PP.KK.CC.DDDD")
    return value


def _plain(value: str) -> str:
    if _CONTROL.search(value) or not value.strip():
        raise _fault("must be text without control characters")
    return value


def _free_text(value: str) -> str:
    if niks.is_told_in(value):
        raise _fault("must not hold a NIK")
    return _plain(value)


# Said in the published schemas; what checks are the functions.
def _written(form: re.Pattern[str] | str, **others: Any) -> Any:
    pattern = form if isinstance(form, str) else form.pattern
    return PydanticField(json_schema_extra={"pattern": f"^{pattern}$", **others})


def _as_correction(schema: dict[str, Any]) -> None:
    """What the model's defaults stand for: members left out, of which one must be there."""
    for member in CORRECTABLE:
        schema["properties"][member].pop("default", None)
    schema["anyOf"] = [{"required": [member]} for member in CORRECTABLE]


Nik = Annotated[
    str,
    AfterValidator(_nik),
    _written(
        "[0-9]{16}",
        description="Six digits of a region, day (plus 40 for a woman), month and two digits of"
        " the year of birth, and a serial that is not 0000.",
    ),
]
FullDate = Annotated[str, AfterValidator(_full_date), _written(_DATE, format="date")]
BirthDate = Annotated[
    str,
    AfterValidator(_birth_date),
    _written(
        "[0-9]{4}(-[0-9]{2}(-[0-9]{2})?)?",
        description="YYYY-MM-DD; YYYY-MM or YYYY where no more is known, which then counts as the"
        " last day it can be.",
    ),
]
Village = Annotated[
    str,
    AfterValidator(_village),
    _written(_VILLAGE, description="A village of the national list."),
]
Name = Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(_plain)]
Number = Annotated[str, StringConstraints(min_length=1, max_length=100), AfterValidator(_free_text)]
Reason = Annotated[str, StringConstraints(min_length=1, max_length=500), AfterValidator(_free_text)]


class _Data(BaseModel):
    model_config = ConfigDict(extra="forbid")


class OfResident(_Data):
    nik: Nik


class Registered(OfResident):
    name: Name
    sex: Sex
    birth_date: BirthDate
    marital_status: MaritalStatus
    village: Village
    service: Service = Service.NONE


class Failed(OfResident):
    reason: RecordingFailure


class Started(OfResident):
    letter_no: Number


class Relocated(OfResident):
    to_village: Village
    effective_date: FullDate
    letter_no: Number


class Married(OfResident):
    married_on: FullDate


class Died(OfResident):
    died_on: FullDate


class ServiceChange(OfResident):
    service: Service
    effective_date: FullDate


class Rights(OfResident):
    effective_date: FullDate
    verdict_no: Number


CORRECTABLE: Final = ("name", "sex", "birth_date", "marital_status")


class Corrected(OfResident):
    """At least one of the four biodata; a null is not the same as a member left out."""

    model_config = ConfigDict(json_schema_extra=_as_correction)

    reason: Reason
    name: Name = ""
    sex: Sex = Sex.MALE
    birth_date: BirthDate = ""
    marital_status: MaritalStatus = MaritalStatus.NEVER


class EventRef(_Data):
    source: Annotated[str, PydanticField(min_length=1, max_length=255), AfterValidator(_plain)]
    id: Annotated[
        str, PydanticField(min_length=1, max_length=MAX_ID_LENGTH), AfterValidator(_plain)
    ]


class Retracted(_Data):
    retracts: EventRef
    reason: Reason


DATA: Final[dict[str, type[_Data]]] = {
    "resident.registered": Registered,
    "ktp.recorded": OfResident,
    "ktp.failed": Failed,
    "ikd.activated": OfResident,
    "relocation.started": Started,
    "resident.relocated": Relocated,
    "resident.married": Married,
    "resident.died": Died,
    "service.changed": ServiceChange,
    "rights.revoked": Rights,
    "rights.restored": Rights,
    "biodata.corrected": Corrected,
    "event.retracted": Retracted,
}


@dataclass(frozen=True, slots=True)
class WellFormed:
    """An event whose form is right; whether it can be accepted is for `decide`.

    `data` is the JSON text of what was sent less `nik` and `name`, as the log keeps it;
    `birth_date` the date as written where there is one; `subject` the keyed hash of `nik`.
    A retraction has no NIK: its subject is that of the event that it retracts.
    """

    type: str
    time: str
    happened_at: datetime
    nik: str | None
    subject: bytes | None
    birth_date: str | None
    fact: Fact
    data: str


@dataclass(frozen=True, slots=True)
class Arrival:
    """Something with a readable source and id, as it came; kept whatever becomes of it.

    `content` is canonical JSON: equal content, equal bytes. `claims` says whether it takes its
    source and id for itself: what was sent by somebody who may not send for that source does not,
    nor what bears its NIK as a name, which may not be kept readable.
    """

    source: str
    id: str
    content: bytes
    station_seq: int | None
    claims: bool
    checked: WellFormed | Problem


SubjectOf = Callable[[str], bytes]


def arrive(event: Any, allowed: bool, subject_of: SubjectOf) -> Arrival | Problem:
    """Read one parsed CloudEvent; a bare Problem when not even source and id can be read.

    `allowed` tells whether the sender may send for a source; `subject_of` is the keyed hash by
    which a NIK is known outside the vault.
    """
    if not isinstance(event, dict):
        return Problem(ProblemType.INVALID, "An event must be a JSON object; see CloudEvents 1.0.")
    for member in ("source", "id"):
        if (problem := _unreadable(event, member)) is not None:
            return problem
    content = _canonical(event)
    if content is None:
        return Problem(ProblemType.INVALID, "The event is nested too deeply; send it flat.")
    sequence = event.get("stationseq")
    return Arrival(
        source=event["source"],
        id=event["id"],
        content=content,
        station_seq=sequence if _is_sequence(sequence) else None,
        claims=allowed and not _is_named_by_nik(event),
        checked=_check(event, content, allowed, subject_of),
    )


def _canonical(event: Any) -> bytes | None:
    """Equal content as equal bytes; None when it is nested deeper than can be written."""
    try:
        return orjson.dumps(event, option=orjson.OPT_SORT_KEYS)
    except orjson.JSONEncodeError:
        pass
    try:
        return json.dumps(event, sort_keys=True, separators=(",", ":")).encode()
    except RecursionError:
        return None


def _unreadable(event: Mapping[str, Any], member: str) -> Problem | None:
    value = event.get(member)
    limit = MAX_ID_LENGTH if member == "id" else 255
    if isinstance(value, str) and 0 < len(value) <= limit and not _CONTROL.search(value):
        return None
    return _invalid(member, f"must be text of 1 to {limit} characters")


def _is_named_by_nik(event: Mapping[str, Any]) -> bool:
    data = event.get("data")
    nik = data.get("nik") if isinstance(data, dict) else None
    return isinstance(nik, str) and bool(nik) and (nik in event["id"] or nik in event["source"])


def _is_sequence(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MAX_STATION_SEQ


def _invalid(field: str, fault: str) -> Problem:
    return Problem(ProblemType.INVALID, f"{field} {fault}.", field)


def _check(
    event: Mapping[str, Any], content: bytes, allowed: bool, subject_of: SubjectOf
) -> WellFormed | Problem:
    if not allowed:
        return Problem(
            ProblemType.FORBIDDEN,
            "This token may not send for this source; send with the token of that station.",
            "source",
        )
    if len(content) > MAX_EVENT_BYTES:
        return Problem(ProblemType.TOO_LARGE, f"An event may have {MAX_EVENT_BYTES} bytes at most.")
    return _check_envelope(event) or _read(event, subject_of)


def _check_envelope(event: Mapping[str, Any]) -> Problem | None:
    if event.get("specversion") != SPEC_VERSION:
        return _invalid("specversion", 'must be "1.0"')
    if not SOURCE_FORM.fullmatch(event["source"]):
        return _invalid("source", "must be urn:dukcapil:station: and the station's code")
    event_type = event.get("type")
    if not isinstance(event_type, str) or event_type.removeprefix(TYPE_PREFIX) not in DATA:
        return _invalid("type", f"must be {TYPE_PREFIX} and an event type of the contract")
    if not event_type.startswith(TYPE_PREFIX):
        return _invalid("type", f"must begin with {TYPE_PREFIX}")
    sequence = event.get("stationseq")
    if sequence is not None and not _is_sequence(sequence):
        return _invalid("stationseq", "must be a whole number from 1")
    if event.get("datacontenttype", "application/json") not in ("application/json", None):
        return _invalid("datacontenttype", "must be application/json")
    return None


def _read(event: Mapping[str, Any], subject_of: SubjectOf) -> WellFormed | Problem:
    happened_at = parse_time(event.get("time"))
    if happened_at is None:
        return _invalid("time", "must be an RFC 3339 time with an offset")
    data = event.get("data")
    if not isinstance(data, dict):
        return _invalid("data", "must be a JSON object")
    name = event["type"].removeprefix(TYPE_PREFIX)
    problem = _check_data(name, data) or _check_secrecy(event, data)
    if problem is not None:
        return problem
    nik = data.get("nik")
    told = {key: value for key, value in data.items() if key not in ("nik", "name")}
    return WellFormed(
        type=event["type"],
        time=event["time"],
        happened_at=happened_at,
        nik=nik,
        subject=subject_of(nik) if nik is not None else None,
        birth_date=data.get("birth_date"),
        fact=read_fact(event["type"], told),
        data=orjson.dumps(told).decode(),
    )


def parse_time(written: Any) -> datetime | None:
    """An RFC 3339 time with an offset; None for anything else.

    A leap second counts as the second after it, fractions beyond microseconds are cut.
    """
    match = _TIME.fullmatch(written) if isinstance(written, str) else None
    if match is None:
        return None
    day, hour, minute, second, fraction, offset = match.groups()
    zone = "+00:00" if offset in "Zz" else offset
    micros = (fraction or "")[:7]
    leap = second == "60"
    try:
        moment = datetime.fromisoformat(
            f"{day}T{hour}:{minute}:{'59' if leap else second}{micros}{zone}"
        )
        moment += timedelta(seconds=1 if leap else 0)
        # Rules compare instants and the office's days; both must be within Python's calendar.
        if not date(1, 1, 3) <= moment.date() <= date(9999, 12, 29):
            return None
    except (ValueError, OverflowError):
        return None
    return moment


def _check_data(name: str, data: dict[str, Any]) -> Problem | None:
    try:
        DATA[name].model_validate(data)
    except ValidationError as error:
        return _first_fault(error)
    if name == "biodata.corrected" and not any(member in data for member in CORRECTABLE):
        return _invalid("data", f"must hold at least one of {', '.join(CORRECTABLE)}")
    return None


def _first_fault(error: ValidationError) -> Problem:
    """The first fault in words of our own: pydantic's would repeat what was sent."""
    fault = error.errors(include_url=False, include_input=False, include_context=False)[0]
    names = [str(part) for part in fault["loc"]]
    shown = [part if _MEMBER_NAME.fullmatch(part) else "?" for part in names]
    field = ".".join(["data", *shown])
    match fault["type"]:
        case "missing":
            return _invalid(field, "is missing")
        case "extra_forbidden":
            return _invalid(field, "is not a member of this event type; leave it out")
        case "contract":
            return _invalid(field, fault["msg"])
        case _:
            return _invalid(field, fault["msg"].replace("Input should", "must").lower())


def _check_secrecy(event: Mapping[str, Any], data: Mapping[str, Any]) -> Problem | None:
    """No NIK may reach the log: not by way of an id or a number of a letter either."""
    nik = data.get("nik")
    if nik is None:
        return None
    served = {"id": event["id"], "source": event["source"]} | {
        f"data.{member}": data.get(member) for member in ("letter_no", "reason", "verdict_no")
    }
    for field, value in served.items():
        if isinstance(value, str) and nik in value:
            return _invalid(field, "must not hold the resident's NIK")
    return None


def written_incompletely(submitted: WellFormed) -> bool:
    """Whether the birth date sent lacks its day or month."""
    return submitted.birth_date is not None and is_incomplete(submitted.birth_date)
