"""CACAH_HOME: its lock, its secrets, and the checks that come before anything is started."""

import base64
import contextlib
import fcntl
import os
import secrets
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from cli.stack.errors import StackError

LEAST_FREE_BYTES = 1_000_000_000
VAULT_KEY_BYTES = 32
WEBHOOK_KEY_BYTES = 32
STOP_TIMEOUT_S = 90.0


def prepare(home: Path) -> None:
    """Make the directories, or say why they cannot be made or written to."""
    try:
        home.mkdir(parents=True, exist_ok=True)
        for name, mode in (("logs", 0o700), ("kafka", 0o700)):
            (home / name).mkdir(mode=mode, exist_ok=True)
        probe = home / f".probe-{os.getpid()}"
        probe.write_bytes(b"x")
        probe.unlink()
    except OSError as error:
        raise StackError(
            f"cannot write to {home} ({error.strerror}); give your account the right to, "
            "or set CACAH_HOME to a directory of your own"
        ) from error
    free = shutil.disk_usage(home).free
    if free < LEAST_FREE_BYTES:
        raise StackError(
            f"only {free // 1_000_000} MB are free on the disk of {home}; free at least "
            f"{LEAST_FREE_BYTES // 1_000_000} MB, or set CACAH_HOME to a directory on another disk"
        )


@contextlib.contextmanager
def locked(home: Path) -> Iterator[None]:
    """Hold the home for one supervisor; the kernel lets go of it however that one ends."""
    try:
        descriptor = os.open(home / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    except PermissionError as error:
        raise StackError(
            f"{home} was made by another account; run this as that account, "
            "or set CACAH_HOME to a directory of your own"
        ) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(descriptor, 32, 0).decode().strip() or "unknown"
            raise StackError(
                f"a stack is already running in {home} (pid {holder}); "
                "stop it with `cacah down`, or set CACAH_HOME to run another beside it"
            ) from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
        os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def holder(home: Path) -> int | None:
    """The pid of the supervisor that runs in this home, if one does."""
    try:
        descriptor = os.open(home / "lock", os.O_RDWR)
    except FileNotFoundError:
        return None
    except PermissionError as error:
        raise StackError(
            f"{home} belongs to another account; run this as that account or as root"
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return None
    except OSError:
        text = os.pread(descriptor, 32, 0).decode().strip()
        return int(text) if text.isdigit() else None
    finally:
        os.close(descriptor)


def stop_holder(home: Path) -> int | None:
    """Ask the supervisor of this home to stop, wait until it has, and answer its pid."""
    pid = holder(home)
    if pid is None:
        return None
    try:
        os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        return None
    except PermissionError as error:
        raise StackError(
            f"the stack in {home} (pid {pid}) belongs to another account; "
            "stop it as that account or as root"
        ) from error
    deadline = time.monotonic() + STOP_TIMEOUT_S
    while holder(home) == pid:
        if time.monotonic() > deadline:
            raise StackError(
                f"the stack in {home} (pid {pid}) has not stopped within {STOP_TIMEOUT_S:.0f} s; "
                f"look into {home / 'logs'}, then end it with `kill -9 {pid}`"
            )
        time.sleep(0.1)
    return pid


def kept(path: Path, make: str) -> str:
    """The secret in the file, written there the first time, readable by its owner alone."""
    if path.exists():
        return path.read_text().strip()
    partial = path.with_name(f"{path.name}.{os.getpid()}")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(make + "\n")
        file.flush()
        os.fsync(file.fileno())
    partial.rename(path)
    return make


def identity(home: Path) -> str:
    """A random name of this home, by which its processes are known again."""
    return kept(home / "stack-id", secrets.token_hex(16))


def operator_token(home: Path, given: str | None) -> str:
    """The operator's token: the one given, else one generated once."""
    return given or kept(home / "operator-token", secrets.token_urlsafe(32))


def vault_key(home: Path, given: str | None, has_data: bool) -> str:
    """The key of names and NIKs: never made anew over data that only the old one can open."""
    path = home / "vault-key"
    if given is not None:
        require_vault_key(given)
        if path.exists() and path.read_text().strip() != given:
            raise StackError(
                f"CACAH_VAULT_KEY differs from {path}, which the data were written with; "
                "unset CACAH_VAULT_KEY, or set CACAH_HOME to a new directory"
            )
        return given
    if not path.exists() and has_data:
        raise StackError(
            f"{path} is missing, and without it the names and NIKs in {home} cannot be read; "
            "restore that file from your backup, or set CACAH_VAULT_KEY to its content"
        )
    key = base64.b64encode(secrets.token_bytes(VAULT_KEY_BYTES)).decode()
    return kept(path, key)


def webhook_key(home: Path, given: str | None) -> str:
    """The key of the webhooks' secrets: the one given, else one generated once."""
    made = base64.b64encode(secrets.token_bytes(WEBHOOK_KEY_BYTES)).decode()
    return given or kept(home / "webhook-key", made)


def require_vault_key(key: str) -> None:
    """Refuse a vault key that is not what the registry needs, before anything starts."""
    try:
        length = len(base64.b64decode(key, validate=True))
    except ValueError:
        length = 0
    if length != VAULT_KEY_BYTES:
        raise StackError(
            f"CACAH_VAULT_KEY must be {VAULT_KEY_BYTES} random bytes in base64; make one with "
            f"`openssl rand -base64 {VAULT_KEY_BYTES}`, or leave it unset"
        )
