"""Elections that are put while a history is played: one more, and another polling day."""

import asyncio
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

import httpx

from tests.support.differences import agree, require
from tests.support.slow_model import PILKADA_2024, Election, Stage

ADDED: Final = "pilkada-2025"
AREAS: Final = ("15.01.16", "15.01.01", "15.01.01.2001", "15.01", "15", "ID")
POLLING_DAYS: Final = (
    date(2024, 11, 26),
    date(2024, 11, 28),
    date(2025, 2, 28),
    date(2025, 8, 27),
    date(2023, 6, 1),
    date(2029, 2, 14),
)
AGES: Final = (16, 18, 21)
MOVES: Final = (timedelta(days=-1), timedelta(days=1), timedelta(days=365), timedelta(days=-365))
SERVES_WITHIN_S: Final = 120.0
PAUSE_S: Final = 0.1


@dataclass(frozen=True)
class Put:
    """A definition that was put: between these moments its counts came to serve."""

    election: Election
    began: datetime
    served: datetime


@dataclass
class Elections:
    """What is put in the course of a history, and what each election was and is."""

    seed: int
    size: int
    say: Callable[[str], None]
    puts: list[Put] = field(default_factory=list)

    def plan(self) -> Iterator[tuple[int, Election]]:
        """After how many answered events which definition: an election is added, the one that
        was there is moved, and then the added one."""
        chance = random.Random(f"elections {self.seed}")
        moments = sorted(chance.sample(range(self.size // 10, self.size * 9 // 10), 3))
        day = chance.choice(POLLING_DAYS)
        added = Election(
            ADDED,
            day,
            chance.choice(AREAS),
            chance.choice(AGES),
            day - timedelta(days=chance.choice((0, 100, 400))),
            (Stage("daftar", date(2025, 1, 1)),),
        )
        moved = replace(PILKADA_2024, polling_day=PILKADA_2024.polling_day + chance.choice(MOVES))
        again = replace(added, polling_day=chance.choice(POLLING_DAYS), area=chance.choice(AREAS))
        yield from zip(moments, (added, moved, again), strict=True)

    async def run(self, projections: httpx.AsyncClient, answered: Callable[[], int]) -> None:
        """Put each when its moment has come, and wait until it serves."""
        for moment, election in self.plan():
            while answered() < moment:
                await asyncio.sleep(PAUSE_S)
            self.say(f"{election.id} is put after {answered()} events: {written(election)}")
            began = datetime.now(UTC)
            await put(projections, election)
            self.puts.append(Put(election, began, datetime.now(UTC)))

    def definitions(self, election_id: str) -> Sequence[Election | None]:
        """What an election was, one after another; none before it was added."""
        first = PILKADA_2024 if election_id == PILKADA_2024.id else None
        return [first, *(each.election for each in self.puts_of(election_id))]

    def puts_of(self, election_id: str) -> Sequence[Put]:
        """What was put of an election."""
        return [each for each in self.puts if each.election.id == election_id]


def written(election: Election) -> dict[str, Any]:
    """The body of a `PUT`, and what `GET` says."""
    return {
        "polling_day": election.polling_day.isoformat(),
        "area": election.area,
        "minimum_age": election.minimum_age,
        "first_time_since": election.first_time_since.isoformat(),
        "stages": [{"name": s.name, "from": s.since.isoformat()} for s in election.stages],
    }


async def put(projections: httpx.AsyncClient, election: Election) -> None:
    """Put a definition, as often as it gets no answer, and wait until it serves."""
    path = f"/v1/elections/{election.id}"
    async with asyncio.timeout(SERVES_WITHIN_S):
        answer = await _answered(projections, "PUT", path, written(election))
        require(answer.status_code in (200, 201, 202), f"PUT {path}: {answer.text}")
        while True:
            shown = (await _answered(projections, "GET", path)).json()
            if shown["state"] == "serving":
                break
            await asyncio.sleep(PAUSE_S)
    wanted = {"id": election.id} | written(election) | {"state": "serving"}
    agree(shown, wanted, f"GET {path}")


async def _answered(
    http: httpx.AsyncClient, method: str, path: str, body: Any = None
) -> httpx.Response:
    while True:
        try:
            answer = await http.request(method, path, json=body)
            if answer.status_code < 500:
                return answer
        except httpx.TransportError:
            pass
        await asyncio.sleep(PAUSE_S)
