"""What projections answer: the shapes that the routes build, and an example of each."""

import json
from datetime import date, datetime
from typing import Annotated, Any, Final, Literal
from uuid import UUID

import orjson
from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypedDict

from services.projections.csv_rows import (
    CSV_MEDIA_TYPE,
    POSITION_HEADER,
    csv_text,
    stages_text,
)
from services.projections.domain.definitions import (
    DAY_FORM,
    MOST_AGE,
    MOST_STAGES,
    STAGE_NAME_FORM,
    written_definition,
)
from services.projections.domain.explaining import Effect
from services.projections.domain.tally import coverage, is_untouched, tps_min
from shared.documenting import Body, Reply
from shared.elections import PILKADA_2024
from shared.shapes import (
    COUNTS,
    EXAMPLE_BEFORE,
    EXAMPLE_COUNTS,
    CountsShown,
    DistrictCode,
    VillageCode,
    shape,
)

POSITION: Final[dict[str, Any]] = {
    "position": Annotated[int, Field(ge=0, description="The log position that this reflects.")]
}
VILLAGE_MEMBERS: Final[dict[str, Any]] = {
    "village": VillageCode,
    "name": str,
    "district": DistrictCode,
}
DISTRICT_MEMBERS: Final[dict[str, Any]] = {"district": DistrictCode, "name": str}
MEASURED: Final[dict[str, Any]] = COUNTS | {
    "coverage": Annotated[
        float | None,
        Field(description="eligible_recorded / eligible; null where nobody is eligible."),
    ],
    "untouched": Annotated[
        bool, Field(description="There are eligible residents, and none is recorded.")
    ],
    "tps_min": Annotated[
        int, Field(ge=0, description="The least number of polling stations, of 600 voters each.")
    ],
}

VillageRow: Final[Any] = shape("VillageRow", "The tally of a village.", VILLAGE_MEMBERS, MEASURED)
DistrictRow: Final[Any] = shape(
    "DistrictRow", "The tally of a kecamatan: the sum of its villages.", DISTRICT_MEMBERS, MEASURED
)
Villages: Final[Any] = shape(
    "Villages", "Rows sorted by code.", POSITION, {"villages": list[VillageRow]}
)
Village: Final[Any] = shape(
    "Village", "The tally of one village, and the position.", POSITION, VILLAGE_MEMBERS, MEASURED
)
Districts: Final[Any] = shape(
    "Districts", "Rows sorted by code.", POSITION, {"districts": list[DistrictRow]}
)
Total: Final[Any] = shape("Total", "The sum of all villages.", POSITION, MEASURED)


StageName = Annotated[str, Field(json_schema_extra={"pattern": f"^{STAGE_NAME_FORM.pattern}$"})]
_DAY: Final[dict[str, Any]] = {"pattern": f"^{DAY_FORM.pattern}$", "format": "date"}
WrittenDay = Annotated[str, Field(json_schema_extra=_DAY)]

Stage = TypedDict("Stage", {"name": StageName, "from": date})


class Progress(TypedDict):
    """Everything up to `position` is counted, and the event there was recorded at `recorded_at`,
    null for 0. The first event that is not counted was recorded at `waiting_since`, null where all
    are; `now` is the service's clock."""

    position: int
    recorded_at: datetime | None
    log_position: int
    waiting_since: datetime | None
    now: datetime


PROGRESS: Final = {
    "position": 120345,
    "recorded_at": "2024-06-24T02:40:00.120000Z",
    "log_position": 120346,
    "waiting_since": "2024-06-24T02:40:00.140000Z",
    "now": "2024-06-24T02:40:00.150000Z",
}


class Election(TypedDict):
    """The definition that the counts are by; `state` is `folding` while another does not serve
    yet."""

    id: str
    polling_day: date
    area: str
    minimum_age: int
    first_time_since: date
    stages: list[Stage]
    state: Literal["folding", "serving"]


class Elections(TypedDict):
    """Sorted by id."""

    elections: list[Election]


class DefinedStage(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: StageName
    from_: Annotated[WrittenDay, Field(alias="from")]


class Definition(BaseModel):
    """What is said of an election; without `stages` its list of voters has none."""

    model_config = ConfigDict(extra="forbid")

    polling_day: WrittenDay
    area: Annotated[str, Field(description="A code of the national list, or `ID`.")]
    minimum_age: Annotated[int, Field(ge=0, le=MOST_AGE)]
    first_time_since: Annotated[
        WrittenDay, Field(description="The first birthday that makes a first-time voter.")
    ]
    stages: Annotated[list[DefinedStage], Field(max_length=MOST_STAGES)] = []


class ServingSince(TypedDict):
    """The definition that the figures are by: its fold, and when and where it came to serve;
    null for one that served from the start."""

    fold: int
    time: datetime | None
    position: int


class Event(TypedDict):
    """An event, and what it alone added to the counts that it changed."""

    position: int
    recorded_at: datetime
    type: str
    resident_id: str
    effect: Effect
    in_words: str
    other_village: VillageCode | None
    added: dict[str, int]


History: Final[Any] = shape(
    "History",
    "The tallies at two positions, and the events that made their difference; `next` is null, or"
    " the position to give as `from` for the events after these.",
    {"from": int, "to": int},
    VILLAGE_MEMBERS,
    {"definition": ServingSince, "before": CountsShown, "after": CountsShown},
    {"events": list[Event], "next": int | None},
)


class Dropped(TypedDict):
    """Who gave it up, when and why."""

    at: datetime
    by: str
    reason: str


class ParkedLine(TypedDict):
    """`position` and `resident_id` are null for a record that has no place in the log."""

    parked_id: int
    parked_at: datetime
    partition: int
    offset: int | None
    position: int | None
    resident_id: UUID | None
    type: str | None
    why: str


class ParkedPage(TypedDict):
    parked: list[ParkedLine]


class Parked(ParkedLine):
    """`record` is what came: JSON where it is that, else text."""

    outcome: Literal["parked", "dropped"]
    record: Any
    dropped: Dropped | None


class Retried(TypedDict):
    """How many were tried and applied, and the first of those that were applied."""

    tried: int
    applied: int
    moved: list[ParkedLine]


_VILLAGE: Final = {"village": "15.01.16.2001", "name": "Siulak Gedang", "district": "15.01.16"}
_DISTRICT: Final = {"district": "15.01.16", "name": "Siulak"}
_MEASURED: Final[dict[str, Any]] = EXAMPLE_COUNTS._asdict() | {
    "coverage": coverage(EXAMPLE_COUNTS),
    "untouched": is_untouched(EXAMPLE_COUNTS),
    "tps_min": tps_min([EXAMPLE_COUNTS]),
}
_VILLAGE_ROW: Final = _VILLAGE | _MEASURED
_DISTRICT_ROW: Final = _DISTRICT | _MEASURED
_AT: Final = {"position": 120345}

DEFINITION: Final = json.loads(orjson.dumps(written_definition(PILKADA_2024)))
AN_ELECTION: Final = {"id": PILKADA_2024.id} | DEFINITION | {"state": "serving"}
_ELECTION_ROW: Final = AN_ELECTION | {"stages": stages_text(AN_ELECTION["stages"])}


def _or_csv(says: str, kind: Any, example: Any, row: dict[str, Any], *headers: str) -> Reply:
    """An answer in JSON, or its rows in CSV."""
    csv = Body(csv_text([row], row), media_type=CSV_MEDIA_TYPE)
    meanings = dict.fromkeys(headers, "With CSV: the log position that this reflects.")
    return Reply(says, (Body(example, kind), csv), at_times=meanings)


def _counted(says: str, kind: Any, example: Any, row: dict[str, Any]) -> Reply:
    return _or_csv(says, kind, _AT | example, row, POSITION_HEADER)


ELECTIONS: Final = _or_csv("All of them.", Elections, {"elections": [AN_ELECTION]}, _ELECTION_ROW)
ELECTION: Final = _or_csv("The election.", Election, AN_ELECTION, _ELECTION_ROW)
VILLAGES: Final = _counted("The rows.", Villages, {"villages": [_VILLAGE_ROW]}, _VILLAGE_ROW)
VILLAGE: Final = _counted("The tally.", Village, _VILLAGE_ROW, _VILLAGE_ROW)
DISTRICTS: Final = _counted("The rows.", Districts, {"districts": [_DISTRICT_ROW]}, _DISTRICT_ROW)
TOTAL: Final = _counted("The tally.", Total, _MEASURED, _MEASURED)

HISTORY: Final = {
    "from": 0,
    "to": 120345,
    **_VILLAGE,
    "definition": {"fold": 0, "time": None, "position": 0},
    "before": EXAMPLE_BEFORE._asdict(),
    "after": EXAMPLE_COUNTS._asdict(),
    "events": [
        {
            "position": 120345,
            "recorded_at": "2024-06-24T02:40:00.120000Z",
            "type": "id.dukcapil.ktp.recorded",
            "resident_id": "7b6c1a52-3f0e-4f4b-9d0a-2a1f6f1d8c11",
            "effect": "recorded",
            "in_words": "recorded",
            "other_village": None,
            "added": {
                "eligible_recorded": 1,
                "eligible_unrecorded": -1,
                "first_time_unrecorded": -1,
            },
        }
    ],
    "next": None,
}
_LINE: Final[dict[str, Any]] = {
    "parked_id": 3,
    "parked_at": "2024-06-24T02:40:00Z",
    "partition": 7,
    "offset": 9210,
    "position": 120345,
    "resident_id": "7b6c1a52-3f0e-4f4b-9d0a-2a1f6f1d8c11",
    "type": "id.dukcapil.resident.registered",
    "why": "OverflowError",
}
_RECORD: Final = {"previous": 120301, "version": 1, "position": 120345}
PARKED_PAGE: Final = {"parked": [_LINE]}
PARKED: Final = _LINE | {"outcome": "parked", "record": _RECORD, "dropped": None}
DROPPED: Final = PARKED | {
    "outcome": "dropped",
    "dropped": {
        "at": "2024-06-25T03:00:00Z",
        "by": "operator:operator",
        "reason": "Written to the topic by a test.",
    },
}
RETRIED: Final = {"tried": 1, "applied": 1, "moved": [_LINE]}
