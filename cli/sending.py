"""`python -m cli.sending`: the demo's stations, in a process of their own to keep the screen calm.

Reads one order in JSON from standard input, sends everything, and writes its progress as JSON
lines to standard output. What got no answer is sent again, byte for byte, until it gets one. When
standard input closes, whoever gave the order is gone, and the process ends.
"""

import asyncio
import base64
import contextlib
import gzip
import random
import signal
import sys
import threading
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import Any, Final

import httpx
import orjson

from cli.sample_events import Event, Station, events, stations

BATCH_EVENTS: Final = 500
REPORT_EVERY_S: Final = 0.2
ANSWER_WITHIN_S: Final = 30.0
FIRST_WAIT_S: Final = 0.2
LONGEST_WAIT_S: Final = 3.0

# What is known of each event of a station, one byte at the place of its `stationseq`.
UNKNOWN: Final = 0
ACCEPTED: Final = 1
PARKED: Final = 2
REJECTED: Final = 3
_CODES: Final = {"accepted": ACCEPTED, "parked": PARKED, "rejected": REJECTED}

_HEADERS: Final = {
    "Content-Type": "application/cloudevents-batch+json",
    "Content-Encoding": "gzip",
}


@dataclass(frozen=True, slots=True)
class Order:
    """Whose events to send, where, and with which tokens by station code."""

    registry: str
    size: int
    seed: int
    tokens: dict[str, str]
    rate: int = 0

    def written(self) -> bytes:
        return orjson.dumps(asdict(self)) + b"\n"


class RefusedError(Exception):
    """The registry refused a whole request, so that sending it again is of no use."""


@dataclass(slots=True)
class Account:
    """What was sent and what came of it; kept per station, added up for the reports."""

    outcomes: bytearray = field(default_factory=lambda: bytearray(1))
    counts: Counter[str] = field(default_factory=Counter)

    def enter(self, sent: list[Event], results: list[dict[str, Any]]) -> None:
        """Enter the answers of a batch. Raises RefusedError where they do not fit."""
        if [event["id"] for event in sent] != [result["id"] for result in results]:
            raise RefusedError("The answers are not those of the events sent.")
        for event, result in zip(sent, results, strict=True):
            self._enter(event["stationseq"], result)

    def _enter(self, sequence: int, result: dict[str, Any]) -> None:
        if sequence >= len(self.outcomes):
            self.outcomes.extend(bytes(sequence + 1 - len(self.outcomes)))
        self.counts["answered"] += 1
        if self.outcomes[sequence] != UNKNOWN:
            self.counts["duplicate"] += 1
            return
        outcome, name = _first_outcome(result)
        self.outcomes[sequence] = outcome
        self.counts[name] += 1


def _first_outcome(result: dict[str, Any]) -> tuple[int, str]:
    """What became of an event when it first arrived.

    A `duplicate` of what this station has no answer for repeats an answer that was lost.
    """
    outcome = result.get("first_outcome", result["outcome"])
    return _CODES[outcome], outcome


def _batches(station: Station, order: Order) -> Iterator[list[Event]]:
    stream = events(station, order.size, order.seed)
    while batch := list(islice(stream, BATCH_EVENTS)):
        yield batch


async def _send_all(
    client: httpx.AsyncClient, station: Station, order: Order, account: Account
) -> None:
    headers = _HEADERS | {"Authorization": f"Bearer {order.tokens[station.code]}"}
    pause_s = BATCH_EVENTS * len(order.tokens) / order.rate if order.rate else 0.0
    clock = asyncio.get_running_loop()
    for batch in _batches(station, order):
        begun = clock.time()
        body = gzip.compress(orjson.dumps(batch), compresslevel=1)
        account.enter(batch, await _answered(client, body, headers, account))
        await asyncio.sleep(max(0.0, begun + pause_s - clock.time()))


async def _answered(
    client: httpx.AsyncClient, body: bytes, headers: dict[str, str], account: Account
) -> list[dict[str, Any]]:
    """The results of a batch, sent as often as it takes. Raises RefusedError."""
    wait_s = FIRST_WAIT_S
    while True:
        with contextlib.suppress(httpx.TransportError):
            answer = await client.post("/v1/events", content=body, headers=headers)
            if answer.status_code == httpx.codes.OK:
                results: list[dict[str, Any]] = orjson.loads(answer.content)["results"]
                return results
            if answer.status_code < 500 and answer.status_code != httpx.codes.TOO_MANY_REQUESTS:
                raise RefusedError(f"The registry answered {answer.status_code}: {answer.text}")
        account.counts["retries"] += 1
        await asyncio.sleep(wait_s * random.uniform(0.7, 1.3))  # noqa: S311
        wait_s = min(wait_s * 1.7, LONGEST_WAIT_S)


def _say(line: dict[str, Any]) -> None:
    sys.stdout.buffer.write(orjson.dumps(line) + b"\n")
    sys.stdout.buffer.flush()


async def _report(accounts: dict[str, Account]) -> None:
    while True:
        await asyncio.sleep(REPORT_EVERY_S)
        _say(_summed(accounts))


def _summed(accounts: dict[str, Account]) -> dict[str, Any]:
    total: Counter[str] = sum((account.counts for account in accounts.values()), Counter())
    return {"counts": dict(total)}


async def send(order: Order) -> None:
    """Send the events of all stations at once. Raises RefusedError."""
    sending = [s for s in stations(len(order.tokens), order.size) if s.code in order.tokens]
    accounts = {station.code: Account() for station in sending}
    reporting = asyncio.create_task(_report(accounts))
    async with (
        httpx.AsyncClient(base_url=order.registry, timeout=ANSWER_WITHIN_S) as client,
        asyncio.TaskGroup() as group,
    ):
        for station in sending:
            group.create_task(_send_all(client, station, order, accounts[station.code]))
    reporting.cancel()
    packed = {code: _packed(account.outcomes) for code, account in accounts.items()}
    _say({**_summed(accounts), "outcomes": packed})


def _packed(outcomes: bytearray) -> str:
    return base64.b64encode(zlib.compress(bytes(outcomes))).decode()


def unpacked(text: str) -> bytes:
    """The outcomes of a station as the last report carries them."""
    return zlib.decompress(base64.b64decode(text))


def _end_with_the_giver() -> None:
    """End when standard input closes; the demo may die without a chance to say so."""
    sys.stdin.buffer.read()
    # A killed demo must leave nothing running, and nobody is there to read a farewell.
    signal.raise_signal(signal.SIGKILL)


def main() -> int:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    order = Order(**orjson.loads(sys.stdin.buffer.readline()))
    threading.Thread(target=_end_with_the_giver, daemon=True).start()
    failed = 0
    try:
        asyncio.run(send(order))
    except* RefusedError as refused:
        _say({"failed": str(refused.exceptions[0])})
        failed = 1
    return failed


if __name__ == "__main__":
    sys.exit(main())
