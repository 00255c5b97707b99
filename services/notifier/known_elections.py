"""The election that an address names."""

import re
from typing import Final, Protocol, TypeVar

from services.notifier.records import ELECTION_PATTERN
from shared.problems import Problem, ProblemError, ProblemType

_ELECTION: Final = re.compile(ELECTION_PATTERN)

End = TypeVar("End", covariant=True)


class _Feed(Protocol[End]):
    """A feed that knows how far it goes for each election."""

    async def election(self, election: str) -> End | None: ...


async def known_election(feed: _Feed[End], election: str) -> End:
    """How far an election's feed goes. Raises ProblemError where there is none."""
    found = await feed.election(election) if _ELECTION.fullmatch(election) else None
    if found is None:
        raise no_such_election()
    return found


def no_such_election() -> ProblemError:
    """What answers where an address names an election that has no feed."""
    return ProblemError(
        Problem(
            ProblemType.NOT_FOUND,
            "There is no feed of this election; GET /v1/elections lists those there are.",
        )
    )
