"""The records of the topics `voter.changes` and `voter.persons`, as the notifier reads them."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Final
from uuid import UUID

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    WrapValidator,
)

from services.notifier.domain.changes import Trace, VillageRecord
from services.notifier.domain.gathering import Placed
from services.notifier.domain.voters import Place, VoterKey, VoterRecord
from shared.counts import Counts, VillageKey
from shared.topics import VOTER_CHANGES
from shared.traces import NO_TIMESTAMP, moment

ELECTION_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"

# What PostgreSQL could refuse must be refused here: a batch that cannot be stored is retried for
# ever, and would hold up the feed.
_MOST: Final = 2**53
_EARLIEST: Final = datetime(1900, 1, 1, tzinfo=UTC)
_LATEST: Final = datetime(2900, 1, 1, tzinfo=UTC)

Whole = Annotated[int, Field(strict=True, ge=0, le=_MOST)]
Ordinal = Annotated[int, Field(strict=True, ge=1, le=_MOST)]


def _in_utc(moment: datetime) -> datetime:
    """As the database gives it back."""
    return moment.astimezone(UTC)


Moment = Annotated[AwareDatetime, Field(ge=_EARLIEST, le=_LATEST), AfterValidator(_in_utc)]
ElectionId = Annotated[str, StringConstraints(pattern=ELECTION_PATTERN)]
VillageCode = Annotated[str, StringConstraints(pattern=r"^[0-9]{2}\.[0-9]{2}\.[0-9]{2}\.[0-9]{4}$")]
DistrictCode = Annotated[str, StringConstraints(pattern=r"^[0-9]{2}\.[0-9]{2}\.[0-9]{2}$")]
AreaCode = Annotated[str, StringConstraints(pattern=r"^([0-9]{2}(\.[0-9]{2,4}){0,3}|ID)$")]
Reason = Annotated[str, StringConstraints(pattern=r"^[a-z.]{1,100}$")]
StageName = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f]{1,100}$")]


class _CountsOnTopic(BaseModel):
    """The 14 counts of contract section 4, all of them."""

    residents: Whole
    eligible: Whole
    eligible_male: Whole
    eligible_female: Whole
    eligible_recorded: Whole
    eligible_unrecorded: Whole
    first_time: Whole
    first_time_unrecorded: Whole
    ikd_active: Whole
    relocating: Whole
    under_age: Whole
    tni: Whole
    polri: Whole
    rights_revoked: Whole

    def counts(self) -> Counts:
        return Counts(**self.__dict__)


class _TraceOnTopic(BaseModel):
    """When the last event passed; projections write it where the event came straight through."""

    model_config = ConfigDict(extra="ignore")

    received_at: Moment
    published_at: Moment
    counted_at: Moment


def _none_if_unreadable(
    written: Any, read: Callable[[Any], _TraceOnTopic | None]
) -> _TraceOnTopic | None:
    """A trace that cannot be read must not keep the change from KPU."""
    try:
        return read(written)
    except ValidationError:
        return None


class _RecordOnTopic(BaseModel):
    """A record's value; members unknown to this version are left alone."""

    model_config = ConfigDict(extra="ignore")

    election: ElectionId
    village: VillageCode
    district: DistrictCode
    revision: Ordinal
    position: Whole
    time: Moment
    stage: StageName | None
    before: _CountsOnTopic
    after: _CountsOnTopic
    trace: Annotated[_TraceOnTopic | None, WrapValidator(_none_if_unreadable)] = None


class _VoterOnTopic(BaseModel):
    """A person's change, as projections write it."""

    model_config = ConfigDict(extra="ignore")

    election: ElectionId
    voter: UUID
    fold: Whole
    place: Whole
    to_village: VillageCode | None
    reason: Reason
    position: Whole
    time: Moment
    stage: StageName | None


class _AreaOnTopic(BaseModel):
    """An election and its area, as projections write it."""

    model_config = ConfigDict(extra="ignore")

    election: ElectionId
    fold: Whole
    area: AreaCode


@dataclass(frozen=True, slots=True)
class TopicValue:
    """A record as it was fetched: where it lay, its bytes, and Kafka's timestamp where it has
    one."""

    partition: int
    offset: int
    value: bytes
    topic: str = VOTER_CHANGES
    timestamp_ms: int = NO_TIMESTAMP


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A record that says nothing to this version, kept with the reason."""

    fetched: TopicValue
    why: str


@dataclass(frozen=True, slots=True)
class Batch:
    """What is committed at once: each village's records in their order, and those that are none."""

    records: list[VillageRecord]
    unreadable: list[Unreadable]


@dataclass(frozen=True, slots=True)
class Area:
    """The area of an election by one of its foldings."""

    election: str
    fold: int
    area: str


@dataclass(frozen=True, slots=True)
class VoterBatch:
    """What was fetched of persons at once, with what is said of elections between."""

    records: list[VoterRecord]
    areas: list[Area]
    unreadable: list[Unreadable]


def read_fetched(fetched: list[TopicValue]) -> tuple[list[Placed], list[Unreadable]]:
    """Read what was fetched, in the topic's order; never raises: what cannot be read is a value
    too."""
    placed: list[Placed] = []
    others: list[Unreadable] = []
    for value in fetched:
        match read_record(value):
            case VillageRecord() as record:
                placed.append(Placed(value.partition, value.offset, record))
            case Unreadable() as unreadable:
                others.append(unreadable)
    return placed, others


def read_record(fetched: TopicValue) -> VillageRecord | Unreadable:
    """The record that a value holds."""
    try:
        record = _RecordOnTopic.model_validate_json(fetched.value)
    except ValidationError as error:
        return Unreadable(fetched, _why(error))
    if record.district != record.village[:8]:
        return Unreadable(fetched, "district: not the one that the village lies in")
    return VillageRecord(
        key=VillageKey(record.election, record.village),
        district=record.district,
        revision=record.revision,
        position=record.position,
        time=record.time,
        stage=record.stage,
        before=record.before.counts(),
        after=record.after.counts(),
        trace=_trace(record.trace, fetched.timestamp_ms),
    )


def _trace(written: _TraceOnTopic | None, timestamp_ms: int) -> Trace | None:
    announced_at = moment(timestamp_ms)
    if written is None or announced_at is None:
        return None
    return Trace(written.received_at, written.published_at, written.counted_at, announced_at)


def read_voter_batch(fetched: list[TopicValue]) -> VoterBatch:
    """Read what was fetched of persons; never raises."""
    batch = VoterBatch([], [], [])
    for value in fetched:
        match read_voter_record(value):
            case VoterRecord() as record:
                batch.records.append(record)
            case Area() as area:
                batch.areas.append(area)
            case Unreadable() as unreadable:
                batch.unreadable.append(unreadable)
    return batch


def read_voter_record(fetched: TopicValue) -> VoterRecord | Area | Unreadable:
    """The record that a value of `voter.persons` holds: one of an election has an area."""
    try:
        if b'"area":' in fetched.value:
            area = _AreaOnTopic.model_validate_json(fetched.value)
            return Area(area.election, area.fold, area.area)
        record = _VoterOnTopic.model_validate_json(fetched.value)
    except ValidationError as error:
        return Unreadable(fetched, _why(error))
    return VoterRecord(
        key=VoterKey(record.election, record.voter),
        place=Place(record.fold, record.place),
        to_village=record.to_village,
        reason=record.reason,
        position=record.position,
        time=record.time,
        stage=record.stage,
    )


def _why(error: ValidationError) -> str:
    """The first members at fault, without any value that was sent."""
    return "; ".join(
        f"{'.'.join(map(str, fault['loc'])) or 'value'}: {fault['type']}"
        for fault in error.errors(include_url=False, include_context=False, include_input=False)[:5]
    )
