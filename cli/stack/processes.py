"""Finds and ends what an earlier run of the same stack left behind, and never anything else."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from cli.stack.errors import StackError

PROC = Path("/proc")
POLL_S = 0.02
UNKILLABLE_S = 10.0

# Every process of a stack carries this variable, its value being the stack's own random id and
# the part's name. A pid can be taken over by a foreign process; this mark cannot.
MARK = "CACAH_STACK_PART"

Finder = Callable[[int], bool]


def marked(mark: str) -> Finder:
    """Tells the processes whose environment carries the mark (or one that begins with it)."""
    wanted = f"{MARK}={mark}".encode()

    def is_marked(pid: int) -> bool:
        try:
            environment = (PROC / str(pid) / "environ").read_bytes()
        except OSError:
            return False
        return any(entry.startswith(wanted) for entry in environment.split(b"\0"))

    return is_marked


def serving(data: Path) -> Finder:
    """Tells PostgreSQL's processes by their working directory: they overwrite their environment."""
    resolved = str(data.resolve())

    def is_serving(pid: int) -> bool:
        process = PROC / str(pid)
        try:
            return (
                os.readlink(process / "cwd") == resolved
                and (process / "comm").read_text().strip() == "postgres"
            )
        except OSError:
            return False

    return is_serving


def found(belongs: Finder) -> Iterator[int]:
    """The processes that belong, this one aside."""
    own = os.getpid()
    for entry in PROC.iterdir() if PROC.is_dir() else ():
        if entry.name.isdigit() and int(entry.name) != own and belongs(int(entry.name)):
            yield int(entry.name)


def send(pid: int, number: signal.Signals, belongs: Finder) -> None:
    """Signal the process, holding on to it while checking, so that a reused pid is never hit."""
    try:
        handle = os.pidfd_open(pid)
    except OSError:
        return
    try:
        if belongs(pid):
            signal.pidfd_send_signal(handle, number)
    except OSError:
        pass
    finally:
        os.close(handle)


def end_all(belongs: Finder, first: signal.Signals, grace_s: float) -> int:
    """Ask all that belong to end, insist after the grace, and answer how many there were."""
    pids = set(found(belongs))
    for pid in pids:
        send(pid, first, belongs)
    deadline = time.monotonic() + grace_s
    while remaining := list(found(belongs)):
        if time.monotonic() > deadline + UNKILLABLE_S:
            raise StackError(
                f"process {remaining[0]} of an earlier run does not end even when killed; "
                "restart the machine, or set CACAH_HOME to a new directory"
            )
        if time.monotonic() > deadline:
            for pid in remaining:
                send(pid, signal.SIGKILL, belongs)
        time.sleep(POLL_S)
    return len(pids)
