"""What the numbers were measured on: the machine, the versions, and the memory of each process."""

import os
import platform
import time
from importlib.metadata import version
from pathlib import Path
from typing import Final

from cli.stack import Stack, kafka
from shared.web import VERSION
from tests.bench.floors import connection_to

PROC: Final = Path("/proc")
TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")

LIBRARIES: Final = ("asyncpg", "aiokafka", "fastapi", "uvicorn", "eventsourcing", "psycopg")
SERVER_SETTINGS: Final = ("server_version", "fsync", "synchronous_commit")


def machine() -> dict[str, str]:
    """What it is."""
    return {
        "cores": f"{cores()} ({_cpu_name()})",
        "memory": f"{_field(PROC / 'meminfo', 'MemTotal') // 1_000_000} GB",
        "system": platform.platform(terse=True),
    }


def _cpu_name() -> str:
    for line in (PROC / "cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _field(path: Path, name: str) -> int:
    """A number of kB from a file of /proc."""
    for line in path.read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1])
    return 0


async def versions(dsn: str) -> dict[str, str]:
    """What ran, and how PostgreSQL was told to keep what it answers for."""
    async with connection_to(dsn) as connection:
        told = {name: str(await connection.fetchval(f"SHOW {name}")) for name in SERVER_SETTINGS}
    return {
        "postgresql": "{server_version}, fsync {fsync}, synchronous_commit {synchronous_commit}"
        "".format(**told),
        "kafka": kafka.version(),
        "python": platform.python_version(),
        "cacah": VERSION,
        **{name: version(name) for name in LIBRARIES},
    }


def cpu_s(stack: Stack) -> dict[str, float]:
    """The processor time that each part has taken so far, and this program."""
    used = {name: _cpu_of(pid) for name, pid in _pids(stack).items()}
    used["postgres"] += sum(_cpu_of(pid) for pid in _children(_pids(stack)["postgres"]))
    used["this program"] = _cpu_of(os.getpid())
    return used


def _cpu_of(pid: int) -> float:
    """Its own, and that of its children that have ended."""
    try:
        fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(map(int, fields[11:15])) / TICKS_PER_S


class Watch:
    """Tells how much of the machine was taken by what is not measured: it makes all slower."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._began_at, self._others_s = time.monotonic(), self._now_s()

    def others_percent(self) -> float:
        """Since the beginning, of all cores."""
        seconds = time.monotonic() - self._began_at
        return (self._now_s() - self._others_s) / (seconds * cores()) * 100

    def _now_s(self) -> float:
        return busy_s() - sum(cpu_s(self._stack).values())


def busy_s() -> float:
    """The processor time that everything on this machine has taken so far."""
    user, nice, system, _, _, *interrupts = map(
        int, (PROC / "stat").read_text().splitlines()[0].split()[1:9]
    )
    return (user + nice + system + sum(interrupts)) / TICKS_PER_S


def cores() -> int:
    return len(os.sched_getaffinity(0))


def memory_mb(stack: Stack) -> dict[str, float]:
    """The resident memory of each part, and of this program that measured them.

    PostgreSQL is many processes over one shared buffer: what they share is counted once.
    """
    pids = _pids(stack)
    measured = {
        name: _field(PROC / str(pid) / "status", "VmRSS") / 1_000
        for name, pid in pids.items()
        if name != "postgres"
    }
    tree = [pids["postgres"], *_children(pids["postgres"])]
    measured["postgres"] = sum(_shared_once_kb(pid) for pid in tree) / 1_000
    measured["this program"] = _field(PROC / "self" / "status", "VmRSS") / 1_000
    return measured


def _pids(stack: Stack) -> dict[str, int]:
    return {name: pid for name in stack.names if (pid := stack.pid(name)) is not None}


def _children(pid: int) -> list[int]:
    return [
        int(directory.name)
        for directory in PROC.iterdir()
        if directory.name.isdecimal() and _parent(directory) == pid
    ]


def _parent(directory: Path) -> int:
    try:
        return _field(directory / "status", "PPid")
    except OSError:
        return 0


def _shared_once_kb(pid: int) -> int:
    try:
        return _field(PROC / str(pid) / "smaps_rollup", "Pss")
    except OSError:
        return 0


def tree_mb(pid: int) -> float:
    """The memory of a process and all that it started, what they share counted once."""
    total_kb, waiting = 0, [pid]
    while waiting:
        one = waiting.pop()
        total_kb += _shared_once_kb(one)
        waiting += _children(one)
    return total_kb / 1_000
