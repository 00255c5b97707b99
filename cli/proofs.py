"""The demo's proofs: pure comparisons of what came out with what had to, each on one line."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from cli.counting import COUNTS, Expectation, Tally
from cli.kpu_book import Book
from cli.sending import ACCEPTED, PARKED
from shared.stations import SOURCE_PREFIX


@dataclass(frozen=True, slots=True)
class Proof:
    """One claim, its figures, and what speaks against it; it holds if nothing does."""

    claim: str
    figures: str
    faults: tuple[str, ...] = ()

    @property
    def holds(self) -> bool:
        return not self.faults


def proof_of_tallies(expected: Expectation, counted: Mapping[str, Tally]) -> Proof:
    """(a) The projections' tallies are those of the independent count."""
    faults = [f"no row for {code}" for code in expected.tallies.keys() - counted.keys()]
    faults += [f"an unexpected row for {code}" for code in counted.keys() - expected.tallies.keys()]
    for code in expected.tallies.keys() & counted.keys():
        faults += _differences(code, expected.tallies[code], counted[code])
    total = expected.total
    return Proof(
        "tallies = independent count",
        f"{len(expected.tallies)} villages x {len(COUNTS)} counts equal;"
        f" {total['residents']:,} residents, {total['eligible']:,} voters,"
        f" {total['eligible_recorded']:,} recorded",
        tuple(sorted(faults)),
    )


def _differences(code: str, expected: Tally, counted: Tally) -> list[str]:
    return [
        f"{code} {name}: counted {counted[name]}, expected {expected[name]}"
        for name in COUNTS
        if counted[name] != expected[name]
    ]


def proof_of_changes(book: Book, counted: Mapping[str, Tally]) -> Proof:
    """(b) What KPU received over SSE adds up to the tallies."""
    faults = list(book.faults)
    zeros = dict.fromkeys(COUNTS, 0)
    for code in sorted(counted.keys() | book.tallies.keys()):
        received = book.tallies.get(code, zeros)
        faults += [
            f"KPU's sum: {line}" for line in _differences(code, counted.get(code, zeros), received)
        ]
    return Proof(
        "sum of KPU's changes = tallies",
        f"changes 1 to {book.sequence:,} over SSE without a gap, each `before` the previous"
        f" `after`, {len(book.tallies)} villages" + _reconnections(book.reconnections),
        tuple(faults),
    )


def _reconnections(count: int) -> str:
    return f" ({count:,} attempts to resume the stream)" if count else ""


@dataclass(slots=True)
class LogAudit:
    """Reads the log once from the start: are the positions without a gap, is each event once."""

    outcomes: Mapping[str, bytes]
    last: int = 0
    faults: list[str] = field(default_factory=list)
    _seen: dict[str, bytearray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._seen = {code: bytearray(len(known)) for code, known in self.outcomes.items()}

    def read(self, entries: Iterable[Mapping[str, Any]]) -> None:
        for entry in entries:
            if entry["position"] != self.last + 1:
                self.faults.append(f"position {entry['position']} follows {self.last}")
            self.last = entry["position"]
            self._mark(entry["source"].removeprefix(SOURCE_PREFIX), entry["id"])

    def _mark(self, code: str, event_id: str) -> None:
        seen = self._seen.get(code)
        sequence = int(event_id.rpartition("-")[2])
        if seen is None or sequence >= len(seen):
            self.faults.append(f"{event_id} is in the log, but was not sent")
            return
        if seen[sequence]:
            self.faults.append(f"{event_id} is in the log twice")
        seen[sequence] = 1

    def missing_or_extra(self) -> list[str]:
        """Events whose answer and whose place in the log do not agree."""
        return [
            f"{code}-{sequence:07}: " + ("in the log though refused" if there else "not in the log")
            for code, known in self.outcomes.items()
            for sequence, (outcome, there) in enumerate(zip(known, self._seen[code], strict=True))
            if bool(there) != (outcome in (ACCEPTED, PARKED))
        ]


def proof_of_account(expected: Expectation, counts: Mapping[str, int], audit: LogAudit) -> Proof:
    """(c) Every event sent is accounted for, and the log holds the accepted ones and no others."""
    accepted, parked, rejected, duplicates = (
        counts.get(name, 0) for name in ("accepted", "parked", "rejected", "duplicate")
    )
    faults = audit.faults + audit.missing_or_extra()
    if accepted + parked + rejected + duplicates != expected.sent:
        faults.append(f"{expected.sent:,} were to be sent, {counts.get('answered', 0):,} answered")
    if rejected != expected.rejected:
        faults.append(f"{expected.rejected:,} had to be rejected, {rejected:,} were")
    if audit.last != expected.accepted:
        faults.append(f"the log ends at {audit.last:,}, not {expected.accepted:,}")
    return Proof(
        "every event sent is accounted for",
        f"{expected.sent:,} sent = {accepted:,} accepted + {parked:,} parked, then accepted"
        f" + {duplicates:,} duplicates + {rejected:,} rejected;"
        f" log 1 to {audit.last:,} without a gap, each accepted event once"
        + _retries(counts.get("retries", 0)),
        tuple(faults),
    )


def _retries(count: int) -> str:
    return f" ({count:,} requests sent again for want of an answer)" if count else ""
