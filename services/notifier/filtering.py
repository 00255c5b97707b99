"""Reading the wanted changes of a feed: stretch by stretch, so that no question to the database
is long, and with word of how far was looked, so that where nothing was found one can go on."""

from dataclasses import dataclass
from typing import Final, Protocol

from services.notifier.domain.wanted import Wanted
from services.notifier.feed import ServedChange

# How many sequences a question to the database looks through: about 10 ms.
STRETCH: Final = 10_000


@dataclass(frozen=True, slots=True)
class Found:
    """The wanted changes after a sequence; there are no others up to `through`."""

    changes: list[ServedChange]
    through: int


class FilteredFeed(Protocol):
    """A feed that can leave out what is not wanted."""

    async def wanted_changes(
        self, election: str, wanted: Wanted, after: int, end: int, limit: int
    ) -> list[ServedChange]: ...


async def look_on(
    feed: FilteredFeed, election: str, wanted: Wanted, after: int, end: int, limit: int
) -> Found:
    """The wanted changes of the next stretch after a sequence, at most `limit`.

    `end` is a sequence that the feed has reached.
    """
    end = min(end, after + STRETCH)
    changes = await feed.wanted_changes(election, wanted, after, end, limit)
    return Found(changes, changes[-1].sequence if len(changes) == limit else end)
