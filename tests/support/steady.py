"""Stations that send the demo's events at a steady rate, and again whatever got no answer."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

import httpx
import orjson

from cli.counting import Expectation, expect
from cli.sample import MAX_SIZE, residents
from cli.sample_events import Event, Station, events, stations
from cli.sending import Account
from tests.support.driving import BATCH, client

STATIONS: Final = 8
BATCH_EVENTS: Final = 50
# What fell behind while the registry was away is sent in larger batches.
MOST_EVENTS: Final = 500
ANSWER_WITHIN_S: Final = 5.0
WAIT_S: Final = 0.2
SAMPLE: Final = 4_000


@dataclass
class Steady:
    """Everything that some residents' stations send, at so many events a second in all."""

    size: int
    seed: int
    rate: int
    accounts: dict[str, Account] = field(default_factory=dict)
    retried: int = 0

    def expected(self) -> Expectation:
        """What it must come to, counted by a method of its own: person by person."""
        return expect(residents(self.size, self.seed))

    @property
    def counts(self) -> Counter[str]:
        """What was answered, a repeated answer under what was first said."""
        return sum((account.counts for account in self.accounts.values()), Counter())

    async def run(self, url: str, token: str) -> None:
        """Send all of it, each station in its order."""
        async with asyncio.TaskGroup() as group:
            for station in stations(STATIONS, self.size):
                group.create_task(self._send(station, url, token))

    async def _send(self, station: Station, url: str, token: str) -> None:
        account = self.accounts[station.code] = Account()
        clock, sent, a_second = asyncio.get_running_loop(), 0, self.rate / STATIONS
        began, stream = clock.time(), events(station, self.size, self.seed)
        async with client(url, token, ANSWER_WITHIN_S) as http:
            while batch := _take(stream, int((clock.time() - began) * a_second) - sent):
                await self._deliver(http, account, batch)
                sent += len(batch)
                ahead_s = began + (sent + BATCH_EVENTS) / a_second - clock.time()
                await asyncio.sleep(max(0.0, ahead_s))

    async def _deliver(self, http: httpx.AsyncClient, account: Account, batch: list[Event]) -> None:
        body, headers = orjson.dumps(batch), {"Content-Type": BATCH}
        while True:
            try:
                answer = await http.post("/v1/events", content=body, headers=headers)
                if answer.status_code == httpx.codes.OK:
                    break
                passes = answer.status_code >= 500 or answer.status_code == 429
                assert passes, answer.text
            except httpx.TransportError:
                pass
            self.retried += len(batch)
            await asyncio.sleep(WAIT_S)
        account.enter(batch, orjson.loads(answer.content)["results"])


def _take(stream: Iterator[Event], due: int) -> list[Event]:
    return list(islice(stream, min(MOST_EVENTS, max(BATCH_EVENTS, due))))


def size_for(number: int, seed: int) -> int:
    """How many residents it takes to send about so many events."""
    sent = expect(residents(SAMPLE, seed)).sent
    return min(MAX_SIZE, max(STATIONS, round(number * SAMPLE / sent)))
