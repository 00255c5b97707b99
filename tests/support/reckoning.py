"""Holds what a system says against the slow model: answers, log, tallies, changes.

The log has no NIK, so the ledger remembers what was sent: an entry of the log is found again by
its `source`, `id`, `type`, `time` and data, and the whole event goes into the model. That the
model accepts each of them, at that position, is the first check; its tallies are the others.
"""

import csv
import gzip
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Any, Final

from tests.support.driving import Answer, Sent
from tests.support.histories import Event
from tests.support.slow_model import (
    COUNTS,
    PILKADA_2024,
    REGIONS_CSV,
    Counts,
    Election,
    Entry,
    Key,
    Model,
    Result,
    content_of,
    day_in_jakarta,
    district_of,
    effective_time,
    fault,
    is_in_the_future,
    key_of,
    kind_of,
    verdict_on_resident,
)

Row = dict[str, Any]

LOG_MEMBERS: Final = (
    *("position", "recorded_at", "type", "time"),
    *("source", "id", "resident_id", "data"),
)
CHANGE_MEMBERS: Final = (
    *("sequence", "election", "village", "district", "position"),
    *("time", "stage", "before", "after"),
)

INVALID: Final = Answer("rejected", problem="invalid")


@dataclass
class Ledger:
    """Everything that was sent to one system, its log as it was last read, and the model of it.

    `residents` says which of the model's residents a `resident_id` is.
    """

    model: Model = field(default_factory=Model)
    log: list[Row] = field(default_factory=list)
    residents: dict[str, int] = field(default_factory=dict)
    _ids: dict[int, str] = field(default_factory=dict)
    _contents: dict[Key, dict[str, Event]] = field(default_factory=dict)
    _unreadable: list[Event] = field(default_factory=list)

    def note(self, events: Iterable[Event]) -> None:
        """Remember events, before they are sent."""
        for event in events:
            if (key := key_of(event)) is None:
                self._unreadable.append(event)
            else:
                self._contents.setdefault(key, {})[content_of(event)] = event

    def sent(self) -> Iterator[Event]:
        """Every event that was ever sent, once."""
        yield from self._unreadable
        for contents in self._contents.values():
            yield from contents.values()

    def identities(self) -> set[Key]:
        """Every readable source and id that was sent."""
        return set(self._contents)

    def position_of(self) -> dict[Key, int]:
        """Where the log has what."""
        return {(entry["source"], entry["id"]): entry["position"] for entry in self.log}

    def enter(self, entries: Sequence[Row]) -> None:
        """Take over the log as read: it begins as it did, and the model agrees on the rest."""
        assert entries[: len(self.log)] == self.log, "the log has changed in the past"
        for entry in entries[len(self.log) :]:
            self._enter(entry)

    def _enter(self, entry: Row) -> None:
        assert tuple(entry) == LOG_MEMBERS, entry
        assert entry["position"] == len(self.log) + 1, f"gap before {entry['position']}"
        recorded_at = datetime.fromisoformat(entry["recorded_at"])
        if self.log:
            assert recorded_at >= datetime.fromisoformat(self.log[-1]["recorded_at"])
        event = self._as_sent(entry)
        result = self.model.submit(event, recorded_at)
        assert (result.outcome, result.position) == ("accepted", entry["position"]), (entry, result)
        assert entry["data"] == self.model.log[-1].served_data
        resident = self.model.log[-1].resident
        assert self.residents.setdefault(entry["resident_id"], resident) == resident, entry
        assert self._ids.setdefault(resident, entry["resident_id"]) == entry["resident_id"], entry
        self.log.append(entry)

    def _as_sent(self, entry: Row) -> Event:
        """The event as it was sent, NIK and all, that an entry of the log comes from."""
        contents = self._contents.get((entry["source"], entry["id"]), {})
        alike = [event for event in contents.values() if _may_be(event, entry)]
        assert alike, f"nobody sent what the log has at {entry['position']}: {entry}"
        return next((event for event in alike if self._is_of(event, entry)), alike[0])

    def _is_of(self, event: Event, entry: Row) -> bool:
        resident = self.model.registered(event["data"].get("nik", ""))
        return resident is not None and self.residents.get(entry["resident_id"]) == resident.key


def _may_be(event: Event, entry: Row) -> bool:
    if fault(event) is not None or any(event[m] != entry[m] for m in ("type", "time")):
        return False
    data = {name: value for name, value in event["data"].items() if name not in ("nik", "name")}
    return bool(data == entry["data"])


# Answers


def check_lane(lane: Sequence[Sent], ledger: Ledger) -> Model:
    """Each answer of a lane that shares nothing with others is what a model of it alone says."""
    model, firsts, positions = Model(), dict[tuple[Key, str], str](), ledger.position_of()
    for sent in lane:
        result = model.submit(sent.event, sent.answered_at)
        key = key_of(sent.event)
        first = None
        if key is not None:
            outcome = firsts.setdefault((key, content_of(sent.event)), sent.answer.outcome)
            first = outcome if result.outcome == "duplicate" else None
        position = positions[key] if key is not None and result.position else None
        assert sent.answer == _expected(result, position, first), sent
    accepted = [(entry.event["source"], entry.event["id"]) for entry in model.log]
    assert accepted == sorted(accepted, key=lambda key: positions[key]), "the lane's order is lost"
    return model


def _expected(result: Result, position: int | None, first: str | None) -> Answer:
    warnings = tuple(sorted(result.warnings))
    return Answer(result.outcome, position, warnings, result.problem, first)


def check_fates(again: Sequence[Sent], models: Sequence[Model], ledger: Ledger) -> None:
    """Sent once more when all is over, each event is answered with what the models made of it."""
    positions = ledger.position_of()
    for sent in again:
        key = key_of(sent.event)
        if key is None or fault(sent.event) is not None:
            assert sent.answer == INVALID, sent
            continue
        fate = next(found for model in models if (found := model.outcome_of(key)) is not None)
        if sent.answer.outcome == "duplicate":
            position = positions[key] if fate.position else None
            assert (sent.answer.position, sent.answer.problem) == (position, fate.problem), sent
        else:
            assert sent.answer == Answer("rejected", problem="id-reused"), sent


@dataclass
class Race:
    """What clients were answered that shared residents and identities, so that who was first is
    anybody's race.

    An answer must then have been right at *some* moment while its request was under way. The
    log's positions are the clock: those that were answered before a request began are its past,
    those of requests that began after its end are yet to come.
    """

    ledger: Ledger
    sent: list[Sent]
    _positions: dict[Key, int] = field(init=False)
    _lives: dict[str, list[Entry]] = field(init=False)
    _alike: dict[Key | None, list[Sent]] = field(init=False)
    _accepted: list[Sent] = field(init=False)

    def __post_init__(self) -> None:
        self._positions = self.ledger.position_of()
        self._accepted = [sent for sent in self.sent if sent.answer.outcome == "accepted"]
        self._lives, self._alike = {}, {}
        for entry in self.ledger.model.log:
            # A retraction has none; these histories have no retractions.
            if (nik := entry.data.get("nik")) is not None:
                self._lives.setdefault(nik, []).append(entry)
        for sent in self.sent:
            self._alike.setdefault(key_of(sent.event), []).append(sent)

    def check(self) -> None:
        """Each answer fits, and of each identity one content was decided on, and once."""
        decided: set[Key] = set()
        repeated: set[Key] = set()
        for sent in self.sent:
            key = key_of(sent.event)
            if key is None or fault(sent.event) is not None:
                assert sent.answer == INVALID, sent
            elif self._is_decision(key, sent):
                assert key not in decided, f"decided twice: {sent}"
                decided.add(key)
            elif sent.answer.outcome == "duplicate":
                repeated.add(key)
        assert repeated <= decided, f"repeats of no decision: {repeated - decided}"

    def _is_decision(self, key: Key, sent: Sent) -> bool:
        """Check one answer, and tell whether it is the decision on its identity."""
        answer, content = sent.answer, content_of(sent.event)
        earlier = [other for other in self._alike[key] if other.began < sent.ended]
        same = [other for other in earlier if content_of(other.event) == content]
        if answer.problem == "id-reused" and answer.outcome == "rejected":
            assert len(same) < len(earlier), sent
            return False
        if answer.outcome == "duplicate":
            assert len(same) > 1, sent
            assert answer.position in (None, self._positions.get(key)), sent
            return False
        if answer.outcome == "accepted":
            assert answer.position == self._positions[key], sent
            return True
        assert (answer.problem or answer.outcome) in self._verdicts(sent), sent
        assert answer.outcome == "parked" or key not in self._positions, f"logged: {sent}"
        assert key not in self._positions or self._was_waiting(self._positions[key]), sent
        return True

    def _was_waiting(self, position: int) -> bool:
        """Whether what is at a position may have been parked: such a one follows what it waited
        for, or another of the same resident, at once."""
        before = self.ledger.log[position - 2 : position - 1]
        return any(e["resident_id"] == self.ledger.log[position - 1]["resident_id"] for e in before)

    def _verdicts(self, sent: Sent) -> set[str]:
        """What the contract says at each moment while the request was under way."""
        before = (s.answer.position or 0 for s in self._accepted if s.ended < sent.began)
        after = (s.answer.position or 0 for s in self._accepted if s.began > sent.ended)
        low, high = max(before, default=0), min(after, default=len(self.ledger.log) + 1) - 1
        life = self._lives.get(sent.event["data"]["nik"], [])
        moments = {low, *(entry.position for entry in life if low < entry.position <= high)}
        return {self._verdict(sent, life, moment) for moment in moments}

    def _verdict(self, sent: Sent, life: Sequence[Entry], position: int) -> str:
        """What the contract says of an event after the log up to a position."""
        kind, data, now = kind_of(sent.event), sent.event["data"], sent.answered_at
        model = self.ledger.model
        villages = [data[name] for name in ("village", "to_village") if name in data]
        if is_in_the_future(data, day_in_jakarta(now)):
            return "in-the-future"
        if any(village not in model.regions.villages for village in villages):
            return "unknown-village"
        begun = [entry.resident for entry in life if entry.position <= position]
        resident = model.resident(begun[-1], position) if begun else None
        if kind == "resident.registered":
            return "accepted" if resident is None else "already-registered"
        if resident is None:
            return "parked"
        return verdict_on_resident(kind, resident, day_in_jakarta(effective_time(sent.event, now)))

    def check_fates(self, again: Sequence[Sent]) -> None:
        """Sent once more when all is over: what was decided stands, and what waits must wait."""
        for sent in again:
            key = key_of(sent.event)
            if key is None or fault(sent.event) is not None:
                assert sent.answer == INVALID, sent
            elif sent.answer.outcome == "duplicate":
                self._check_fate(key, sent)
            else:
                assert sent.answer == Answer("rejected", problem="id-reused"), sent
                assert len(self._alike[key]) > 1, sent

    def _check_fate(self, key: Key, sent: Sent) -> None:
        content = content_of(sent.event)
        alike = [other for other in self._alike[key] if content_of(other.event) == content]
        first = min(alike, key=lambda other: other.answer.outcome == "duplicate").answer
        assert sent.answer.first == first.outcome, (sent, first)
        assert sent.answer.position == self._positions.get(key), sent
        if sent.answer.position is None:
            life = self._lives.get(sent.event["data"]["nik"], [])
            moments = [0, *(entry.position for entry in life)]
            waits = sent.answer.problem is None
            possible = {self._verdict(sent, life, m) for m in (moments[-1:] if waits else moments)}
            assert (sent.answer.problem or "parked") in possible, sent


# Tallies


@cache
def names() -> dict[str, str]:
    """The name of every region by its code."""
    with gzip.open(REGIONS_CSV, "rt", encoding="utf-8", newline="") as lines:
        return {row["kode"]: row["name"] for row in csv.DictReader(lines)}


def village_rows(model: Model, election: Election = PILKADA_2024) -> list[Row]:
    """Every village's row as projections should answer it."""
    return [
        {"village": code, "name": names()[code], "district": district_of(code)} | row
        for code, row in model.tallies(election).items()
    ]


def district_rows(model: Model, election: Election = PILKADA_2024) -> list[Row]:
    """Every kecamatan's row."""
    return [
        {"district": code, "name": names()[code]} | row
        for code, row in sorted(model.districts(election).items())
    ]


def as_csv(rows: Iterable[Row]) -> list[dict[str, str]]:
    """Rows as CSV spells them: none is empty, a boolean a word of JSON."""
    return [{name: _cell(value) for name, value in row.items()} for row in rows]


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)


# Changes


def check_changes(changes: Sequence[Row], ledger: Ledger) -> dict[str, Counts]:
    """The feed is without a gap, each village's changes join, and their sum is returned."""
    told: dict[str, Counts] = {}
    for number, change in enumerate(changes, start=1):
        assert tuple(change) == CHANGE_MEMBERS, change
        assert change["sequence"] == number
        assert change["election"] == PILKADA_2024.id
        assert change["district"] == district_of(change["village"])
        assert change["before"] == told.get(change["village"], dict.fromkeys(COUNTS, 0)), change
        assert change["before"] != change["after"], change
        entry = ledger.log[change["position"] - 1]
        moment = datetime.fromisoformat(change["time"])
        assert moment == datetime.fromisoformat(entry["recorded_at"]), change
        assert change["stage"] == PILKADA_2024.stage_at(moment), change
        told[change["village"]] = change["after"]
    return told


def tallied(model: Model, election: Election = PILKADA_2024) -> dict[str, Counts]:
    """The counts of every village, what follows from them left out."""
    tallies = model.tallies(election)
    return {code: {name: int(row[name] or 0) for name in COUNTS} for code, row in tallies.items()}
