"""Between a fact and its written form: the event type and the JSON members of `data`.

The log is never rewritten, so whatever was once written must be readable for ever. When the
written form of a fact changes, `VERSION` rises by one, `_UPCASTS` says how the form before
becomes the new one, and `tests/golden/` keeps examples of every version.
"""

from collections.abc import Callable, Mapping
from datetime import date
from typing import Any, Final

from shared.calendar import latest_day
from shared.events.facts import (
    TYPE_PREFIX,
    BiodataCorrected,
    EventRetracted,
    Fact,
    IkdActivated,
    KtpFailed,
    KtpRecorded,
    MaritalStatus,
    RecordingFailure,
    RelocationStarted,
    ResidentDied,
    ResidentMarried,
    ResidentRegistered,
    ResidentRelocated,
    RightsRestored,
    RightsRevoked,
    Service,
    ServiceChanged,
    Sex,
)

VERSION: Final = 1

Data = Mapping[str, Any]

# Looked up a million times in a replay, where calling the enumeration takes three times as long.
_SEXES: Final = {sex.value: sex for sex in Sex}
_MARITAL_STATUSES: Final = {status.value: status for status in MaritalStatus}
_SERVICES: Final = {service.value: service for service in Service}

# By the version that a step starts from and the event type: the data as the next version has
# it. A type that is not named stays as it was.
_UPCASTS: Final[dict[int, dict[str, Callable[[Data], Data]]]] = {}


class UnreadableFactError(Exception):
    """The log holds a fact that this version of the software cannot read."""


def _registered(data: Data) -> Fact:
    return ResidentRegistered(
        sex=_SEXES[data["sex"]],
        birth_date=latest_day(data["birth_date"]),
        marital_status=_MARITAL_STATUSES[data["marital_status"]],
        village=data["village"],
        service=_SERVICES[data.get("service", "none")],
        birth_written=data["birth_date"],
    )


def _relocated(data: Data) -> Fact:
    return ResidentRelocated(
        data["to_village"], date.fromisoformat(data["effective_date"]), data["letter_no"]
    )


def _service_changed(data: Data) -> Fact:
    return ServiceChanged(_SERVICES[data["service"]], date.fromisoformat(data["effective_date"]))


def _corrected(data: Data) -> Fact:
    return BiodataCorrected(
        reason=data["reason"],
        sex=_SEXES[data["sex"]] if "sex" in data else None,
        birth_date=latest_day(data["birth_date"]) if "birth_date" in data else None,
        marital_status=_MARITAL_STATUSES[data["marital_status"]]
        if "marital_status" in data
        else None,
        birth_written=data.get("birth_date", ""),
    )


def _retracted(data: Data) -> Fact:
    return EventRetracted(data["retracts"]["source"], data["retracts"]["id"], data["reason"])


_READERS: Final[dict[str, Callable[[Data], Fact]]] = {
    "resident.registered": _registered,
    "ktp.recorded": lambda data: KtpRecorded(),
    "ktp.failed": lambda data: KtpFailed(RecordingFailure(data["reason"])),
    "ikd.activated": lambda data: IkdActivated(),
    "relocation.started": lambda data: RelocationStarted(data["letter_no"]),
    "resident.relocated": _relocated,
    "resident.married": lambda data: ResidentMarried(date.fromisoformat(data["married_on"])),
    "resident.died": lambda data: ResidentDied(date.fromisoformat(data["died_on"])),
    "service.changed": _service_changed,
    "rights.revoked": lambda data: RightsRevoked(
        date.fromisoformat(data["effective_date"]), data["verdict_no"]
    ),
    "rights.restored": lambda data: RightsRestored(
        date.fromisoformat(data["effective_date"]), data["verdict_no"]
    ),
    "biodata.corrected": _corrected,
    "event.retracted": _retracted,
}

EVENT_TYPES: Final = frozenset(_READERS)


def read_fact(event_type: str, data: Data, version: int = VERSION) -> Fact:
    """The fact that an event type and its `data` (less NIK and name) say.

    `event_type` is the full type with its prefix `id.dukcapil.`; `version` the version the fact
    was written in. Raises UnreadableFactError for what is not in the rulebook.
    """
    if not 1 <= version <= VERSION:
        raise UnreadableFactError(f"{event_type}: version {version} is not known")
    name = event_type.removeprefix(TYPE_PREFIX)
    reader = _READERS.get(name)
    if reader is None:
        raise UnreadableFactError(f"{event_type}: this event type is not known")
    try:
        return reader(_upcast(name, data, version))
    except (KeyError, TypeError, ValueError) as error:
        raise UnreadableFactError(f"{event_type}: {type(error).__name__}") from error


def _upcast(name: str, data: Data, version: int) -> Data:
    for step in range(version, VERSION):
        data = _UPCASTS[step].get(name, _unchanged)(data)
    return data


def _unchanged(data: Data) -> Data:
    return data
