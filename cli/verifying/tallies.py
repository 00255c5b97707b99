"""Projections' tallies against the log folded anew."""

from collections.abc import Iterable, Mapping
from typing import Final

from cli.verifying.counted import Counted
from cli.verifying.folding import Folded
from cli.verifying.proof import REPLAY, Proof, difference
from cli.verifying.snapshot import Connection
from shared.counts import NOTHING, Counts, VillageKey
from shared.elections import Election
from shared.regions import villages_in

NAME: Final = "tallies"

_COUNTS: Final = ", ".join(Counts._fields)
TALLIES: Final = f"SELECT election, village, {_COUNTS} FROM projections.tallies"  # noqa: S608 - our own columns


async def prove_tallies(connection: Connection, counted: Counted, folded: Folded) -> Proof:
    """Every village's tally is what the log up to the marks comes to."""
    kept = {VillageKey(*row[:2]): Counts(*row[2:]) for row in await connection.fetch(TALLIES)}
    fault = first_difference(kept, folded.tallies(), counted.elections)
    figures = (
        f"{len(kept):,} villages × {len(Counts._fields)} counts of {len(counted.elections)}"
        f" election(s) are what the log says{counted.behind()}"
    )
    return Proof(NAME, figures, fault and difference(fault, REPLAY))


def first_difference(
    kept: Mapping[VillageKey, Counts],
    folded: Mapping[VillageKey, Counts],
    elections: Iterable[Election],
) -> str | None:
    """The first village whose tally differs, or that has none, in words."""
    areas = {
        VillageKey(election.id, village.code)
        for election in elections
        for village in villages_in(election.area)
    }
    for key in sorted(areas | folded.keys() | kept.keys()):
        if key not in kept:
            return f"{key.election} {key.village} has no tally"
        fault = different_count(key, kept[key], folded.get(key, NOTHING))
        if fault is not None:
            return fault
    return None


def different_count(key: VillageKey, kept: Counts, log_says: Counts) -> str | None:
    """The first count in which a village differs, in words."""
    for name, count, right in zip(Counts._fields, kept, log_says, strict=True):
        if count != right:
            return f"{key.election} {key.village} {name} is {count}, the log says {right}"
    return None
