"""How the records of persons become numbered changes of voters: each once, in order, no gap.

As with villages, the feed stands on what it has itself told KPU: the village that a person leaves
is the one that KPU was told of last, so adding the changes up always gives the voters of each
village, even where a record was lost.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final, NamedTuple
from uuid import UUID


class VoterKey(NamedTuple):
    """A person in one election."""

    election: str
    voter: UUID


class Place(NamedTuple):
    """The place of a record among those of a person: the folding of the election that it follows
    from, and in it the event's position, 0 for what the folding itself changed."""

    fold: int
    place: int


@dataclass(frozen=True, slots=True)
class VoterRecord:
    """A record of `voter.persons`: the village whose voter a person is now, none if of no village,
    and the type of the event that made it so."""

    key: VoterKey
    place: Place
    to_village: str | None
    reason: str
    position: int
    time: datetime
    stage: str | None


NOWHERE: Final = Place(-1, -1)


@dataclass(frozen=True, slots=True)
class ToldVoter:
    """What KPU has been told of a person, and the place of the record that said so."""

    place: Place = NOWHERE
    village: str | None = None


class Kind(StrEnum):
    """What became of a person as a voter (contract section 6)."""

    ADDED = "added"
    REMOVED = "removed"
    MOVED = "moved"


@dataclass(frozen=True, slots=True)
class VoterChange:
    """A person who became, stopped being or moved as a voter (contract section 6)."""

    sequence: int
    key: VoterKey
    kind: Kind
    reason: str
    from_village: str | None
    to_village: str | None
    position: int
    time: datetime
    stage: str | None


@dataclass(frozen=True, slots=True)
class NumberedVoters:
    """What a batch of records amounts to: `told` and `ends`, the feeds' last sequences, hold only
    what moved."""

    changes: list[VoterChange]
    told: dict[VoterKey, ToldVoter]
    ends: dict[str, int]
    repeats: int


def number_voters(
    ends: Mapping[str, int],
    told: Mapping[VoterKey, ToldVoter],
    records: Iterable[VoterRecord],
) -> NumberedVoters:
    """Number the changes that a batch of records brings (contract section 6).

    A record that is not beyond the place held of its person is a repeat and dropped. One that
    says what KPU was told already is no change.
    """
    numbered = NumberedVoters([], {}, {}, 0)
    repeats = 0
    for record in records:
        held = numbered.told.get(record.key) or told.get(record.key, ToldVoter())
        if record.place <= held.place:
            repeats += 1
            continue
        numbered.told[record.key] = ToldVoter(record.place, record.to_village)
        if record.to_village == held.village:
            continue
        election = record.key.election
        sequence = numbered.ends.get(election, ends[election]) + 1
        numbered.ends[election] = sequence
        numbered.changes.append(_change(sequence, held.village, record))
    return NumberedVoters(numbered.changes, numbered.told, numbered.ends, repeats)


def _change(sequence: int, from_village: str | None, record: VoterRecord) -> VoterChange:
    return VoterChange(
        sequence=sequence,
        key=record.key,
        kind=_kind(from_village, record.to_village),
        reason=record.reason,
        from_village=from_village,
        to_village=record.to_village,
        position=record.position,
        time=record.time,
        stage=record.stage,
    )


def _kind(from_village: str | None, to_village: str | None) -> Kind:
    if from_village is None:
        return Kind.ADDED
    return Kind.REMOVED if to_village is None else Kind.MOVED
