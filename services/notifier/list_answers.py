"""What the notifier answers about KPU's list and its supplements: the shapes, and examples."""

from datetime import datetime
from typing import Any, Final, Literal, NotRequired
from uuid import UUID

from typing_extensions import TypedDict

from services.notifier import workbook_writing
from services.notifier.answers import TIME, Reason
from services.notifier.domain.comparing import Differs
from services.notifier.domain.voters import Kind
from services.notifier.uploads import MOST_BYTES
from shared.documenting import Asked, Body, Reply
from shared.shapes import DistrictCode, VillageCode

CSV_TYPE: Final = "text/csv"
LINES_TYPE: Final = "application/x-ndjson"
HTML_TYPE: Final = "text/html"


class PersonCause(TypedDict):
    """The change of the voters' feed that made somebody differ from the list."""

    sequence: int
    kind: Kind
    reason: Reason
    from_village: VillageCode | None
    to_village: VillageCode | None
    position: int
    time: datetime
    stage: str | None


class PersonDifference(TypedDict):
    """Somebody who is missing from the list, superfluous in it, or in another village of it; `row`
    is that of the list. Who was never told of has no `change`."""

    difference: Differs
    row: int | None
    resident_id: UUID
    listed_village: VillageCode | None
    village: VillageCode | None
    change: PersonCause | None
    later_changes: int


class VillageCompared(TypedDict):
    """A village: its voters in the list and as told, and how they differ. `votes_elsewhere` are
    listed here and vote in another village, `listed_elsewhere` the other way about."""

    village: VillageCode
    name: str
    district: DistrictCode
    listed: int
    told: int
    missing: int
    superfluous: int
    votes_elsewhere: int
    listed_elsewhere: int


class PersonsCompared(TypedDict):
    """A list of persons beside the voters' feed up to `sequence`; `left_out` differences are not
    shown."""

    election: str
    area: str
    sequence: int
    rows: int
    agree: int
    missing: int
    superfluous: int
    in_another_village: int
    villages: list[VillageCompared]
    differences: list[PersonDifference]
    left_out: int
    list: Literal["persons"]


class CountCause(TypedDict):
    """The change of the villages' feed that made a count differ from the list."""

    sequence: int
    position: int
    time: datetime
    stage: str | None
    before: int
    after: int


class CountDifference(TypedDict):
    """A count that differs; one that never stood as listed has no `change`."""

    village: VillageCode
    name: str
    district: DistrictCode
    count: str
    listed: int | None
    told: int
    change: CountCause | None
    later_changes: int


class CountsCompared(TypedDict):
    """A list of counts beside the villages' feed up to `sequence`."""

    election: str
    area: str
    sequence: int
    rows: int
    counts: list[str]
    differences: list[CountDifference]
    left_out: int
    list: Literal["counts"]


class VillageTotal(TypedDict):
    """The voters of a village before and after a supplement, and what happened in between."""

    village: VillageCode
    before: int
    added: int
    removed: int
    moved_in: int
    moved_out: int
    after: int


class Supplement(TypedDict):
    """The voters' feed closed after `from_sequence` up to `to_sequence`; `hash` covers all of it
    and `previous_hash`."""

    election: str
    number: int
    made_at: datetime
    from_sequence: int
    to_sequence: int
    villages_from: int
    villages_to: int
    previous_hash: str | None
    hash: str
    changes: int
    voters_before: int
    voters_after: int
    villages: NotRequired[list[VillageTotal]]


class Supplements(TypedDict):
    """In the order of their numbers."""

    supplements: list[Supplement]


class Entry(TypedDict):
    """A change as a supplement has it."""

    sequence: int
    voter: UUID
    kind: Kind
    reason: Reason
    from_village: VillageCode | None
    to_village: VillageCode | None
    position: int
    time: datetime
    stage: str | None


class WholeSupplement(TypedDict):
    """A supplement with its changes."""

    election: str
    number: int
    made_at: datetime
    from_sequence: int
    to_sequence: int
    villages_from: int
    villages_to: int
    previous_hash: str | None
    hash: str
    villages: list[VillageTotal]
    changes: list[Entry]


_VOTER: Final = "7b6c1a52-3f0e-4f4b-9d0a-2a1f6f1d8c11"
_HERE: Final = {"village": "15.01.16.2001", "name": "Siulak Gedang", "district": "15.01.16"}
_CAUSE: Final[dict[str, Any]] = {
    "sequence": 912,
    "kind": "added",
    "reason": "id.dukcapil.resident.registered",
    "from_village": None,
    "to_village": "15.01.16.2001",
    "position": 120344,
    "time": TIME,
    "stage": "coklit",
}
_PERSONS: Final[dict[str, Any]] = {
    "election": "pilkada-2024",
    "list": "persons",
    "area": "15.01.16.2001",
    "sequence": 912,
    "rows": 1522,
    "agree": 1522,
    "missing": 1,
    "superfluous": 0,
    "in_another_village": 0,
    "villages": [
        _HERE
        | {"listed": 1522, "told": 1523, "missing": 1, "superfluous": 0}
        | {"votes_elsewhere": 0, "listed_elsewhere": 0}
    ],
    "differences": [
        {
            "difference": "missing",
            "row": None,
            "resident_id": _VOTER,
            "listed_village": None,
            "village": "15.01.16.2001",
            "change": _CAUSE,
            "later_changes": 0,
        }
    ],
    "left_out": 0,
}
_COUNTS: Final[dict[str, Any]] = {
    "election": "pilkada-2024",
    "list": "counts",
    "area": "15.01.16",
    "sequence": 4821,
    "rows": 26,
    "counts": ["eligible"],
    "differences": [
        _HERE
        | {"count": "eligible", "listed": 1522, "told": 1523}
        | {
            "change": {"sequence": 4821, "position": 120345, "time": TIME, "stage": "coklit"}
            | {"before": 1522, "after": 1523},
            "later_changes": 0,
        }
    ],
    "left_out": 0,
}
LIST: Final = Asked(
    (
        Body("resident_id,village\n" + _VOTER + ",15.01.16.2001\n", media_type=CSV_TYPE),
        Body("village#eligible\n15.01.16.2001#1522\n", media_type="text/plain"),
        Body(None, media_type=workbook_writing.MEDIA_TYPE),
    ),
    f"The list: with a header, at most {MOST_BYTES // 2**20} MiB. What it is is seen by its"
    " content, whatever the media type says.",
)
COMPARED: Final = Reply(
    "Where the list differs, and since when.",
    (
        Body(
            {"persons": _PERSONS, "counts": _COUNTS}, PersonsCompared | CountsCompared, named=True
        ),
        Body(
            "difference,row,resident_id,listed_village,village,sequence,kind,reason,from_village,"
            "to_village,position,time,stage,later_changes\n"
            f"missing,,{_VOTER},,15.01.16.2001,912,added,id.dukcapil.resident.registered,,"
            f"15.01.16.2001,120344,{TIME},coklit,0\n",
            media_type=CSV_TYPE,
        ),
    ),
    at_times={
        "X-Cacah-Sequence": "With CSV: the sequence that the list was compared at.",
        "X-Cacah-Left-Out": "With CSV: how many differences are not shown.",
    },
)
_HEAD: Final[dict[str, Any]] = {
    "election": "pilkada-2024",
    "number": 2,
    "made_at": TIME,
    "from_sequence": 911,
    "to_sequence": 912,
    "villages_from": 4820,
    "villages_to": 4821,
    "previous_hash": "b5bb9d8014a0f9b1d61e21e796d78dccdf1352f23cd32812f4850b878ae4944c",
    "hash": "7d865e959b2466918c9863afca942d0fb89d7c9ac0c99bafc3749504ded97730",
}
_TOTALS: Final = [
    {"village": "15.01.16.2001", "before": 1522, "added": 1, "removed": 0}
    | {"moved_in": 0, "moved_out": 0, "after": 1523}
]
SUPPLEMENT: Final = _HEAD | {"changes": 1, "voters_before": 1522, "voters_after": 1523}
MADE: Final = SUPPLEMENT | {"villages": _TOTALS}
SUPPLEMENTS: Final = {"supplements": [SUPPLEMENT]}
_ENTRY: Final = {"sequence": 912, "voter": _VOTER} | {
    name: value for name, value in _CAUSE.items() if name != "sequence"
}
WHOLE: Final = Reply(
    "The supplement, in the form that Accept asks for.",
    (
        Body(_HEAD | {"villages": _TOTALS, "changes": [_ENTRY]}, WholeSupplement),
        Body(
            "number,sequence,kind,resident_id,from_village,to_village,reason,position,time,stage\n"
            f"2,912,added,{_VOTER},,15.01.16.2001,id.dukcapil.resident.registered,120344,{TIME},"
            "coklit\n",
            media_type=CSV_TYPE,
        ),
        Body(None, media_type=workbook_writing.MEDIA_TYPE),
        Body(None, media_type=HTML_TYPE),
        Body(None, media_type=LINES_TYPE),
    ),
    {"X-Cacah-Hash": "The supplement's hash."},
    {
        "Content-Disposition": "With CSV and XLSX: the file's name.",
        "Content-Security-Policy": "With HTML: nothing may be loaded.",
    },
)
