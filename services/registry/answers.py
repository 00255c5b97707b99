"""What the registry answers: the shapes that its routes build, and an example of each.

The people in the examples are made up, and their NIKs begin with 99, which is no province.
"""

from datetime import datetime
from typing import Annotated, Any, Final, NotRequired
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypedDict

from services.registry.domain.decide import Warning  # noqa: A004 - the contract's word
from services.registry.domain.deciding import Outcome
from services.registry.event_shapes import LoggedEvent
from services.registry.parking import WaitsFor
from services.registry.republishing import ASKED_FOR, TOPIC_LOST
from shared.documenting import among
from shared.problems import Problem, ProblemDetails, ProblemType
from shared.shapes import VillageCode

Warnings = Annotated[tuple[str, ...], Field(json_schema_extra={"items": {"enum": [*Warning]}})]
OutcomeText = Annotated[str, among(Outcome)]


class Result(TypedDict):
    """What became of one event. For a duplicate `first_outcome` is the outcome first given; the
    position, warnings and problem are what they are now."""

    source: str
    id: str
    outcome: OutcomeText
    first_outcome: NotRequired[OutcomeText]
    position: NotRequired[int]
    warnings: NotRequired[Warnings]
    problem: NotRequired[ProblemDetails]


class Results(TypedDict):
    """One result for each event, in the order of the array."""

    results: list[Result]


class LogPage(TypedDict):
    """Entries of the log in order; `last` is the log's last position."""

    events: list[LoggedEvent]
    last: int


class Station(TypedDict):
    """`received` is the highest `stationseq` up to which nothing is missing; `missing` the first
    numbers that are, `missing_count` how many they are in all."""

    station: str
    source: str
    last_contact: datetime
    received: int
    missing: list[int]
    missing_count: int


class Stations(TypedDict):
    stations: list[Station]


class Republish(BaseModel):
    model_config = ConfigDict(extra="forbid")

    from_: Annotated[
        int, Field(alias="from", ge=1, le=2**62, description="The first position to publish.")
    ]


Republished = TypedDict(
    "Republished",
    {
        "id": int,
        "from": int,
        "up_to": int,
        "reached": int,
        "reason": Annotated[str, Field(json_schema_extra={"enum": [TOPIC_LOST, ASKED_FOR]})],
        "asked_at": datetime,
        "finished_at": datetime | None,
    },
)


class Dropped(TypedDict):
    """Who gave it up, when and why."""

    at: datetime
    by: str
    reason: str


class ParkedLine(TypedDict):
    """`waits_for` is null for what waits no more, and where the person was erased."""

    arrival: int
    received_at: datetime
    source: str
    id: str
    type: str | None
    waits_for: WaitsFor | None
    warnings: Warnings


class ParkedPage(TypedDict):
    parked: list[ParkedLine]


class Parked(ParkedLine):
    """`data` is what was sent less NIK and name; null where the person was erased."""

    sender: str
    time: str | None
    data: dict[str, Any] | None
    outcome: OutcomeText
    position: int | None
    problem: ProblemDetails | None
    dropped: Dropped | None


class Retried(TypedDict):
    """How many were tried, accepted and rejected, and the first of those that moved."""

    tried: int
    accepted: int
    rejected: int
    moved: list[Parked]


class Voter(TypedDict):
    resident_id: UUID
    nik: str
    name: str


class Voters(TypedDict):
    """Who they are, in the order asked; `unknown` are those whom nobody can name."""

    voters: list[Voter]
    unknown: list[UUID]


class ResolvedVoter(TypedDict):
    """A row of a list; `resident_id` is null where nobody has the NIK."""

    resident_id: UUID | None
    village: VillageCode


class ResolvedVoters(TypedDict):
    """The rows in the order asked; `unknown` is how many nobody has the NIK of."""

    voters: list[ResolvedVoter]
    unknown: int


SOURCE: Final = "urn:dukcapil:station:kerinci-01"
RESIDENT: Final = UUID("7b6c1a52-3f0e-4f4b-9d0a-2a1f6f1d8c11")
NIK: Final = "9901015705070001"

REGISTRATION: Final = {
    "specversion": "1.0",
    "id": "kerinci-01-000001",
    "source": SOURCE,
    "type": "id.dukcapil.resident.registered",
    "time": "2024-06-24T09:15:00+07:00",
    "stationseq": 1,
    "data": {
        "nik": NIK,
        "name": "Contoh Pertama",
        "sex": "P",
        "birth_date": "2007-05-17",
        "marital_status": "B",
        "village": "15.01.16.2001",
        "service": "none",
    },
}
RECORDING: Final = {
    "specversion": "1.0",
    "id": "kerinci-01-000002",
    "source": SOURCE,
    "type": "id.dukcapil.ktp.recorded",
    "time": "2024-06-24T09:40:00+07:00",
    "stationseq": 2,
    "data": {"nik": NIK},
}
ACCEPTED: Final[dict[str, Any]] = {
    "source": SOURCE,
    "id": "kerinci-01-000001",
    "outcome": "accepted",
    "position": 120345,
}
DUPLICATE: Final = ACCEPTED | {"outcome": "duplicate", "first_outcome": "accepted"}
PARKED_RESULT: Final = {"source": SOURCE, "id": "kerinci-01-000002", "outcome": "parked"}
REJECTED: Final = {
    "source": SOURCE,
    "id": "kerinci-01-000003",
    "outcome": "rejected",
    "problem": Problem(
        ProblemType.UNKNOWN_VILLAGE,
        "village is not in the national list; send its code as the list has it.",
        "data.village",
    ).body(),
}
RESULTS: Final = {"results": [ACCEPTED, PARKED_RESULT, REJECTED]}

_REGISTERED: Final[dict[str, Any]] = REGISTRATION["data"]  # type: ignore[assignment]
LOGGED: Final[dict[str, Any]] = {
    "position": 120345,
    "recorded_at": "2024-06-24T02:15:00.731204Z",
    "type": REGISTRATION["type"],
    "time": REGISTRATION["time"],
    "source": SOURCE,
    "id": REGISTRATION["id"],
    "resident_id": str(RESIDENT),
    "data": {name: value for name, value in _REGISTERED.items() if name not in ("nik", "name")},
}
LOG_PAGE: Final = {"events": [LOGGED], "last": 120345}
STATIONS: Final = {
    "stations": [
        {
            "station": "kerinci-01",
            "source": SOURCE,
            "last_contact": "2024-06-24T02:40:00.120000Z",
            "received": 2,
            "missing": [3, 5],
            "missing_count": 2,
        }
    ]
}
REPUBLISHED: Final = {
    "id": 4,
    "from": 120000,
    "up_to": 120345,
    "reached": 120000,
    "reason": "asked-for",
    "asked_at": "2024-06-24T03:00:00Z",
    "finished_at": None,
}
_LINE: Final = {
    "arrival": 120350,
    "received_at": "2024-06-24T02:40:00.120000Z",
    "source": SOURCE,
    "id": "kerinci-01-000002",
    "type": "id.dukcapil.ktp.recorded",
    "waits_for": "registration",
    "warnings": [],
}
PARKED_PAGE: Final = {"parked": [_LINE]}
PARKED: Final = _LINE | {
    "sender": "station:kerinci-01",
    "time": "2024-06-24T09:40:00+07:00",
    "data": {},
    "outcome": "parked",
    "position": None,
    "problem": None,
    "dropped": None,
}
ACCEPTED_NOW: Final = PARKED | {"waits_for": None, "outcome": "accepted", "position": 120346}
RETRIED: Final = {"tried": 1, "accepted": 1, "rejected": 0, "moved": [ACCEPTED_NOW]}
DROPPED: Final = PARKED | {
    "waits_for": None,
    "outcome": "rejected",
    "problem": Problem(ProblemType.DROPPED, "An operator dropped this event.").body(),
    "dropped": {
        "at": "2024-06-25T03:00:00Z",
        "by": "operator:operator",
        "reason": "Sent for a resident of another regency.",
    },
}
LOOK_UP: Final = {
    "purpose": "Printing the DPT of Siulak Gedang",
    "resident_ids": [str(RESIDENT), "00000000-0000-4000-8000-000000000000"],
}
VOTERS: Final = {
    "voters": [{"resident_id": str(RESIDENT), "nik": NIK, "name": "Contoh Pertama"}],
    "unknown": ["00000000-0000-4000-8000-000000000000"],
}
LISTED: Final = {
    "purpose": "Comparing the DPT with the feed",
    "voters": [{"nik": NIK, "village": "15.01.16.2001"}],
}
RESOLVED: Final = {
    "voters": [{"resident_id": str(RESIDENT), "village": "15.01.16.2001"}],
    "unknown": 0,
}
