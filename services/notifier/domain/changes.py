"""How the records of villages become numbered changes: each once, in order, without a gap.

The topic may deliver a record twice, repeat its tail after a crash, or, at worst, lose one. The
feed therefore stands on what it has itself told KPU of a village: that is the `before` of the
next change, so the changes always chain and always add up to the tallies.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from shared.counts import NOTHING, Counts, VillageKey


@dataclass(frozen=True, slots=True)
class Trace:
    """When a change's last event was received, published and counted, and the change announced."""

    received_at: datetime
    published_at: datetime
    counted_at: datetime
    announced_at: datetime


@dataclass(frozen=True, slots=True)
class VillageRecord:
    """A record of `voter.changes`: `revision` counts a village's changes from 1 without a gap. It
    has a trace if what it tells came straight through."""

    key: VillageKey
    district: str
    revision: int
    position: int
    time: datetime
    stage: str | None
    before: Counts
    after: Counts
    trace: Trace | None = None


@dataclass(frozen=True, slots=True)
class Told:
    """What KPU has been told of a village, and the last revision that it came from."""

    revision: int = 0
    counts: Counts = NOTHING


@dataclass(frozen=True, slots=True)
class Head:
    """The end of an election's feed: its last sequence and the highest log position told."""

    sequence: int = 0
    position: int = 0


@dataclass(frozen=True, slots=True)
class Change:
    """One village's tally going from `before` to `after` (contract section 6); the trace is that
    of the last event in it."""

    sequence: int
    key: VillageKey
    district: str
    position: int
    time: datetime
    stage: str | None
    before: Counts
    after: Counts
    trace: Trace | None = None


class Flaw(StrEnum):
    """What was wrong with a record that the feed mended by standing on what it had told."""

    REVISIONS_LOST = "revisions-lost"
    BEFORE_DIFFERS = "before-differs"


@dataclass(frozen=True, slots=True)
class Mended:
    """A record that did not follow the one before it, and how."""

    flaw: Flaw
    key: VillageKey
    held_revision: int
    revision: int


@dataclass(frozen=True, slots=True)
class Numbered:
    """What a batch of records amounts to: `told` and `heads` hold only what moved."""

    changes: list[Change]
    told: dict[VillageKey, Told]
    heads: dict[str, Head]
    repeats: int
    mended: list[Mended]


@dataclass(frozen=True, slots=True)
class _Fold:
    """Consecutive records of one village in one stage, on the way to be one change."""

    before: Counts
    last: VillageRecord


def number(
    heads: Mapping[str, Head],
    told: Mapping[VillageKey, Told],
    records: Iterable[VillageRecord],
) -> Numbered:
    """Number the changes that a batch of records brings (contract section 6).

    Records whose revision is not above the one held are repeats and dropped. Several records of
    one village become one change, except across a stage of the voter list, because after the DPT
    a change is a note on the list and no longer an edit of it. A tally that comes back to what
    was told is no change.
    """
    moved: dict[VillageKey, Told] = {}
    mended: list[Mended] = []
    folds: list[_Fold] = []
    open_folds: dict[VillageKey, int] = {}
    repeats = 0
    for record in records:
        held = moved.get(record.key) or told.get(record.key, Told())
        if record.revision <= held.revision:
            repeats += 1
            continue
        mended += _flaws(held, record)
        moved[record.key] = Told(record.revision, record.after)
        _fold(folds, open_folds, held, record)
    changes, ends = _sequence(heads, folds)
    return Numbered(changes, moved, ends, repeats, mended)


def _flaws(held: Told, record: VillageRecord) -> list[Mended]:
    if record.revision > held.revision + 1:
        return [Mended(Flaw.REVISIONS_LOST, record.key, held.revision, record.revision)]
    if record.before != held.counts:
        return [Mended(Flaw.BEFORE_DIFFERS, record.key, held.revision, record.revision)]
    return []


def _fold(
    folds: list[_Fold], open_folds: dict[VillageKey, int], held: Told, record: VillageRecord
) -> None:
    index = open_folds.get(record.key)
    if index is not None and folds[index].last.stage == record.stage:
        folds[index] = replace(folds[index], last=record)
        return
    open_folds[record.key] = len(folds)
    folds.append(_Fold(held.counts, record))


def _sequence(
    heads: Mapping[str, Head], folds: Iterable[_Fold]
) -> tuple[list[Change], dict[str, Head]]:
    changes: list[Change] = []
    ends: dict[str, Head] = {}
    for fold in folds:
        last = fold.last
        if last.after == fold.before:
            continue
        head = ends.get(last.key.election) or heads[last.key.election]
        head = Head(head.sequence + 1, max(head.position, last.position))
        ends[last.key.election] = head
        changes.append(_change(head.sequence, fold))
    return changes, ends


def _change(sequence: int, fold: _Fold) -> Change:
    last = fold.last
    return Change(
        sequence=sequence,
        key=last.key,
        district=last.district,
        position=last.position,
        time=last.time,
        stage=last.stage,
        before=fold.before,
        after=last.after,
        trace=last.trace,
    )
