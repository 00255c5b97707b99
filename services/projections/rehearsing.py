"""Rehearsing changed rules: what an operator's module would make of the log, nothing written.

The module defines functions with the names of rules in `domain.electorate`; each takes the place
of the rule of its name, in the processes that rehearse and nowhere else.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from services.projections import queries
from services.projections.changed_rules import UnusableRulesError, read_rules
from services.projections.domain.definitions import written_definition
from services.projections.replaying import (
    Difference,
    Progress,
    ReplayError,
    Stage,
    Tell,
    add_tallies,
    differences_between,
    shares_of,
)
from services.projections.sharing import Answer, room_beside, work_through
from shared.counts import Counts
from shared.database import create_engine
from shared.event_log import last_position


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What changed rules would change at a log position; `voters` counts people who would vote in
    another village, or no more, once for each election."""

    position: int
    replaced: list[str]
    differences: list[Difference]
    voters: int


Pairs = dict[str, Counts]


async def rehearse(database_url: str, path: Path, tell: Tell) -> Rehearsal:
    """Count the log by the rules of the program and by the changed ones. Raises ReplayError."""
    try:
        replaced = sorted(read_rules(path))
    except UnusableRulesError as error:
        raise ReplayError(str(error)) from error
    engine = create_engine(database_url, pool_size=1)
    try:
        async with engine.connect() as connection:
            elections = [each.election for each in await queries.serving(connection)]
            up_to = await last_position(connection)
    finally:
        await engine.dispose()
    done = 0

    def on_answer(answer: Answer) -> None:
        nonlocal done
        if "raised" in answer:
            raise ReplayError(answer["raised"])
        done += answer["events"]
        tell(Progress(Stage.FOLDING, done, up_to))

    tell(Progress(Stage.FOLDING, 0, up_to))
    job = {
        "database_url": database_url,
        "elections": [{"id": e.id, "definition": written_definition(e)} for e in elections],
        "rules": str(path.resolve()),
        "up_to": up_to,
    }
    module = "services.projections.rehearsal_share"
    async with room_beside(database_url) as room:
        answers = await work_through(module, job, shares_of(up_to, room), room, on_answer)
    differences = []
    for index, election in enumerate(elections):
        before, after = Pairs(), Pairs()
        for answer in answers:
            add_tallies(before, _counts(answer["before"][index]))
            add_tallies(after, _counts(answer["after"][index]))
        differences += differences_between(election.id, before, after)
    return Rehearsal(up_to, replaced, differences, sum(answer["voters"] for answer in answers))


def _counts(listed: Mapping[str, list[int]]) -> Pairs:
    return {village: Counts._make(counts) for village, counts in listed.items()}
