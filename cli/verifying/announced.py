"""The topic voter.changes against the tallies: the last record of each village is its tally."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from cli.verifying.proof import REPLAY, Proof, difference
from cli.verifying.questions import Question, first_fault
from cli.verifying.snapshot import Connection
from cli.verifying.tallies import different_count
from cli.verifying.topic_reading import records
from shared.counts import Counts, VillageKey
from shared.topics import VOTER_CHANGES

NAME: Final = "announced"

_COUNTS: Final = ", ".join(f"tallies.{name}" for name in Counts._fields)
_TALLIES: Final = (
    f"SELECT election, village, tallies.revision - (SELECT count(*) FROM projections.outbox"  # noqa: S608 - our own columns
    " WHERE outbox.election = tallies.election AND outbox.village = tallies.village),"
    f" tallies.revision, {_COUNTS} FROM projections.tallies WHERE revision > 0"
)
# What waits in the outbox is the last revisions of a village, the last of them its tally.
OUTBOX: Final = Question(
    "SELECT election, village, outbox.revision FROM projections.outbox LEFT JOIN"
    " projections.tallies USING (election, village) WHERE outbox.revision >"
    " coalesce(tallies.revision, 0) OR outbox.value->>'village' <> village"
    " OR (outbox.value->>'revision')::bigint <> outbox.revision"
    " ORDER BY election, village LIMIT 1",
    "{0} {1}: revision {2} waits to be announced and is not the tally's",
    REPLAY,
)


@dataclass(frozen=True, slots=True)
class Awaited:
    """A village's tally: the revision that must be in the topic, that of the tally, its counts."""

    announced: int
    revision: int
    counts: Counts


@dataclass(slots=True)
class Announced:
    """What was read of the topic: by village, the last revision, and the counts that it said of
    the tally's own revision."""

    last: dict[VillageKey, int] = field(default_factory=dict)
    said: dict[VillageKey, Counts] = field(default_factory=dict)

    def meet(self, value: bytes, awaited: Mapping[VillageKey, Awaited]) -> str | None:
        """Take the next record; what is wrong with it. What is no record of ours is passed over."""
        try:
            body = orjson.loads(value)
            key = VillageKey(body["election"], body["village"])
            revision, after = int(body["revision"]), Counts(**body["after"])
        except (AttributeError, KeyError, TypeError, ValueError):
            return None
        last = self.last.get(key, revision - 1)
        if revision > last + 1:
            return (
                f"{key.election} {key.village}: revision {last + 1} is missing in {VOTER_CHANGES}"
            )
        self.last[key] = max(last, revision)
        if key in awaited and revision == awaited[key].revision:
            self.said[key] = after
        return None

    def unmet(self, awaited: Mapping[VillageKey, Awaited]) -> str | None:
        """After the last record: the first village of whose tally it is not the end, in words.

        A village of which there is nothing is no fault: the broker's disk may have been lost since.
        """
        for key in sorted(awaited.keys() & self.last.keys()):
            wanted, last = awaited[key], self.last[key]
            if last < wanted.announced:
                return (
                    f"{key.election} {key.village}: the last record of {VOTER_CHANGES} is revision"
                    f" {last}, the tally has {wanted.revision}"
                )
            if key in self.said and self.said[key] != wanted.counts:
                fault = different_count(key, wanted.counts, self.said[key])
                return f"the tally of {fault}".replace("the log says", f"{VOTER_CHANGES} says")
        return None


async def prove_announced(connection: Connection, bootstrap: str) -> Proof:
    """Read the whole topic. Raises KafkaError, TimeoutError."""
    awaited = _awaited(await connection.fetch(_TALLIES))
    announced = Announced()
    fault = await _read(bootstrap, announced, awaited) or announced.unmet(awaited)
    there = len(awaited.keys() & announced.last.keys())
    lost = len(awaited) - there
    figures = f"the last records of {there:,} villages in {VOTER_CHANGES} are their tallies"
    if lost:
        figures += f" (of {lost:,} others it has none: it was made anew since)"
    if fault is not None:
        return Proof(NAME, figures, difference(fault, REPLAY))
    return Proof(NAME, figures, await first_fault(connection, [OUTBOX]))


def _awaited(rows: Iterable[Any]) -> dict[VillageKey, Awaited]:
    return {
        VillageKey(row[0], row[1]): Awaited(row[2], row[3], Counts._make(row[4:])) for row in rows
    }


async def _read(
    bootstrap: str, announced: Announced, awaited: Mapping[VillageKey, Awaited]
) -> str | None:
    async for _, messages in records(bootstrap, VOTER_CHANGES):
        for message in messages:
            if (fault := announced.meet(message.value or b"", awaited)) is not None:
                return fault
    return None
