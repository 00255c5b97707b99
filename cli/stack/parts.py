"""One part of the stack, and the keeper that starts it, watches it and starts it again."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from cli.stack import processes
from cli.stack.errors import InterruptedStartError, StackError

LAUNCHER = Path(__file__).with_name("launch.py")
POLL_S = 0.05
PROBE_TIMEOUT_S = 2.0
BACK_OFF_FIRST_S = 0.5
BACK_OFF_MOST_S = 30.0
# A part that stayed up this long is healthy: its next death is a new one and waits little.
HEALTHY_AFTER_S = 60.0
TAIL_LINES = 12
LOG_MOST_BYTES = 20_000_000

# Answers None when the part is ready, else what it still waits for.
Probe = Callable[[], str | None]


@dataclass(frozen=True)
class Account:
    """The account that a part runs as where the supervisor is root and the part refuses to be."""

    uid: int
    gid: int
    reach: bool  # whether its files lie below a directory that only root may enter


@dataclass(frozen=True)
class Part:
    """What the supervisor must know of one child process."""

    name: str
    command: Sequence[str]
    env: Mapping[str, str]
    ready: str | Probe  # a URL that answers 200, or a probe
    where: str = ""  # the address shown to people
    prepare: Callable[["Keeper"], None] | None = None  # before each start
    left_over: processes.Finder | None = None  # knows processes of this part by other signs
    account: Account | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    stop_timeout_s: float = 15.0
    start_timeout_s: float = 60.0
    cwd: Path | None = None


def http_probe(url: str) -> Probe:
    """Asks a service whether it is ready, and passes on what it says it waits for."""

    def probe() -> str | None:
        try:
            with urllib.request.urlopen(url, timeout=PROBE_TIMEOUT_S):  # noqa: S310 - our own address
                return None
        except urllib.error.HTTPError as error:
            return waiting_for(error.read()) or f"{url} answers {error.code}"
        except OSError:
            return f"no answer at {url}"

    return probe


def waiting_for(body: bytes) -> str | None:
    """What a service's readiness answer names, if it names anything."""
    with contextlib.suppress(orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        return "waiting for " + ", ".join(orjson.loads(body)["waiting_for"])
    return None


def tail(log: Path) -> str:
    """The last lines of a log, to be shown where its writer failed."""
    if not log.exists():
        return ""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 16_384))
        lines = file.read().decode(errors="replace").splitlines()
    return "\n".join(f"    {line}" for line in lines[-TAIL_LINES:])


def rotate(log: Path) -> None:
    """Keep one earlier log: that of the run before."""
    if log.exists() and log.stat().st_size > 0:
        log.replace(log.with_name(f"{log.name}.1"))


def bound(log: Path) -> None:
    """Cut a log that grew too long under a running part, keeping its latest bytes beside it."""
    if not log.exists() or log.stat().st_size < LOG_MOST_BYTES:
        return
    with log.open("r+b") as file:
        file.seek(-LOG_MOST_BYTES // 2, os.SEEK_END)
        log.with_name(f"{log.name}.1").write_bytes(file.read())
        # The writer appends, so it goes on at the new end.
        file.truncate(0)


def ended(status: int) -> str:
    """How a process ended, in words."""
    if status >= 0:
        return f"ended with status {status}"
    return f"was ended by {signal.Signals(-status).name}"


@dataclass
class Keeper:
    """Keeps one part running, in one thread that lives as long as the part may.

    The thread matters: the kernel ends a child when the *thread* that started it ends, which is
    what takes the parts along when the supervisor is killed.
    """

    part: Part
    stack_id: str
    log: Path
    announce: Callable[[str], None]
    restart: bool = True

    wanted: bool = False
    ready: bool = False
    failure: str | None = None
    waits_for: str | None = None
    process: subprocess.Popen[bytes] | None = None
    starts: int = 0
    # Whether it was ready since it was last asked for: what never was is given up, not retried.
    _seen_ready: bool = False
    _closed: bool = False
    _change: threading.Condition = field(default_factory=threading.Condition)
    _thread: threading.Thread | None = None

    @property
    def mark(self) -> str:
        """The value that the part's processes carry in their environment."""
        return f"{self.stack_id}/{self.part.name}"

    @property
    def pid(self) -> int | None:
        """The running process, once it is the part itself."""
        process = self.process
        return process.pid if process is not None and process.returncode is None else None

    def want(self) -> None:
        """Have the part running from now on."""
        with self._change:
            if not self.wanted:
                self.wanted, self.failure, self._seen_ready = True, None, False
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._keep, name=f"keeper of {self.part.name}", daemon=True
                )
                self._thread.start()
            self._change.notify_all()

    def stop(self) -> None:
        """End the part in its own way, insisting when its time is up, and keep it down."""
        self._unwant()
        self._signal(self.part.stop_signal)
        if not self._wait_gone(self.part.stop_timeout_s):
            self.announce(
                f"{self.part.name} did not stop within {self.part.stop_timeout_s:.0f} s "
                "and was killed"
            )
            self._signal(signal.SIGKILL)
            self._wait_gone(PROBE_TIMEOUT_S)
        self._end_left_over()

    def kill(self, *, restart: bool) -> None:
        """SIGKILL, as a power cut would: the keeper starts the part again, or leaves it dead."""
        process = self.process
        if not restart:
            self._unwant()
        self._signal(signal.SIGKILL)
        deadline = time.monotonic() + self.part.stop_timeout_s
        while process is not None and process.returncode is None and time.monotonic() < deadline:
            time.sleep(POLL_S / 10)

    def close(self) -> None:
        """Stop the part and the keeper's own thread."""
        self.stop()
        with self._change:
            self._closed = True
            self._change.notify_all()
        if self._thread is not None:
            self._thread.join(self.part.stop_timeout_s)

    def run(
        self,
        command: Sequence[str],
        *,
        env: Mapping[str, str],
        until: Probe | None = None,
        timeout_s: float | None = None,
    ) -> int:
        """Run a step that prepares the part, in its account and into its log; answer the status.

        A step that would run for ever is asked to end once the probe `until` is satisfied.
        """
        with self.log.open("ab") as log:
            process = self._spawn(command, env, log.fileno(), self.part.account)
        try:
            deadline = time.monotonic() + (timeout_s or self.part.start_timeout_s)
            while until is not None and process.poll() is None and until() is not None:
                if time.monotonic() > deadline:
                    break
                time.sleep(POLL_S)
            if until is not None:
                process.send_signal(self.part.stop_signal)
            return process.wait()
        finally:
            with self._change:
                self.process = None
                self._change.notify_all()
            if not self.wanted:
                raise InterruptedStartError(
                    f"{self.part.name} was stopped while it was being prepared"
                )

    def _unwant(self) -> None:
        with self._change:
            self.wanted = self.ready = False
            self._change.notify_all()

    def _signal(self, number: signal.Signals) -> None:
        process = self.process
        if process is not None:
            process.send_signal(number)

    def _wait_gone(self, timeout_s: float) -> bool:
        with self._change:
            return self._change.wait_for(lambda: self.process is None, timeout_s)

    def _end_left_over(self) -> None:
        for belongs in (processes.marked(self.mark), self.part.left_over):
            if belongs is not None:
                processes.end_all(belongs, self.part.stop_signal, self.part.stop_timeout_s)

    def _keep(self) -> None:
        back_off_s = BACK_OFF_FIRST_S
        while self._wait_wanted():
            began = time.monotonic()
            how = self._live_once()
            self.ready = False
            if not self.wanted:
                continue
            if not self.restart or (not self._seen_ready and self.failure is not None):
                self._unwant()
                continue
            if time.monotonic() - began > HEALTHY_AFTER_S:
                back_off_s = BACK_OFF_FIRST_S
            self.announce(f"{self.part.name} {how}; starting it again in {back_off_s:g} s")
            with self._change:
                self._change.wait_for(lambda: not self.wanted or self._closed, back_off_s)
            back_off_s = min(back_off_s * 2, BACK_OFF_MOST_S)

    def _wait_wanted(self) -> bool:
        with self._change:
            self._change.wait_for(lambda: self.wanted or self._closed)
            return not self._closed

    def _live_once(self) -> str:
        """Start the part, see it ready, and answer how it ended."""
        self.starts += 1
        try:
            if self.part.prepare is not None:
                self.part.prepare(self)
            with self.log.open("ab") as log:
                process = self._spawn(
                    self.part.command, self.part.env, log.fileno(), self.part.account
                )
            self._await_ready(process)
            how = ended(process.wait())
        except StackError as error:
            how = f"could not be started ({error})"
            self._fail(str(error))
        except Exception as error:
            # A fault of ours must be seen by those who wait for the part, not die with a thread.
            how = f"could not be started ({error!r})"
            self._fail(f"{self.part.name} could not be started ({error!r}); see {self.log}")
        finally:
            with self._change:
                self.process = None
                self._change.notify_all()
        return how

    def _spawn(
        self, command: Sequence[str], env: Mapping[str, str], log: int, account: Account | None
    ) -> subprocess.Popen[bytes]:
        run_as = "-" if account is None else f"{account.uid}:{account.gid}:{int(account.reach)}"
        launch = [sys.executable, "-I", "-S", str(LAUNCHER), str(os.getpid())]
        process = subprocess.Popen(  # noqa: S603 - the commands are our own
            [*launch, str(int(self.part.stop_signal)), run_as, *command],
            env={**env, processes.MARK: self.mark},
            cwd=self.part.cwd,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            # Its own session: Ctrl-C reaches the supervisor alone, which then stops all in order.
            start_new_session=True,
        )
        self.process = process
        if not self.wanted:
            process.send_signal(self.part.stop_signal)
        return process

    def _await_ready(self, process: subprocess.Popen[bytes]) -> None:
        """Watch until the part is ready; only a first start is given up when it takes too long."""
        probe = http_probe(self.part.ready) if isinstance(self.part.ready, str) else self.part.ready
        deadline = time.monotonic() + self.part.start_timeout_s
        while process.poll() is None and self.wanted:
            self.waits_for = probe()
            if self.waits_for is None:
                self._become_ready()
                return
            if not self._seen_ready and time.monotonic() > deadline:
                self._fail(
                    f"{self.part.name} was not ready within {self.part.start_timeout_s:.0f} s "
                    f"({self.waits_for})" + self._log_tail()
                )
                process.send_signal(signal.SIGKILL)
                return
            time.sleep(POLL_S)
        if self.wanted and not self._seen_ready:
            self._fail(f"{self.part.name} {ended(process.wait())}" + self._log_tail())

    def _log_tail(self) -> str:
        return f"; its log is {self.log} and ends so:\n{tail(self.log)}"

    def _become_ready(self) -> None:
        with self._change:
            self.ready, self._seen_ready, self.failure = True, True, None
            self._change.notify_all()
        again = "ready again" if self.starts > 1 else "ready"
        self.announce(f"{self.part.name} is {again}" + (self.part.where and f": {self.part.where}"))

    def _fail(self, reason: str) -> None:
        with self._change:
            self.failure = reason
            self._change.notify_all()
