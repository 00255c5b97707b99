"""Corruptions that `cacah verify` must find and name, each planted in a copy of a system.

`chosen` picks what is spoilt, `statements` spoil it, `said` is what one of the lines that do not
hold must contain, and begin with the proof's name; all are filled with the columns of `chosen`.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from shared.topics import POPULATION_EVENTS, VOTER_CHANGES
from tests.support.verified import Left, Record, execute, row_of


@dataclass(frozen=True, slots=True)
class InTable:
    """Rows of the database changed by hand."""

    name: str
    chosen: str
    statements: tuple[str, ...]
    proof: str
    said: str

    @contextlib.contextmanager
    def planted(self, left: Left) -> Iterator[tuple[str, str]]:
        """The address of a spoilt copy, and what must be said of it."""
        values = asyncio.run(row_of(left.dsn, self.chosen))
        with left.copy() as dsn:
            asyncio.run(execute(dsn, *(each.format(*values) for each in self.statements)))
            yield dsn, self.said.format(*values)


@dataclass(frozen=True, slots=True)
class InTopic:
    """A record of a topic changed or dropped, that of `chosen`."""

    name: str
    chosen: str
    topic: str
    spoil: Callable[[Record, tuple[Any, ...]], Sequence[Record]]
    proof: str
    said: str

    @contextlib.contextmanager
    def planted(self, left: Left) -> Iterator[tuple[str, str]]:
        """The address of the database, and what must be said of the spoilt topic."""
        values = asyncio.run(row_of(left.dsn, self.chosen))
        with left.rewritten(self.topic, lambda record: self.spoil(record, values)):
            yield left.dsn, self.said.format(*values)


Corruption = InTable | InTopic


def found(corruption: Corruption, left: Left) -> tuple[bool, list[str]]:
    """Plant a corruption; whether it is found and named, and what is said to differ."""
    with corruption.planted(left) as (dsn, said):
        told = left.proofs(dsn)
    faults = [(proof.name, proof.fault) for proof in told if proof.fault is not None]
    is_named = any(name == corruption.proof and said in fault for name, fault in faults)
    return is_named, [f"{name}: {fault}" for name, fault in faults]


def _body(record: Record) -> dict[str, Any]:
    body: dict[str, Any] = orjson.loads(record[2])
    return body


def _without_position(record: Record, values: tuple[Any, ...]) -> Sequence[Record]:
    return [] if _body(record).get("position") == values[0] else [record]


def _changed_source(record: Record, values: tuple[Any, ...]) -> Sequence[Record]:
    body = _body(record)
    if body.get("position") != values[0]:
        return [record]
    return [(record[0], record[1], orjson.dumps(body | {"source": "urn:dukcapil:station:X"}))]


def _is_change(record: Record, values: tuple[Any, ...]) -> bool:
    body = _body(record)
    return [body["election"], body["village"], body["revision"]] == list(values[:3])


def _without_change(record: Record, values: tuple[Any, ...]) -> Sequence[Record]:
    return [] if _is_change(record, values) else [record]


def _changed_after(record: Record, values: tuple[Any, ...]) -> Sequence[Record]:
    if not _is_change(record, values):
        return [record]
    body = _body(record)
    body["after"]["eligible"] += 1
    return [(record[0], record[1], orjson.dumps(body))]


_MIDDLE: Final = "SELECT position / 2 FROM registry.head"
_TALLY: Final = (
    "SELECT election, village, eligible, eligible + 1, revision, position FROM projections.tallies"
    " WHERE eligible > 2 ORDER BY eligible DESC LIMIT 1"
)
_CHANGE: Final = (
    "SELECT sequence / 2, sequence, sequence / 2 + 1 FROM notifier.heads"
    " WHERE election = 'pilkada-2024'"
)
_CHAINED: Final = (
    "SELECT sequence, village, following FROM (SELECT sequence, village, lead(sequence)"
    " OVER (PARTITION BY village ORDER BY sequence) AS following FROM notifier.changes"
    " WHERE election = 'pilkada-2024') AS chained WHERE following IS NOT NULL"
    " ORDER BY sequence DESC LIMIT 1"
)
_VOTER_CHANGE: Final = (
    "SELECT sequence / 2, sequence, sequence / 2 + 1 FROM notifier.voter_heads"
    " WHERE election = 'pilkada-2024'"
)
# Whoever changes a supplement takes away first what forbids it.
_UNGUARDED: Final = "ALTER TABLE notifier.supplements DISABLE TRIGGER ALL"
_OF_PILKADA: Final = "WHERE election = 'pilkada-2024' AND sequence = {0}"

CORRUPTIONS: Final[tuple[Corruption, ...]] = (
    InTable(
        "a row of the log changed",
        _MIDDLE,
        ("UPDATE registry.log SET source = source || 'X' WHERE position = {0}",),
        "log",
        "to {0} do not give the root",
    ),
    InTable(
        "a row of the log changed, its fact and submission too",
        _MIDDLE,
        (
            "UPDATE registry.log SET event_id = 'x' WHERE position = {0}",
            "UPDATE projections.facts SET event_id = 'x' WHERE position = {0}",
            "UPDATE registry.submissions SET event_id = 'x' WHERE position = {0}",
        ),
        "log",
        "to {0} do not give the root",
    ),
    InTable(
        "a position deleted",
        _MIDDLE,
        ("DELETE FROM registry.log WHERE position = {0}",),
        "log",
        "position {0} is missing",
    ),
    InTable(
        "the last position deleted",
        "SELECT position FROM registry.head",
        ("DELETE FROM registry.log WHERE position = {0}",),
        "log",
        "position {0} is missing",
    ),
    InTable(
        "a root of the hash chain changed",
        "SELECT min(position) FROM registry.chain WHERE position > 50",
        ("UPDATE registry.chain SET root = sha256('x') WHERE position = {0}",),
        "log",
        "do not give the root of the hash chain at {0}",
    ),
    InTable(
        "the log's head moved back",
        "SELECT position, position - 1 FROM registry.head",
        ("UPDATE registry.head SET position = {1}",),
        "log",
        "position {0} is in the log, but the log's head",
    ),
    InTable(
        "an accepted submission changed",
        _MIDDLE,
        ("UPDATE registry.submissions SET event_id = 'x' WHERE position = {0}",),
        "submissions",
        "position {0} is another event in the log than the one accepted with it",
    ),
    InTable(
        "an accepted submission called rejected",
        "SELECT arrival FROM registry.submissions WHERE position = 9",
        ("UPDATE registry.submissions SET outcome = 'rejected' WHERE arrival = {0}",),
        "submissions",
        "submission {0} is rejected with the position 9",
    ),
    InTable(
        "a resident forgotten",
        "SELECT position, resident_id FROM registry.log ORDER BY position LIMIT 1",
        ("DELETE FROM registry.residents WHERE resident_id = '{1}'",),
        "submissions",
        "resident {1} of position {0} is not in registry.residents",
    ),
    InTable(
        "a parked event's key gone",
        "SELECT min(arrival) FROM registry.submissions WHERE outcome = 'parked'",
        (
            (
                "DELETE FROM registry.vault_keys USING registry.submissions"
                " WHERE vault_keys.subject = submissions.subject AND arrival = {0}"
            ),
        ),
        "submissions",
        "parked submission {0} has no key",
    ),
    InTable(
        "a relay's mark changed",
        "SELECT partition, last_event FROM registry.relay_marks ORDER BY last_event DESC LIMIT 1",
        ("UPDATE registry.relay_marks SET last_event = 1 WHERE partition = {0}",),
        "topic",
        "partition {0} of population.events is marked with 1 as its last event, it is {1}",
    ),
    InTable(
        "an election's polling day changed",
        "SELECT 'pilkada-2024'",
        ("UPDATE projections.elections SET polling_day = '2014-11-27' WHERE id = '{0}'",),
        "facts",
        "{0} is counted by another definition than was put",
    ),
    InTable(
        "a definition that was put changed",
        "SELECT 'second'",
        (
            (
                "UPDATE projections.puts SET definition = jsonb_set(definition::jsonb,"
                " '{{minimum_age}}', '18')::json WHERE election = '{0}'"
            ),
        ),
        "facts",
        "{0} is counted by another definition than was put",
    ),
    InTable(
        "a folding unmade",
        "SELECT id, fold FROM projections.elections WHERE id = 'second'",
        ("UPDATE projections.folds SET switched_at = NULL WHERE fold = {1}",),
        "facts",
        "{0} is served by a folding that never came to serve",
    ),
    InTable(
        "a mark beyond the log",
        "SELECT position, position + 5 FROM registry.head",
        ("UPDATE projections.marks SET position = {1} WHERE partition = 3",),
        "facts",
        "partition 3 is counted up to {1}, but the log ends at {0}",
    ),
    InTable(
        "the marks moved back",
        _MIDDLE,
        ("UPDATE projections.marks SET position = position / 2",),
        "facts",
        "is counted up to {0} alone",
    ),
    InTable(
        "a fact changed",
        _MIDDLE,
        ("UPDATE projections.facts SET recorded_at = now() WHERE position = {0}",),
        "facts",
        "the fact of position {0} is not what the log has there",
    ),
    InTable(
        "a fact deleted",
        _MIDDLE,
        ("DELETE FROM projections.facts WHERE position = {0}",),
        "facts",
        "the fact of position {0} is missing",
    ),
    InTable(
        "an event set aside without need",
        "SELECT position, resident_id FROM registry.log WHERE position = 20",
        (
            (
                "INSERT INTO projections.parked"
                " (partition, position, resident_id, type, why, record)"
                " VALUES (0, {0}, '{1}', 'x', 'by hand', '')"
            ),
        ),
        "facts",
        "position {0} is set aside (by hand), but can be counted",
    ),
    InTable(
        "a tally changed",
        _TALLY,
        (
            (
                "UPDATE projections.tallies SET eligible = {3}"
                " WHERE election = '{0}' AND village = '{1}'"
            ),
        ),
        "tallies",
        "{0} {1} eligible is {3}, the log says {2}",
    ),
    InTable(
        "a tally deleted",
        _TALLY,
        ("DELETE FROM projections.tallies WHERE election = '{0}' AND village = '{1}'",),
        "tallies",
        "{0} {1} has no tally",
    ),
    InTable(
        "a row of the history changed",
        "SELECT election, village, position FROM projections.history WHERE election = 'second'"
        " ORDER BY position LIMIT 1",
        (
            (
                "UPDATE projections.history SET residents = residents + 1, tni = tni + 1"
                " WHERE election = '{0}' AND village = '{1}' AND position = {2}"
            ),
        ),
        "history",
        "what position {2} added to {0} {1} residents is",
    ),
    InTable(
        "a row of the history moved to another position",
        "SELECT election, village, max(position) FROM projections.history"
        " WHERE election = 'pilkada-2024' GROUP BY 1, 2 ORDER BY 3 DESC LIMIT 1",
        (
            (
                "UPDATE projections.history SET position = position + 1000000"
                " WHERE election = '{0}' AND village = '{1}' AND position = {2}"
            ),
        ),
        "history",
        "what position {2} added to {0} {1}",
    ),
    InTable(
        "a checkpoint that is not the sum",
        "SELECT election, fold, village, max(position) FROM projections.history"
        " WHERE election = 'second' GROUP BY 1, 2, 3 ORDER BY 3 LIMIT 1",
        (
            (
                "INSERT INTO projections.checkpoints"
                " SELECT '{0}', {1}, {3}, village, sum(residents),"
                " sum(eligible), sum(eligible_male), sum(eligible_female), sum(eligible_recorded),"
                " sum(eligible_unrecorded), sum(first_time), sum(first_time_unrecorded),"
                " sum(ikd_active), sum(relocating), sum(under_age), sum(tni), sum(polri),"
                " sum(rights_revoked) FROM projections.history"
                " WHERE election = '{0}' AND fold = {1}"
                " AND position <= {3} GROUP BY village"
            ),
            "UPDATE projections.checkpoints SET residents = residents + 1 WHERE village = '{2}'",
        ),
        "history",
        "{0} {2}: the checkpoint at position {3} is not",
    ),
    InTable(
        "a change waiting that is no tally's",
        _TALLY,
        (
            (
                "INSERT INTO projections.outbox SELECT '{0}', '{1}', {4} + 5, json_build_object("
                "'village', '{1}', 'revision', {4} + 5)"
            ),
        ),
        "announced",
        "{0} {1}: revision",
    ),
    InTable(
        "a change's `after` edited",
        _CHAINED,
        (
            (
                "UPDATE notifier.changes SET after ="
                " jsonb_set(after::jsonb, '{{eligible}}', '77')::json"
                f" {_OF_PILKADA}"
            ),
        ),
        "feed",
        "pilkada-2024 {1}: `before` of change {2} is not `after` of change {0}",
    ),
    InTable(
        "a change's `before` edited",
        _CHANGE,
        (
            (
                "UPDATE notifier.changes SET before ="
                " jsonb_set(before::jsonb, '{{tni}}', '77')::json"
                f" {_OF_PILKADA}"
            ),
        ),
        "feed",
        ": `before` of change {0} is not",
    ),
    InTable(
        "a change deleted",
        _CHANGE,
        (f"DELETE FROM notifier.changes {_OF_PILKADA}",),
        "feed",
        "change {0} is missing, {2} comes in its place",
    ),
    InTable(
        "the feed's head moved",
        _CHANGE,
        ("UPDATE notifier.heads SET sequence = sequence + 1 WHERE election = 'pilkada-2024'",),
        "feed",
        "the feed's head is at change",
    ),
    InTable(
        "what a village was told changed",
        _TALLY,
        (
            (
                "UPDATE notifier.villages SET counts ="
                " jsonb_set(counts::jsonb, '{{tni}}', '77')::json"
                " WHERE election = '{0}' AND village = '{1}'"
            ),
        ),
        "feed",
        "{0} {1}: what notifier.villages has",
    ),
    InTable(
        "what a village was told and its last change changed alike",
        _TALLY,
        (
            (
                "UPDATE notifier.villages SET counts = jsonb_set(counts::jsonb, '{{eligible}}',"
                " '{3}')::json WHERE election = '{0}' AND village = '{1}'"
            ),
            (
                "UPDATE notifier.changes SET after = jsonb_set(after::jsonb, '{{eligible}}',"
                " '{3}')::json WHERE election = '{0}' AND village = '{1}' AND sequence ="
                " (SELECT max(sequence) FROM notifier.changes"
                " WHERE election = '{0}' AND village = '{1}')"
            ),
        ),
        "feed",
        "{0} {1} eligible: the changes add up to {3}, the tally is {2}",
    ),
    InTable(
        "a village's revision moved back",
        _TALLY,
        (
            (
                "UPDATE notifier.villages SET revision = revision - 1"
                " WHERE election = '{0}' AND village = '{1}'"
            ),
        ),
        "feed",
        "{0} {1}: revision {4} of its tally was never told",
    ),
    InTable(
        "a voter's change deleted",
        _VOTER_CHANGE,
        (f"DELETE FROM notifier.voter_changes {_OF_PILKADA}",),
        "voters",
        "change {0} of voters is missing, {2} comes in its place",
    ),
    InTable(
        "a voter's change edited",
        "SELECT sequence FROM notifier.voter_changes WHERE election = 'pilkada-2024'"
        " AND kind = 'added' ORDER BY sequence LIMIT 1",
        (f"UPDATE notifier.voter_changes SET to_village = '15.01.01.2001x' {_OF_PILKADA}",),
        "voters",
        "pilkada-2024",
    ),
    InTable(
        "a voter moved to another village",
        "SELECT voter, village FROM notifier.voters WHERE village IS NOT NULL"
        " AND election = 'pilkada-2024' ORDER BY voter LIMIT 1",
        (
            (
                "UPDATE notifier.voters SET village = '15.01.16.2002'"
                " WHERE election = 'pilkada-2024' AND voter = '{0}'"
            ),
        ),
        "voters",
        "what notifier.voters has of voter {0}",
    ),
    InTable(
        "a voter moved to another village, in the feed too",
        "SELECT voter, village, (SELECT max(sequence) FROM notifier.voter_changes AS changes"
        " WHERE changes.election = 'pilkada-2024' AND changes.voter = voters.voter)"
        " FROM notifier.voters WHERE village IS NOT NULL AND election = 'pilkada-2024'"
        " AND village <> '15.01.16.2002' ORDER BY voter LIMIT 1",
        (
            (
                "UPDATE notifier.voters SET village = '15.01.16.2002'"
                " WHERE election = 'pilkada-2024' AND voter = '{0}'"
            ),
            (
                "UPDATE notifier.voter_changes SET to_village = '15.01.16.2002'"
                " WHERE election = 'pilkada-2024' AND sequence = {2}"
            ),
        ),
        "voters",
        "KPU was told that voter {0} is of 15.01.16.2002, the log says {1}",
    ),
    InTable(
        "the head of the voters' feed moved",
        _VOTER_CHANGE,
        (
            (
                "UPDATE notifier.voter_heads SET sequence = sequence + 1"
                " WHERE election = 'pilkada-2024'"
            ),
        ),
        "voters",
        "its last change is",
    ),
    InTable(
        "a supplement's totals changed",
        "SELECT min(number) FROM notifier.supplements",
        (
            _UNGUARDED,
            (
                "UPDATE notifier.supplements SET totals = jsonb_set(totals::jsonb,"
                " '{{0,after}}', '99')::json WHERE number = {0}"
            ),
        ),
        "supplements",
        "pilkada-2024: supplement {0}: its totals are not",
    ),
    InTable(
        "a supplement's time changed",
        "SELECT max(number) FROM notifier.supplements",
        (_UNGUARDED, "UPDATE notifier.supplements SET made_at = now() WHERE number = {0}"),
        "supplements",
        "pilkada-2024: supplement {0}: its hash is not",
    ),
    InTable(
        "a supplement deleted",
        "SELECT min(number), min(number) + 1 FROM notifier.supplements",
        (_UNGUARDED, "DELETE FROM notifier.supplements WHERE number = {0}"),
        "supplements",
        "pilkada-2024: supplement {0} is missing, {1} follows",
    ),
    InTable(
        "a change that a supplement closed edited",
        "SELECT sequence FROM notifier.voter_changes WHERE election = 'pilkada-2024'"
        " AND kind = 'added' ORDER BY sequence LIMIT 1",
        (f"UPDATE notifier.voter_changes SET stage = 'dp4' {_OF_PILKADA}",),
        "supplements",
        "pilkada-2024: supplement 1: its hash is not",
    ),
    InTable(
        "a station's last contact changed",
        "SELECT min(source) FROM registry.stations",
        ("UPDATE registry.stations SET last_contact = '2024-01-01' WHERE source = '{0}'",),
        "submissions",
        "{0} was last heard of at 2024-01-01",
    ),
    InTable(
        "a station forgotten",
        "SELECT min(source) FROM registry.stations",
        ("DELETE FROM registry.stations WHERE source = '{0}'",),
        "submissions",
        "{0} was last heard of at none",
    ),
    InTable(
        "the log's head deleted",
        "SELECT 1",
        ("DELETE FROM registry.head",),
        "log",
        "the log's head is gone",
    ),
    InTopic(
        "a record dropped from population.events",
        _MIDDLE,
        POPULATION_EVENTS,
        _without_position,
        "topic",
        "position {0}",
    ),
    InTopic(
        "a record of population.events changed",
        _MIDDLE,
        POPULATION_EVENTS,
        _changed_source,
        "topic",
        "has position {0} otherwise than the log",
    ),
    InTopic(
        "the last change of a village dropped from voter.changes",
        "SELECT election, village, revision FROM projections.tallies WHERE revision > 1"
        " ORDER BY revision DESC LIMIT 1",
        VOTER_CHANGES,
        _without_change,
        "announced",
        "{0} {1}: the last record of voter.changes is revision",
    ),
    InTopic(
        "the last change of a village edited in voter.changes",
        "SELECT election, village, revision FROM projections.tallies WHERE revision > 1"
        " ORDER BY revision DESC LIMIT 1",
        VOTER_CHANGES,
        _changed_after,
        "announced",
        "{0} {1} eligible is",
    ),
)
