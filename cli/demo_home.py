"""The demo's own directory: emptied at the start of each run, and never any directory of others."""

import os
import shutil
import signal
from pathlib import Path
from typing import Final

from cli.stack import processes
from cli.stack.errors import StackError
from cli.stack.home import holder

MARK: Final = "made-by-cacah-demo"

# By these an interrupted run's processes are known again, and two runs kept apart.
KEPT: Final = frozenset({MARK, "lock", "stack-id"})

LEFT_OVER_ENDS_WITHIN_S: Final = 10.0


def empty(home: Path) -> bool:
    """Remove what an earlier demo left; whether there was anything. Raises StackError."""
    if (pid := holder(home)) is not None:
        raise StackError(
            f"a stack is already running in {home} (pid {pid}); "
            f"stop it with `CACAH_HOME={home} cacah down`, or give --home another directory"
        )
    _end_left_over(home)
    found = list(home.iterdir()) if home.is_dir() else []
    if found and not (home / MARK).exists():
        raise StackError(
            f"{home} holds something that no demo made, and a demo empties its directory; "
            "give --home a directory of its own"
        )
    try:
        home.mkdir(parents=True, exist_ok=True)
        (home / MARK).touch()
        for path in found:
            _remove(path)
    except OSError as error:
        raise StackError(
            f"cannot make or empty {home} ({error.strerror}); give --home a directory of its own"
        ) from error
    return any(path.name not in KEPT for path in found)


def _end_left_over(home: Path) -> None:
    """End what a killed demo left running: it would write into the directory again."""
    identity = home / "stack-id"
    if (home / MARK).exists() and identity.exists():
        belongs = processes.marked(identity.read_text().strip())
        processes.end_all(belongs, signal.SIGTERM, LEFT_OVER_ENDS_WITHIN_S)
        processes.end_all(
            processes.serving(home / "postgres"), signal.SIGINT, LEFT_OVER_ENDS_WITHIN_S
        )


def _remove(path: Path) -> None:
    if path.name in KEPT:
        return
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def write_secret(path: Path, secret: str) -> None:
    """Write a file that its owner alone can read."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(secret + "\n")
