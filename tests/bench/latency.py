"""Show 1 of KPU's feed: from the 201 to the bytes at KPU, and which leg of the way costs most.

`python -m tests.bench.latency [--rate 1000] [--seconds 120] [--webhook] [--hot PERCENT]`: a stack
of its own, events one a request at a pace, a client of the stream, and with `--webhook` a receiver
in a process of its own. `--hot` sends that part of the events to a single village. The legs are
read from the traces of the changes. Ends with 1 where the figures are not those aimed at.
"""

import argparse
import asyncio
import contextlib
import gc
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import orjson
import uvloop

from cli.stack import Stack
from shared.elections import PILKADA_2024
from tests.bench import loads, telling
from tests.bench.figures import quantile
from tests.bench.loads import Load
from tests.bench.machine import Watch, cpu_s
from tests.bench.people import Clerk, Person, people
from tests.bench.telling import Arrived
from tests.bench.wire import UnexpectedAnswerError, ask_once, connected, door

CLIENTS: Final = 32
BEHIND: Final = 5
WARMING_S: Final = 5
SETTLED_WITHIN_S: Final = 120.0
POLL_S: Final = 0.05
PAGE: Final = 10_000

P50_MS: Final = 100.0
P99_MS: Final = 1_000.0
WEBHOOK_P99_MS: Final = 2_000.0

# From one member of a change's trace to the next; what comes after the last is seen by the client.
STATIONS: Final = (
    *("received_at", "committed_at", "published_at", "counted_at"),
    *("announced_at", "numbered_at"),
)


@dataclass(frozen=True, slots=True)
class Plan:
    """What is sent: events a second for so long, a part of them to one village."""

    rate: int
    seconds: int
    hot_percent: int
    webhook: bool

    def count(self, seconds: int) -> int:
        """How many each client sends in so many seconds."""
        return self.rate * seconds // CLIENTS


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was measured."""

    load: Load
    before: dict[str, int]
    streamed: list[Arrived]
    streamed_bytes: int
    posted: list[Arrived]
    traces: list[dict[str, Any]]
    cpu_us: dict[str, float]
    others_percent: float


def clerks(plan: Plan) -> list[Clerk]:
    """Those who send, with people enough for all of it."""
    sent = CLIENTS * (plan.count(WARMING_S) + plan.count(plan.seconds))
    arriving = _heated(people(sent // 2 + CLIENTS * (BEHIND + 1)), plan.hot_percent)
    return [Clerk(f"PACED-{n:02}", arriving, BEHIND) for n in range(1, CLIENTS + 1)]


def _heated(arriving: Iterator[Person], hot_percent: int) -> Iterator[Person]:
    """People of whom a part lives in one village, that of the first."""
    hot = None
    for number, person in enumerate(arriving):
        hot = hot or person.village
        if number % 100 < hot_percent:
            yield replace(person, village=hot, data=person.data | {"village": hot})
        else:
            yield person


async def measure(stack: Stack, plan: Plan, receiver: "Receiver | None") -> Outcome:
    """Send, listen, and read the traces."""
    registry = door(stack.urls["registry"], stack.operator_token)
    notifier = door(stack.urls["notifier"], stack.operator_token)
    senders = clerks(plan)
    warming = [loads.singles(registry, clerk, plan.count(WARMING_S)) for clerk in senders]
    queues = [loads.singles(registry, clerk, plan.count(plan.seconds)) for clerk in senders]
    # What was made up to here lives to the end: no collection need look at it again.
    gc.freeze()
    await _told(notifier, await loads.at_pace(registry, warming, plan.rate))
    before = await telling.told_events(notifier)
    begins_after = (await telling.read_feed(notifier))["sequence"]
    if receiver is not None:
        await receiver.subscribe(notifier, begins_after)
    watch, used = Watch(stack), cpu_s(stack)
    async with telling.listening(notifier) as stream:
        load = await loads.at_pace(registry, queues, plan.rate)
        await _told(notifier, load, sum(before.values()))
        last = (await telling.read_feed(notifier))["sequence"]
        await stream.reaches(last)
    if receiver is not None:
        await receiver.confirmed(notifier, last)
    events, now = len(load.exchanges), cpu_s(stack)
    return Outcome(
        load,
        before,
        telling.changes_in(stream.heard),
        sum(len(chunk) for _, chunk in stream.heard),
        receiver.ended() if receiver is not None else [],
        await _traces(notifier, begins_after, last),
        {name: (now[name] - used[name]) / events * 1e6 for name in now},
        watch.others_percent(),
    )


async def _told(notifier: Any, load: Load, before: int = 0) -> None:
    events = before + len(load.accepted())
    async with asyncio.timeout(SETTLED_WITHIN_S):
        while sum((await telling.told_events(notifier)).values()) < events:
            await asyncio.sleep(POLL_S)


async def _traces(notifier: Any, after: int, last: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while after < last:
        path = f"{telling.FEED}/changes?trace=true&after={after}&limit={PAGE}"
        found += (await ask_once(notifier, path)).json()["changes"]
        after = found[-1]["sequence"]
    return found


class Receiver:
    """The receiver's process, and its subscription."""

    def __init__(self, process: "subprocess.Popen[bytes]", came: Path) -> None:
        self._process = process
        self._came = came
        assert process.stdout is not None
        self._port = int(process.stdout.readline())
        self._path = ""

    async def subscribe(self, notifier: Any, after: int) -> None:
        """Have everything after a sequence posted."""
        wanted = {
            "url": f"http://127.0.0.1:{self._port}/hook",
            "elections": [PILKADA_2024.id],
            "after": {PILKADA_2024.id: after},
        }
        request = notifier.post("/v1/subscriptions", "application/json", orjson.dumps(wanted))
        async with connected(notifier) as connection:
            reply = await connection.ask(request)
        if reply.status != 201:
            raise UnexpectedAnswerError(f"{reply.status} {reply.body.decode()}")
        self._path = f"/v1/subscriptions/{reply.json()['id']}"

    async def confirmed(self, notifier: Any, last: int) -> None:
        """Wait until all up to a sequence is delivered."""
        async with asyncio.timeout(SETTLED_WITHIN_S):
            while (await self._delivered(notifier)) < last:
                await asyncio.sleep(POLL_S)

    async def _delivered(self, notifier: Any) -> int:
        body = (await ask_once(notifier, self._path)).json()
        return next(int(each["after"]) for each in body["elections"])

    def ended(self) -> list[Arrived]:
        """End the process; what came, in its order."""
        self._process.terminate()
        self._process.wait()
        arrived = []
        for line in self._came.read_bytes().splitlines():
            at, _, body = line.partition(b" ")
            arrived.append(Arrived(float(at), orjson.loads(body)["data"]))
        return arrived


@contextlib.contextmanager
def receiving(home: Path) -> Iterator[Receiver]:
    """A receiver as long as the block runs."""
    came = home / "came"
    command = [sys.executable, "-m", "tests.bench.receiver", str(came)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            yield Receiver(process, came)
        finally:
            process.kill()


def legs_ms(outcome: Outcome) -> dict[str, list[float]]:
    """How long each change took on each leg."""
    legs: dict[str, list[float]] = {}
    for change in outcome.traces:
        if change["trace"] is None:
            continue
        moments = [datetime.fromisoformat(change["trace"][station]) for station in STATIONS]
        for number, (a, b) in enumerate(pairwise(moments), 1):
            name = f"{_name(STATIONS[number - 1])} to {_name(STATIONS[number])}"
            legs.setdefault(name, []).append((b - a).total_seconds() * 1_000)
    numbered = {c["sequence"]: c["trace"]["numbered_at"] for c in outcome.traces if c["trace"]}
    legs["numbered to the stream's bytes"] = _since(numbered, outcome.streamed)
    if outcome.posted:
        legs["numbered to the webhook's receiver"] = _since(numbered, outcome.posted)
    return legs


def _name(station: str) -> str:
    return station.removesuffix("_at")


def _since(numbered: dict[int, str], arrived: Sequence[Arrived]) -> list[float]:
    ahead_s = time.time() - time.perf_counter()
    return [
        (each.at + ahead_s - datetime.fromisoformat(at).timestamp()) * 1_000
        for each in arrived
        if (at := numbered.get(each.change["sequence"])) is not None
    ]


def report(plan: Plan, outcome: Outcome) -> bool:
    """Print what was measured; whether it is what is aimed at."""
    accepted, load = outcome.load.accepted(), outcome.load
    print(
        f"{len(accepted):,} events in {load.seconds:.1f} s, {len(accepted) / load.seconds:,.0f} a"
        f" second, {plan.hot_percent} % of them to one village; other programs took"
        f" {outcome.others_percent:.0f} % of the cores"
    )
    changes = len(outcome.streamed)
    print(
        f"{changes:,} changes, {changes / load.seconds:,.0f} a second;"
        f" {outcome.streamed_bytes / load.seconds / 1_000:,.0f} kB a second on the stream"
    )
    traced = sum(change["trace"] is not None for change in outcome.traces)
    print(f"{traced:,} of {len(outcome.traces):,} changes have a trace")
    print(f"\n{'ms':<44}{'mean':>9}{'p50':>9}{'p99':>9}{'longest':>9}")
    streamed = _ms(telling.delays_s(accepted, outcome.streamed, outcome.before))
    _line("201 to the bytes on the stream", streamed)
    holds = quantile(streamed, 0.5) < P50_MS and quantile(streamed, 0.99) < P99_MS
    if plan.webhook:
        posted = _ms(telling.delays_s(accepted, outcome.posted, outcome.before))
        _line("201 to the webhook's receiver", posted)
        holds = holds and quantile(posted, 0.99) < WEBHOOK_P99_MS
    print("legs of the last event of each change:")
    for name, values in legs_ms(outcome).items():
        _line(f"  {name}", values)
    print("\nmicroseconds of the processors an event: ", end="")
    print(", ".join(f"{name} {us:,.0f}" for name, us in outcome.cpu_us.items()))
    return holds


def _ms(delays_s: Sequence[float]) -> list[float]:
    return [delay_s * 1_000 for delay_s in delays_s]


def _line(name: str, values: Sequence[float]) -> None:
    mean = sum(values) / len(values)
    shown = (mean, quantile(values, 0.5), quantile(values, 0.99), max(values))
    print(f"{name:<44}" + "".join(f"{value:>9,.1f}" for value in shown))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.latency")
    parser.add_argument("--rate", type=int, default=1_000, help="events a second")
    parser.add_argument("--seconds", type=int, default=120)
    parser.add_argument("--webhook", action="store_true", help="with a webhook's receiver")
    parser.add_argument("--hot", type=int, default=0, metavar="PERCENT", help="to one village")
    given = parser.parse_args()
    plan = Plan(given.rate, given.seconds, given.hot, given.webhook)
    # The services take it over from here.
    os.environ["CACAH_WEBHOOK_ALLOWED_NETWORKS"] = "127.0.0.0/8"
    with contextlib.ExitStack() as held:
        name = tempfile.TemporaryDirectory(prefix="cacah-bench-", ignore_cleanup_errors=True)
        home = Path(held.enter_context(name))
        stack = held.enter_context(Stack(home, ports="free", restart=False))
        receiver = held.enter_context(receiving(home)) if plan.webhook else None
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            outcome = runner.run(measure(stack, plan, receiver))
    sys.exit(0 if report(plan, outcome) else 1)


if __name__ == "__main__":
    main()
