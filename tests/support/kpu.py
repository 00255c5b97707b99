"""KPU's clients over hundreds of thousands of changes: they add up and keep no change."""

import asyncio
import contextlib
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

import httpx

from tests.support.differences import agree
from tests.support.listening import VILLAGES, VOTERS, Listener
from tests.support.reading import ELECTION_ID, Row
from tests.support.slow_model import COUNTS

PULL_EVERY_S: Final = 0.5
PAGE: Final = 5_000
NOTHING: Final = dict.fromkeys(COUNTS, 0)


@dataclass
class Adder(Listener):
    """Sees that every change is the next one and goes on from where its village, or its voter,
    stood; the sums are all that it keeps."""

    seen: int = 0

    @property
    def last(self) -> int:
        """The last sequence that was told."""
        return self.after + self.seen

    def see(self, identity: int, change: Row) -> None:
        """Take the next change, which must be the next one."""
        super().see(identity, change)
        self.told.clear()
        self.seen += 1
        self.add(change)

    def add(self, change: Row) -> None:
        """Add one change up."""
        raise NotImplementedError


@dataclass
class VillagesAdder(Adder):
    """What the changes of villages add up to."""

    stands: dict[str, dict[str, int]] = field(default_factory=dict)

    def add(self, change: Row) -> None:
        """The `before` of a change is the `after` of the one before it."""
        village = change["village"]
        agree(change["before"], self.stands.get(village, NOTHING), f"before in {change}")
        self.stands[village] = change["after"]

    async def pull(self, notifier: httpx.AsyncClient) -> None:
        """Ask for pages until cancelled."""
        while True:
            with contextlib.suppress(httpx.TransportError):
                params = {"after": self.last, "limit": PAGE}
                answer = await notifier.get(f"{self.path}/changes", params=params)
                if answer.status_code == httpx.codes.OK:
                    for change in answer.json()["changes"]:
                        self.see(change["sequence"], change)
            await asyncio.sleep(PULL_EVERY_S)


@dataclass
class VotersAdder(Adder):
    """Where the changes of voters put everybody."""

    at: dict[str, str] = field(default_factory=dict)

    def add(self, change: Row) -> None:
        """A person leaves the village that the feed put them in."""
        agree(change["from_village"], self.at.pop(change["voter"], None), f"from in {change}")
        if change["to_village"] is not None:
            self.at[change["voter"]] = change["to_village"]

    def voters(self) -> Counter[str]:
        """How many voters each village has."""
        return Counter(self.at.values())


def villages_adder() -> VillagesAdder:
    return VillagesAdder(ELECTION_ID, VILLAGES)


def voters_adder() -> VotersAdder:
    return VotersAdder(ELECTION_ID, VOTERS)
