"""`python -m tests.bench.streams`: many SSE clients at once, some of them slow, dead or coming and
going: what the others wait, what the notifier holds, and that nobody misses a change."""

import argparse
import asyncio
import os
import sys
import tempfile
import time
from array import array
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import asyncpg
import orjson

from shared.regions import villages_in
from tests.bench.machine import PROC, TICKS_PER_S
from tests.bench.stream_clients import Crowd
from tests.support.notifier_process import (
    ELECTION,
    OPERATOR_TOKEN,
    NotifierProcess,
    TopicWriter,
    running,
    topic_writer,
)
from tests.support.parts import CHECKOUT, Parts, cloned_database, fresh_topics, running_parts
from tests.support.village_records import written

TICK_S: Final = 0.01
READY_WITHIN_S: Final = 60.0
OVER_WITHIN_S: Final = 120.0

MOST_P99_MS: Final = 1_000.0
MOST_MEMORY_MB: Final = 300.0


@dataclass(frozen=True, slots=True)
class Plan:
    """`clients` in all, of which `poor` are slow, dead or flaky, a third each; `rate` changes a
    second for `seconds`."""

    clients: int = 300
    poor: int = 50
    rate: int = 200
    seconds: float = 60.0

    def crowd(self, port: int) -> Crowd:
        dead, flaky = self.poor // 3, self.poor // 3
        return Crowd(
            port=port,
            path=f"/v1/elections/{ELECTION}/stream",
            token=OPERATOR_TOKEN,
            quick=self.clients - self.poor,
            slow=self.poor - dead - flaky,
            dead=dead,
            flaky=flaky,
        )


@dataclass(frozen=True, slots=True)
class Streamed:
    """What came of it; `clients` is what their process told, `cut` by why."""

    changes: int
    seconds: float
    clients: dict[str, Any]
    cut: dict[str, int]
    connected_when_over: int
    memory_mb: float
    cpu_s: float

    def lines(self) -> Iterator[str]:
        """For a person to read."""
        told = self.clients
        yield f"{self.changes} changes in {self.seconds:.1f} s"
        yield (
            f"from numbered to the bytes at each quick client: p50 {told['p50_ms']:.0f} ms,"
            f" p99 {told['p99_ms']:.0f} ms, at most {told['max_ms']:.0f} ms"
        )
        yield f"notifier: at most {self.memory_mb:.0f} MB, {self.cpu_s:.1f} s of processor"
        yield f"clients: {told['cpu_s']:.1f} s of processor"
        yield f"cut: {self.cut}; {told['told_lagging']} read why; connections {told['connections']}"
        yield f"clients connected when the changes were over: {self.connected_when_over}"

    def failings(self) -> Iterator[str]:
        """What should not be, and was too slow."""
        yield from self.wrong()
        if self.clients["p99_ms"] >= MOST_P99_MS:
            yield f"p99 is {self.clients['p99_ms']:.0f} ms"

    def wrong(self) -> Iterator[str]:
        """What should not be, however slow the machine is."""
        told = self.clients
        if told["faults"] or told["lasts"] != [self.changes]:
            yield f"changes lost or doubled: {told['faults'][:3]}, ends {told['lasts']}"
        if self.memory_mb >= MOST_MEMORY_MB:
            yield f"the notifier held {self.memory_mb:.0f} MB"


async def stream(parts: Parts, database: str, notifier: NotifierProcess, plan: Plan) -> Streamed:
    """Play the plan against a notifier that is ready, on a database of its own."""
    crowd = plan.crowd(notifier.port)
    clients = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.bench.stream_clients", orjson.dumps(asdict(crowd)).decode()),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=CHECKOUT,
    )
    assert clients.stdin is not None
    assert clients.stdout is not None
    assert notifier.process is not None
    try:
        async with asyncio.timeout(READY_WITHIN_S):
            assert await clients.stdout.readline() == b"ready\n"
        used_s = _cpu_s(notifier.process.pid)
        async with topic_writer(parts.kafka_bootstrap) as topic:
            began = time.monotonic()
            count = await _write(topic, plan)
            seconds = time.monotonic() - began
        changes = await _until_numbered(notifier, count)
        connected = int(await notifier.metric("cacah_notifier_clients "))
        used_s = _cpu_s(notifier.process.pid) - used_s
        with tempfile.TemporaryDirectory(prefix="cacah-streams-") as directory:
            numbered = Path(directory) / "numbered"
            numbered.write_bytes(await _numbered_at(parts.dsn(database)))
            clients.stdin.write(f"finish {changes} {numbered}\n".encode())
            async with asyncio.timeout(OVER_WITHIN_S):
                told = orjson.loads(await clients.stdout.readline())
        cut = {
            why: int(await notifier.metric(f'cacah_notifier_clients_cut_total{{why="{why}"}}'))
            for why in ("behind", "stalled")
        }
        memory_mb = _peak_mb(notifier.process.pid)
        return Streamed(changes, seconds, told, cut, connected, memory_mb, used_s)
    finally:
        if clients.returncode is None:
            clients.kill()
        await clients.wait()


async def _write(topic: TopicWriter, plan: Plan) -> int:
    """Records of ever other villages at an even pace, so that hardly two are folded into one."""
    villages = [village.code for village in villages_in("15.01")]
    count, total = 0, int(plan.rate * plan.seconds)
    began = time.monotonic()
    while count < total:
        due = min(total, int((time.monotonic() - began) * plan.rate) + 1)
        await topic.write(_record(villages, number) for number in range(count, due))
        count = due
        await asyncio.sleep(TICK_S)
    return count


def _record(villages: list[str], number: int) -> bytes:
    revision, village = divmod(number, len(villages))
    return written(
        village=villages[village],
        revision=revision + 1,
        position=number + 1,
        residents=revision + 1,
        before=revision,
    )


async def _until_numbered(notifier: NotifierProcess, records: int) -> int:
    """The end of the feed once all records were taken; some may have been folded into one."""
    async with asyncio.timeout(OVER_WITHIN_S):
        while True:
            taken = (await notifier.client.get(f"/v1/elections/{ELECTION}/snapshot")).json()
            if sum(village["residents"] for village in taken["villages"]) == records:
                return int(taken["sequence"])
            await asyncio.sleep(0.1)


async def _numbered_at(dsn: str) -> bytes:
    connection = await asyncpg.connect(dsn)
    try:
        rows = await connection.fetch(
            "SELECT extract(epoch FROM numbered_at)::float8 AS at FROM notifier.changes"
            " WHERE election = $1 ORDER BY sequence",
            ELECTION,
        )
    finally:
        await connection.close()
    return array("d", [row["at"] for row in rows]).tobytes()


def _peak_mb(pid: int) -> float:
    for line in (PROC / str(pid) / "status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1_000
    raise AssertionError("no VmHWM")


def _cpu_s(pid: int) -> float:
    fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / TICKS_PER_S


async def _show(parts: Parts, database: str, plan: Plan) -> Streamed:
    notifier = NotifierProcess(parts.url(database), parts.kafka_bootstrap, "bench-streams")
    async with running(notifier):
        return await stream(parts, database, notifier, plan)


def _arguments() -> Plan:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.streams", description=__doc__)
    for name, value in asdict(Plan()).items():
        parser.add_argument(f"--{name}", type=type(value), default=value, help=f"({value})")
    return Plan(**vars(parser.parse_args()))


def main() -> int:
    plan = _arguments()
    print(f"{plan}, on {len(os.sched_getaffinity(0))} cores", flush=True)
    with running_parts() as parts, cloned_database(parts) as database:
        fresh_topics(parts)
        streamed = asyncio.run(_show(parts, database, plan))
    for line in streamed.lines():
        print(line)
    failings = list(streamed.failings())
    for failing in failings:
        print(f"NOT HELD: {failing}")
    return 1 if failings else 0


if __name__ == "__main__":
    sys.exit(main())
