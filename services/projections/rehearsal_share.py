"""Counting residents by the program's rules and by changed ones, in a process of its own.

Spoken to as `replay_share` is, which see; it reads the log and writes nothing.
"""

import asyncio
import traceback
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson

from services.projections import queries
from services.projections.changed_rules import Rules, in_force, read_rules
from services.projections.domain import electorate
from services.projections.domain.electorate import Standing, VoterClass, votes_in
from services.projections.domain.refold import tallies_of
from services.projections.domain.resident import Resident, life_of
from services.projections.domain.retelling import retell
from services.projections.domain.tally import counts_of
from services.projections.replay_share import (
    READ_COLUMNS,
    Row,
    answer,
    connect,
    listed,
    lives,
    run,
)
from shared.counts import Counts
from shared.elections import Election
from shared.events.facts import LoggedFact

Groups = list[Counter[tuple[str, Counts]]]


class RuleRaisedError(Exception):
    """A changed rule raised: where, of whom, and what, in one sentence."""


@dataclass(slots=True)
class Rehearsing:
    """Counts residents twice."""

    elections: list[Election]
    rules: Rules
    path: Path
    before: Groups = field(init=False)
    after: Groups = field(init=False)
    voters: int = 0

    def __post_init__(self) -> None:
        self.before = [Counter() for _ in self.elections]
        self.after = [Counter() for _ in self.elections]

    def count(self, lives: Sequence[list[Row]]) -> None:
        """Count some residents by both. Raises RuleRaisedError."""
        applied = [self._applied(theirs) for theirs in lives]
        standings = [retell(facts, self.elections).standings for facts in applied]
        with in_force(self.rules):
            changed = [self._changed(facts) for facts in applied]
        for old, new in zip(standings, changed, strict=True):
            for number, (one, other) in enumerate(zip(old, new, strict=True)):
                _count(self.before[number], one)
                _count(self.after[number], other)
                self.voters += votes_in(one) != votes_in(other)

    def _applied(self, theirs: Sequence[Row]) -> list[LoggedFact]:
        """What counts of a resident: up to what cannot be read or applied."""
        facts: list[LoggedFact] = []
        for row in theirs:
            if row.logged is None:
                break
            facts.append(row.logged)
        return facts[: retell(facts, self.elections).stopped_at]

    def _changed(self, facts: list[LoggedFact]) -> list[Standing | None]:
        try:
            return _standings(facts, self.elections)
        except Exception as error:
            raise RuleRaisedError(self._told(facts, error)) from error

    def _told(self, facts: list[LoggedFact], error: Exception) -> str:
        first = self._first_raising(facts)
        lines = [
            frame.lineno
            for frame in traceback.extract_tb(error.__traceback__)
            if Path(frame.filename) == self.path
        ]
        where = f", line {lines[-1]}" if lines else ""
        return (
            f"--with {self.path}{where} raised {type(error).__name__}: {error}"
            f" (position {first.position}, resident_id {first.resident_id})"
        )

    def _first_raising(self, facts: list[LoggedFact]) -> LoggedFact:
        for number in range(1, len(facts)):
            try:
                _standings(facts[:number], self.elections)
            except Exception:
                return facts[number - 1]
        return facts[-1]


def _standings(facts: list[LoggedFact], elections: Sequence[Election]) -> list[Standing | None]:
    life = life_of(Resident(tuple(facts)))
    if life is None:
        return [None] * len(elections)
    standings = [electorate.standing_of(life, election) for election in elections]
    for standing in standings:
        if standing is not None and not isinstance(standing.voter_class, VoterClass):
            raise TypeError(f"{standing.voter_class!r} is no VoterClass")
    return standings


def _count(groups: Counter[tuple[str, Counts]], standing: Standing | None) -> None:
    if standing is not None:
        groups[(standing.village, counts_of(standing))] += 1


async def _work(job: Mapping[str, Any], shares: asyncio.StreamReader) -> None:
    elections = [queries.defined(each["id"], each["definition"]) for each in job["elections"]]
    path = Path(job["rules"])
    rehearsing = Rehearsing(elections, read_rules(path), path)
    connection = await connect(job["database_url"])
    while line := (await shares.readline()).strip():
        first, last = map(UUID, orjson.loads(line))
        async with connection.transaction(readonly=True):
            records = await connection.fetch(
                f"SELECT {READ_COLUMNS} FROM registry.log"  # noqa: S608 - our own columns
                " WHERE resident_id BETWEEN $1 AND $2 AND position <= $3"
                " ORDER BY resident_id, position",
                *(first, last, job["up_to"]),
            )
        try:
            rehearsing.count(list(lives(records)))
        except RuleRaisedError as error:
            answer({"raised": str(error)})
            return
        answer({"events": len(records)})
    await connection.close()
    answer(
        {
            "before": [listed(tallies_of(groups)) for groups in rehearsing.before],
            "after": [listed(tallies_of(groups)) for groups in rehearsing.after],
            "voters": rehearsing.voters,
        }
    )


if __name__ == "__main__":
    run(_work)
