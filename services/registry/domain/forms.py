"""The form of each event type's `data` (contract section 1), as it is checked and published."""

import re
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints
from pydantic import Field as PydanticField
from pydantic_core import PydanticCustomError

from services.registry.domain import nik as niks
from shared.calendar import latest_day
from shared.events.facts import MaritalStatus, RecordingFailure, Service, Sex

MAX_SOURCE_LENGTH: Final = 255
MAX_ID_LENGTH: Final = 200

_VILLAGE: Final = re.compile(r"[0-9]{2}\.[0-9]{2}\.[0-9]{2}\.[0-9]{4}")
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


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
    if CONTROL.search(value) or not value.strip():
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
    source: Annotated[
        str, PydanticField(min_length=1, max_length=MAX_SOURCE_LENGTH), AfterValidator(_plain)
    ]
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
