"""What may be said of an election when it is put: the members, their bounds, and what is refused.

Contract section 5: `PUT` takes `{polling_day, area, minimum_age, first_time_since, stages?}`.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any, Final

from shared.elections import Election, Stage

ID_FORM: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
DAY_FORM: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
STAGE_NAME_FORM: Final = re.compile(r"[^\x00-\x1f\x7f]{1,100}")

# Indonesia first voted on 29 September 1955; what lies beyond these is a slip of the hand.
FIRST_POLLING_DAY: Final = date(1955, 1, 1)
EARLIEST_DAY: Final = date(1900, 1, 1)
LATEST_DAY: Final = date(2199, 12, 31)
MOST_AGE: Final = 120
MOST_STAGES: Final = 50

MEMBERS: Final = ("polling_day", "area", "minimum_age", "first_time_since", "stages")
STAGE_MEMBERS: Final = ("name", "from")


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a definition is refused: the member at fault and one sentence that says what to do."""

    field: str
    detail: str


class _FaultyError(Exception):
    """A member is at fault; known to this module alone."""

    def __init__(self, field: str, detail: str) -> None:
        super().__init__(field)
        self.fault = Fault(field, f"{field} {detail}")


def read_definition(
    election_id: str, body: Any, region_exists: Callable[[str], bool]
) -> Election | Fault:
    """The election that a body defines, or the first fault of it."""
    try:
        return _read(election_id, body, region_exists)
    except _FaultyError as error:
        return error.fault


def _read(election_id: str, body: Any, region_exists: Callable[[str], bool]) -> Election:
    if not ID_FORM.fullmatch(election_id):
        raise _FaultyError(
            "id",
            "must be 1 to 64 letters, digits, dots, dashes or underscores, the first of them a"
            " letter or a digit.",
        )
    if not isinstance(body, dict):
        raise _FaultyError("body", "must be a JSON object.")
    _refuse_unknown(body, MEMBERS, "")
    return Election(
        id=election_id,
        polling_day=_day(body, "polling_day", FIRST_POLLING_DAY),
        area=_area(body, region_exists),
        minimum_age=_age(body),
        first_time_since=_day(body, "first_time_since", EARLIEST_DAY),
        stages=_stages(body.get("stages", [])),
    )


def _refuse_unknown(body: Mapping[str, Any], members: Sequence[str], within: str) -> None:
    for name in body:
        if name not in members:
            raise _FaultyError(f"{within}{name}", f"is unknown; known are {', '.join(members)}.")


def _day(body: Mapping[str, Any], name: str, earliest: date, within: str = "") -> date:
    bounds = f"must be a day from {earliest} to {LATEST_DAY}, written YYYY-MM-DD."
    value = body.get(name)
    if not isinstance(value, str) or not DAY_FORM.fullmatch(value):
        raise _FaultyError(within + name, bounds)
    try:
        day = date.fromisoformat(value)
    except ValueError:
        raise _FaultyError(within + name, bounds) from None
    if not earliest <= day <= LATEST_DAY:
        raise _FaultyError(within + name, bounds)
    return day


def _area(body: Mapping[str, Any], region_exists: Callable[[str], bool]) -> str:
    area = body.get("area")
    if not isinstance(area, str) or not region_exists(area):
        raise _FaultyError(
            "area",
            "must be the code of a province, regency, kecamatan or village of the national list,"
            " such as 15.01, or ID for the country.",
        )
    return area


def _age(body: Mapping[str, Any]) -> int:
    age = body.get("minimum_age")
    if type(age) is not int or not 0 <= age <= MOST_AGE:
        raise _FaultyError("minimum_age", f"must be a whole number from 0 to {MOST_AGE}.")
    return age


def _stages(written: Any) -> tuple[Stage, ...]:
    if not isinstance(written, list) or len(written) > MOST_STAGES:
        raise _FaultyError("stages", f"must be a list of at most {MOST_STAGES} stages.")
    stages: list[Stage] = []
    for index, item in enumerate(written):
        stage = _stage(item, f"stages.{index}")
        _refuse_disorder(stage, stages, f"stages.{index}")
        stages.append(stage)
    return tuple(stages)


def _stage(written: Any, field: str) -> Stage:
    if not isinstance(written, dict):
        raise _FaultyError(field, "must be an object with name and from.")
    _refuse_unknown(written, STAGE_MEMBERS, f"{field}.")
    name = written.get("name")
    if not isinstance(name, str) or not STAGE_NAME_FORM.fullmatch(name) or not name.strip():
        raise _FaultyError(f"{field}.name", "must be a text of 1 to 100 characters.")
    return Stage(name, _day(written, "from", EARLIEST_DAY, f"{field}."))


def _refuse_disorder(stage: Stage, before: Sequence[Stage], field: str) -> None:
    if any(stage.name == other.name for other in before):
        raise _FaultyError(f"{field}.name", "names an earlier stage; each name stands once.")
    if before and stage.begins <= before[-1].begins:
        raise _FaultyError(
            f"{field}.from", "must be after the day of the stage before it: stages stand in order."
        )


def written_definition(election: Election) -> dict[str, Any]:
    """The members of a definition, as they are put and shown."""
    stages = [{"name": stage.name, "from": stage.begins} for stage in election.stages]
    return {
        "polling_day": election.polling_day,
        "area": election.area,
        "minimum_age": election.minimum_age,
        "first_time_since": election.first_time_since,
        "stages": stages,
    }


def counts_alike(one: Election, other: Election) -> bool:
    """Whether two definitions count everybody alike: the stages of the list count nobody."""
    return replace(one, stages=()) == replace(other, stages=())
