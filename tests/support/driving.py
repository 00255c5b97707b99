"""Plays a history to a running registry over plain HTTP, as several stations at once do.

A history is cut into lanes, one for each client. Lanes are either *apart*, so that no resident
and no `source` and `id` is in two of them and the order within a lane decides everything, or
*mingled*: the clients take what comes next from one queue, and who is first is anybody's race.
"""

import asyncio
import gzip
import json
import random
import re
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import httpx

from tests.support.histories import NAMES, Event
from tests.support.slow_model import is_nik, key_of

CLIENTS: Final = 8
SINGLE: Final = "application/cloudevents+json"
BATCH: Final = "application/cloudevents-batch+json"
PROBLEM: Final = "application/problem+json"
BATCH_SIZES: Final = (1, 2, 3, 5, 8, 21, 60, 150)
ANSWER_WITHIN_S: Final = 30.0
WAIT_S: Final = 0.2

# Part of every name that is sent, and of nothing else in the world.
NAME_MARK: Final = "Zqxwarga"
REGION_BASE: Final = 200_000

OUTCOME_OF_STATUS: Final = {201: "accepted", 200: "duplicate", 202: "parked"}


@dataclass(frozen=True)
class Answer:
    """What the registry said of one event; `problem` is the last part of the problem's type."""

    outcome: str
    position: int | None = None
    warnings: tuple[str, ...] = ()
    problem: str | None = None
    first: str | None = None


@dataclass(frozen=True)
class Sent:
    """One event that was answered: when its request began and ended, and after how many tries."""

    event: Event
    answer: Answer
    began: float
    ended: float
    answered_at: datetime
    tries: int


@dataclass(frozen=True)
class Parcel:
    """What goes in one request."""

    events: list[Event]
    single: bool = False
    gzipped: bool = False
    ascii: bool = True

    def body(self) -> bytes:
        """The body, spelled in one of the ways that JSON has."""
        value = self.events[0] if self.single else self.events
        body = json.dumps(value, ensure_ascii=self.ascii).encode()
        return gzip.compress(body, 1) if self.gzipped else body

    def headers(self) -> dict[str, str]:
        """What says how to read the body."""
        headers = {"Content-Type": SINGLE if self.single else BATCH}
        return headers | ({"Content-Encoding": "gzip"} if self.gzipped else {})


# Cutting


def disguised(events: Iterable[Event], number: int) -> list[Event]:
    """The same history in regions of its own, so that no resident is in two histories, and with
    names that can be recognised wherever they turn up."""
    return [_disguised(event, number) for event in events]


def _disguised(event: Event, number: int) -> Event:
    data = event.get("data")
    if not isinstance(data, dict):
        return event
    changed = dict(data)
    if data.get("name") in NAMES:
        changed["name"] = f"{data['name']} {NAME_MARK}"
    nik = data.get("nik")
    if isinstance(nik, str) and re.fullmatch("[0-9]{16}", nik):
        # Serials are unique within a history, so one region is enough for all of it.
        changed["nik"] = f"{REGION_BASE + number}{nik[6:]}"
    return event | {"data": changed}


def apart(events: Sequence[Event], lanes: int = CLIENTS) -> list[list[Event]]:
    """Lanes that share no resident and no identity; each keeps the order of the history."""
    groups = _Groups()
    for event in events:
        for other in _threads(event):
            groups.join(_threads(event)[0], other)
    cut: list[list[Event]] = [[] for _ in range(lanes)]
    places: dict[object, int] = {}
    for number, event in enumerate(events):
        threads = _threads(event)
        group = groups.head(threads[0]) if threads else number
        cut[places.setdefault(group, len(places) % lanes)].append(event)
    return cut


def _threads(event: Event) -> list[object]:
    """What ties an event to others: its resident, its identity, and that which it retracts."""
    data = event.get("data")
    members = data if isinstance(data, dict) else {}
    nik = members.get("nik")
    keys: list[object] = [key_of(event), key_of(members.get("retracts"))]
    return [nik] * is_nik(nik) + [key for key in keys if key is not None]


class _Groups:
    """What belongs together, directly or by way of others."""

    def __init__(self) -> None:
        self._above: dict[object, object] = {}

    def head(self, thing: object) -> object:
        while (above := self._above.get(thing, thing)) != thing:
            thing = above
        return thing

    def join(self, one: object, other: object) -> None:
        self._above[self.head(other)] = self.head(one)


def parcels(events: Sequence[Event], chance: random.Random) -> Iterator[Parcel]:
    """Runs of single events, and batches of random sizes, gzipped at times."""
    begin = 0
    while begin < len(events):
        size = chance.choice(BATCH_SIZES)
        cut = list(events[begin : begin + size])
        begin += size
        if size <= 8 and chance.random() < 0.6:
            yield from (Parcel([event], True, ascii=chance.random() < 0.5) for event in cut)
        else:
            yield Parcel(cut, False, chance.random() < 0.4, chance.random() < 0.5)


# Sending


async def play(
    url: str,
    token: str,
    lanes: Sequence[Iterator[Parcel]],
    *,
    patient: bool = False,
    answer_within_s: float = ANSWER_WITHIN_S,
    after_each: Callable[[Sequence[Sent]], Awaitable[None]] | None = None,
) -> list[list[Sent]]:
    """Send every lane by a client of its own, all at once; what was answered, by lane.

    The patient send again, word for word, what got no answer, a server's fault or a 429; the
    others take these for failures of the test. One iterator given several times is shared.
    """

    async def one(lane: Iterator[Parcel]) -> list[Sent]:
        sent: list[Sent] = []
        async with client(url, token, answer_within_s) as http:
            for parcel in lane:
                answered = await post(http, parcel, patient=patient)
                sent += answered
                if after_each is not None:
                    await after_each(answered)
        return sent

    return list(await asyncio.gather(*(one(lane) for lane in lanes)))


def client(url: str, token: str, timeout_s: float = ANSWER_WITHIN_S) -> httpx.AsyncClient:
    """A client of one service."""
    headers = {"Authorization": f"Bearer {token}"}
    return httpx.AsyncClient(base_url=url, headers=headers, timeout=timeout_s)


async def post(http: httpx.AsyncClient, parcel: Parcel, *, patient: bool = False) -> list[Sent]:
    """Send one parcel, and read what was answered to each of its events."""
    body, headers, began, tries = parcel.body(), parcel.headers(), time.monotonic(), 0
    while True:
        tries += 1
        try:
            response = await http.post("/v1/events", content=body, headers=headers)
            if not patient or not _passes(response.status_code):
                break
        except httpx.TransportError:
            if not patient:
                raise
        await asyncio.sleep(WAIT_S)
    ended, moment = time.monotonic(), datetime.now(UTC)
    return [
        Sent(event, answer, began, ended, moment, tries)
        for event, answer in zip(parcel.events, read_answers(parcel, response), strict=True)
    ]


def _passes(status: int) -> bool:
    return status >= 500 or status == httpx.codes.TOO_MANY_REQUESTS


def read_answers(parcel: Parcel, response: httpx.Response) -> list[Answer]:
    """The answers, in the order of the parcel, with everything about their form checked."""
    if parcel.single:
        return [_read_single(parcel.events[0], response)]
    assert response.status_code == 200, response.text
    results = response.json()["results"]
    assert len(results) == len(parcel.events)
    return [_read_result(event, told) for event, told in zip(parcel.events, results, strict=True)]


def _read_single(event: Event, response: httpx.Response) -> Answer:
    body = response.json()
    if response.status_code in OUTCOME_OF_STATUS:
        answer = _read_result(event, body)
        assert answer.outcome == OUTCOME_OF_STATUS[response.status_code], response.text
        return answer
    assert 400 <= response.status_code < 500, response.text
    assert response.headers["content-type"] == PROBLEM
    assert body["status"] == response.status_code
    return Answer("rejected", problem=type_of(body))


def _read_result(event: Event, told: dict[str, Any]) -> Answer:
    if (key := key_of(event)) is not None:
        assert (told["source"], told["id"]) == key
    known = {"source", "id", "outcome", "position", "warnings", "problem", "first_outcome"}
    assert told.keys() <= known, told
    return Answer(
        told["outcome"],
        told.get("position"),
        tuple(sorted(told.get("warnings", ()))),
        type_of(told["problem"]) if "problem" in told else None,
        told.get("first_outcome"),
    )


def type_of(problem: dict[str, Any]) -> str:
    """The last part of a problem's type, once it was seen to be a whole problem."""
    assert {"type", "title", "status", "detail"} <= problem.keys(), problem
    return str(problem["type"]).rpartition("/")[2]
