"""Many clients of a stream in one process, at their sockets themselves: `python -m
tests.bench.stream_clients PLAN` with the plan as JSON.

It says `ready` when all are connected; is told `finish SEQUENCE FILE` when the feed is at its end,
whose change S was numbered at the S-th double of the file; has every client read on to the end,
which those that were slow or dead then do as fast as they can; and says as JSON what came of it.
"""

import asyncio
import random
import re
import resource
import socket
import sys
import time
from array import array
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import orjson
import uvloop

from tests.bench.figures import quantile

_EVENT: Final = re.compile(rb"id: (\d+)\nevent: change\ndata: [^\n]*\n\n")
_LAGGING: Final = b"\nevent: lagging\n"

# A slow client's socket, and how long it rests after taking what is in it: about 20 kB a second.
SLOW_BUFFER_BYTES: Final = 8_192
SLOW_REST_S: Final = 0.4
FLAKY_STAYS_S: Final = (0.5, 5.0)
BACK_AFTER_S: Final = 0.2


@dataclass(frozen=True, slots=True)
class Crowd:
    """Where the stream is, and who comes to it.

    Quick clients read at once; slow ones a little at a time; dead ones nothing; flaky ones as the
    quick, but drop the connection now and then. Each comes back with Last-Event-ID.
    """

    port: int
    path: str
    token: str
    quick: int
    slow: int
    dead: int
    flaky: int


@dataclass(slots=True)
class Record:
    """What a client saw: when it had which sequence, and whether all came in order, once."""

    kind: str
    last: int = 0
    faults: list[str] = field(default_factory=list)
    times: "array[float]" = field(default_factory=lambda: array("d"))
    ends: "array[int]" = field(default_factory=lambda: array("q"))
    connections: int = 0
    told_lagging: int = 0

    def see(self, sequences: list[int], at: float) -> None:
        if sequences != list(range(self.last + 1, self.last + 1 + len(sequences))):
            self.faults.append(f"after {self.last} came {sequences[:3]}…{sequences[-1]}")
        self.last = sequences[-1]
        self.times.append(at)
        self.ends.append(self.last)


class Connection(asyncio.Protocol):
    """One connection of a client; `rest_s` is how long it rests after each read."""

    def __init__(self, record: Record, rest_s: float | None) -> None:
        self._record = record
        self._rest_s = rest_s
        self._left = b""
        self._told_lagging = False
        self.ended = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._record.connections += 1

    def data_received(self, data: bytes) -> None:
        at = time.time()
        left, end, sequences = self._left + data, 0, []
        for found in _EVENT.finditer(left):
            sequences.append(int(found[1]))
            end = found.end()
        if sequences:
            self._record.see(sequences, at)
        self._left = left[end:]
        if not self._told_lagging and _LAGGING in self._left:
            self._told_lagging = True
            self._record.told_lagging += 1
        if self._rest_s is not None:
            self._transport.pause_reading()
            asyncio.get_running_loop().call_later(self._rest_s, self._go_on)

    def _go_on(self) -> None:
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def connection_lost(self, _: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_result(None)


class Client:
    """Comes to the stream again and again with what it has."""

    def __init__(self, crowd: Crowd, kind: str) -> None:
        self._crowd = crowd
        self.record = Record(kind)
        self.connected = asyncio.Event()
        self._finishing = asyncio.Event()

    def finish(self) -> None:
        self._finishing.set()

    async def follow(self) -> None:
        while True:
            connection, transport = await self._connect()
            self.connected.set()
            await self._stay(connection)
            transport.abort()
            if not self._finishing.is_set():
                await asyncio.sleep(BACK_AFTER_S)

    async def _connect(self) -> tuple[Connection, asyncio.Transport]:
        kind = "quick" if self._finishing.is_set() else self.record.kind
        loop, link = asyncio.get_running_loop(), socket.socket()
        if kind in ("slow", "dead"):
            link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SLOW_BUFFER_BYTES)
        link.setblocking(False)
        await loop.sock_connect(link, ("127.0.0.1", self._crowd.port))
        rest_s = SLOW_REST_S if kind == "slow" else None
        transport, connection = await loop.create_connection(
            lambda: Connection(self.record, rest_s), sock=link
        )
        if kind == "dead":
            transport.pause_reading()
        transport.write(
            f"GET {self._crowd.path} HTTP/1.1\r\nHost: bench\r\n"
            f"Authorization: Bearer {self._crowd.token}\r\n"
            f"Last-Event-ID: {self.record.last}\r\n\r\n".encode()
        )
        return connection, transport

    async def _stay(self, connection: Connection) -> None:
        """As long as its kind stays, or the notifier keeps it. A dead one that was let go of
        stays away, for it cannot know."""
        finishing = asyncio.create_task(self._finishing.wait())
        stays_s = random.uniform(*FLAKY_STAYS_S) if self.record.kind == "flaky" else None
        if self._finishing.is_set():
            await connection.ended
        elif self.record.kind == "dead":
            await finishing
        else:
            await asyncio.wait(
                [connection.ended, finishing],
                timeout=stays_s,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if self.record.kind == "quick" and not connection.ended.done():
                await connection.ended
        finishing.cancel()


async def attend(crowd: Crowd) -> dict[str, Any]:
    """Play the whole crowd, and what it came to."""
    kinds = [
        kind for kind in ("quick", "slow", "dead", "flaky") for _ in range(getattr(crowd, kind))
    ]
    clients = [Client(crowd, kind) for kind in kinds]
    following = [asyncio.create_task(client.follow()) for client in clients]
    for client in clients:
        await client.connected.wait()
    print("ready", flush=True)
    _, last, numbered = (await asyncio.to_thread(sys.stdin.readline)).split()
    used_s = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
    for client in clients:
        client.finish()
    while any(client.record.last < int(last) for client in clients):
        if any(task.done() for task in following):
            break
        await asyncio.sleep(0.05)
    for task in following:
        task.cancel()
    await asyncio.gather(*following, return_exceptions=True)
    records = [client.record for client in clients]
    return told(records, used_s, delays_s(records, Path(numbered)))


def delays_s(records: list[Record], numbered: Path) -> list[float]:
    """From each change's numbering to its bytes at each quick client."""
    numbered_at = array("d", numbered.read_bytes())
    found = []
    for record in records:
        if record.kind != "quick":
            continue
        last = 0
        for at, end in zip(record.times, record.ends, strict=True):
            found += [at - numbered_at[sequence - 1] for sequence in range(last + 1, end + 1)]
            last = end
    return found


def told(records: list[Record], used_s: float, delays: list[float]) -> dict[str, Any]:
    """What came of it, for whoever started this."""
    return {
        "faults": [fault for record in records for fault in record.faults],
        "lasts": sorted({record.last for record in records}),
        "connections": {
            kind: sum(record.connections for record in records if record.kind == kind)
            for kind in ("quick", "slow", "dead", "flaky")
        },
        "told_lagging": sum(record.told_lagging for record in records),
        "p50_ms": quantile(delays, 0.50) * 1_000,
        "p99_ms": quantile(delays, 0.99) * 1_000,
        "max_ms": max(delays) * 1_000,
        "cpu_s": used_s,
    }


def main() -> None:
    crowd = Crowd(**orjson.loads(sys.argv[1]))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(orjson.dumps(runner.run(attend(crowd))).decode(), flush=True)


if __name__ == "__main__":
    main()
