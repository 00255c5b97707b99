"""What a station sends, read and checked for its form alone (contract section 1).

A parsed JSON value becomes an `Arrival` when its `source` and `id` can be read: from then on it
is kept whatever becomes of it. Its content is either `WellFormed` or a `Problem`.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

import orjson
from pydantic import ValidationError

from services.registry.domain import nik as niks
from services.registry.domain import secrecy
from services.registry.domain.forms import (
    CONTROL,
    CORRECTABLE,
    DATA,
    MAX_ID_LENGTH,
    MAX_SOURCE_LENGTH,
)
from services.registry.domain.reading import Unfit, made_out, misfit, written
from services.registry.domain.secrecy import SubjectOf
from shared.calendar import is_incomplete, office_date
from shared.events.codec import read_fact
from shared.events.facts import TYPE_PREFIX, Fact
from shared.problems import Problem, ProblemType
from shared.stations import SOURCE_FORM

SPEC_VERSION: Final = "1.0"
MAX_EVENT_BYTES: Final = 65_536
MAX_STATION_SEQ: Final = 2**53 - 1
JSON_MEDIA_TYPE: Final = "application/json"

_TIME: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt](?:[01][0-9]|2[0-3]):[0-5][0-9]:(?P<second>[0-5][0-9]|60)"
    r"(?:\.[0-9]+)?(?:[Zz]|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
)
_FIRST: Final = datetime(1, 1, 1, tzinfo=UTC)
_LAST: Final = datetime(9999, 12, 31, 16, tzinfo=UTC)
_SECOND: Final = timedelta(seconds=1)
_NO_TIME: Final = timedelta()
_MEMBER_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,39}")


class WellFormed(NamedTuple):
    """An event whose form is right; whether it can be accepted is for `decide`.

    `data` is the JSON text of what was sent less `nik` and `name`, as the log keeps it;
    `birth_date` the date as written where there is one; `subject` the keyed hash of `nik`.
    A retraction has no NIK: its subject is that of the event that it retracts. `told` has the
    subjects of all numbers that everybody could read in it and take for a NIK, each with its
    member; `texts`, by their members, what the log will serve that was written in free words.
    """

    type: str
    time: str
    happened_at: datetime
    nik: str | None
    subject: bytes | None
    birth_date: str | None
    fact: Fact
    data: str
    told: Mapping[bytes, str]
    name: str | None
    texts: Mapping[str, str]


class Arrival(NamedTuple):
    """Something with a readable source and id, as it came; kept whatever becomes of it.

    `content` is canonical JSON: equal content, equal bytes. `claims` says whether it takes its
    source and id for itself: what was sent by somebody who may not send for that source does not,
    nor what bears its NIK as a name, which may not be kept readable, nor a name that has no end or
    that is no text to print. `is_heard` says whether it is word from its source.
    """

    source: str
    id: str
    content: bytes
    station_seq: int | None
    claims: bool
    is_heard: bool
    checked: WellFormed | Problem


def arrive(event: Any, allowed: bool, subject_of: SubjectOf) -> Arrival | Problem:
    """Read one parsed CloudEvent; a bare Problem when not even source and id can be read.

    `allowed` tells whether the sender may send for a source; `subject_of` is the keyed hash by
    which a NIK is known outside the vault. Of an Unfit event, what could be made out is kept.
    """
    value, is_fit = made_out(event), not isinstance(event, Unfit)
    if value is None:
        return Problem(ProblemType.INVALID, "An event must be a JSON object; see CloudEvents 1.0.")
    for member, limit in _NAMES:
        if not isinstance(value.get(member), str) or not value[member]:
            return _unnamed(member, limit)
    sequence = value.get("stationseq")
    misnamed = _misnamed(value)
    is_suspect = misnamed is not None or secrecy.is_named_by_its_nik(value)
    content = _canonical(value) if is_fit else None
    if content is None:
        is_fit, content = False, written(value)
    return Arrival(
        source=printable(value["source"]),
        id=printable(value["id"]),
        content=content,
        station_seq=sequence if _is_sequence(sequence) else None,
        claims=allowed and not is_suspect,
        is_heard=allowed and _is_station(value, is_suspect),
        checked=_forbidden(allowed)
        or _too_large(content)
        or misnamed
        or (_check(value, subject_of) if is_fit else _unfit(value)),
    )


_NAMES: Final = (("source", MAX_SOURCE_LENGTH), ("id", MAX_ID_LENGTH))


def _canonical(event: Mapping[str, Any]) -> bytes | None:
    """Equal content as equal bytes; None where it is nested too deeply to be written so."""
    try:
        return orjson.dumps(event, option=orjson.OPT_SORT_KEYS)
    except orjson.JSONEncodeError:
        return None


def _misnamed(event: Mapping[str, Any]) -> Problem | None:
    """A name that cannot be kept as it is."""
    for member, limit in _NAMES:
        name = event[member]
        if len(name) > limit or not _is_printable(name):
            return _unnamed(member, limit)
    return None


def _is_printable(name: str) -> bool:
    if name.isascii():
        return name.isprintable()
    return CONTROL.search(name) is None and printable(name) == name


def _unnamed(member: str, limit: int) -> Problem:
    return _invalid(member, f"must be text of 1 to {limit} characters")


def printable(name: str) -> str:
    """A name that can be answered: half a character, which no UTF-8 has, becomes a mark."""
    return name if name.isascii() else name.encode("utf-8", "replace").decode()


def as_kept(name: str, limit: int = MAX_SOURCE_LENGTH) -> str:
    """The source or id of what claims neither: nobody looks it up, so it need not be exact."""
    # Cut only after striking out: half a NIK is not told either.
    return niks.struck_out(CONTROL.sub("?", name[: 2 * limit]))[:limit]


def _is_station(event: Mapping[str, Any], is_suspect: bool) -> bool:
    """Whether the source may be listed among the stations; where neither name holds a NIK, the
    source does not."""
    is_one = SOURCE_FORM.fullmatch(event["source"]) is not None
    return is_one and not (is_suspect and secrecy.is_named_by_its_nik(event, ("source",)))


def _is_sequence(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MAX_STATION_SEQ


def _invalid(field: str, fault: str) -> Problem:
    return Problem(ProblemType.INVALID, f"{field} {fault}.", field)


def _forbidden(allowed: bool) -> Problem | None:
    if allowed:
        return None
    return Problem(
        ProblemType.FORBIDDEN,
        "This token may not send for this source; send with the token of that station.",
        "source",
    )


def _too_large(content: bytes) -> Problem | None:
    if len(content) <= MAX_EVENT_BYTES:
        return None
    return Problem(ProblemType.TOO_LARGE, f"An event may have {MAX_EVENT_BYTES} bytes at most.")


def _unfit(event: Mapping[str, Any]) -> Problem:
    return _invalid(
        misfit(event),
        "is not JSON in UTF-8, or is a number without end or nested too deeply; write it anew",
    )


def _check(event: Mapping[str, Any], subject_of: SubjectOf) -> WellFormed | Problem:
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
    if not _is_json(event.get("datacontenttype")):
        return _invalid("datacontenttype", f"must be {JSON_MEDIA_TYPE}")
    return None


def _is_json(content_type: Any) -> bool:
    """Whether a media type is JSON's: its case says nothing, nor do parameters (RFC 2045)."""
    if content_type is None or content_type == JSON_MEDIA_TYPE:
        return True
    named = content_type.partition(";")[0] if isinstance(content_type, str) else ""
    return named.strip().lower() == JSON_MEDIA_TYPE


def _read(event: Mapping[str, Any], subject_of: SubjectOf) -> WellFormed | Problem:
    happened_at = parse_time(event.get("time"))
    if happened_at is None:
        return _invalid("time", "must be an RFC 3339 time with an offset")
    data = event.get("data")
    if not isinstance(data, dict):
        return _invalid("data", "must be a JSON object")
    name = event["type"].removeprefix(TYPE_PREFIX)
    if (problem := _check_data(name, data)) is not None:
        return problem
    nik = data.get("nik")
    texts = secrecy.texts_of(data)
    niks_told = secrecy.niks_told(event, texts)
    for member, told in niks_told:
        if told == nik:
            return _invalid(member, secrecy.HOLDS_OWN_NIK)
    served = data.copy()
    served.pop("nik", None)
    served.pop("name", None)
    return WellFormed(
        type=event["type"],
        time=event["time"],
        happened_at=happened_at,
        nik=nik,
        subject=subject_of(nik) if nik is not None else None,
        birth_date=data.get("birth_date"),
        fact=read_fact(event["type"], served),
        data=orjson.dumps(served).decode(),
        told={subject_of(told): member for member, told in niks_told},
        name=data.get("name"),
        texts=texts,
    )


def parse_time(written: Any) -> datetime | None:
    """An RFC 3339 time with an offset; None for anything else.

    A leap second counts as the second after it, fractions beyond microseconds are cut. What lies
    beyond the years 1 to 9999, in UTC or at the office, counts as their first or last moment.
    """
    match = _TIME.fullmatch(written) if isinstance(written, str) else None
    if match is None:
        return None
    text = written.upper()
    is_leap = match["second"] == "60"
    if is_leap:
        begin, end = match.span("second")
        text = f"{text[:begin]}59{text[end:]}"
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    leap = _SECOND if is_leap else _NO_TIME
    if _FIRST.year < moment.year < _LAST.year:
        return moment + leap
    return _within_calendar(moment, leap)


def _within_calendar(moment: datetime, leap: timedelta) -> datetime:
    """Rules compare instants and the office's days; both must be within Python's calendar."""
    try:
        office_date(moment + leap)
    except OverflowError:
        return _FIRST if moment.year == _FIRST.year else _LAST
    return moment + leap


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


def written_incompletely(submitted: WellFormed) -> bool:
    """Whether the birth date sent lacks its day or month."""
    return submitted.birth_date is not None and is_incomplete(submitted.birth_date)
