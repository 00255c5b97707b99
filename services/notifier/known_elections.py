"""The election that an address names."""

import re
from typing import Final

from services.notifier.feed import ElectionFeed, Feed
from services.notifier.records import ELECTION_PATTERN
from shared.problems import Problem, ProblemError, ProblemType

_ELECTION: Final = re.compile(ELECTION_PATTERN)


async def known_election(feed: Feed, election: str) -> ElectionFeed:
    """An election's feed. Raises ProblemError where there is none."""
    found = await feed.election(election) if _ELECTION.fullmatch(election) else None
    if found is None:
        raise ProblemError(
            Problem(
                ProblemType.NOT_FOUND,
                "There is no feed of this election; GET /v1/elections lists those there are.",
            )
        )
    return found
