"""The registry as a process of its own, for commands that reach it over HTTP."""

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import httpx

from tests.support.parts import CHECKOUT, Parts

STARTED_WITHIN_S: Final = 30.0
STOPPED_WITHIN_S: Final = 20.0


@contextlib.contextmanager
def registry_process(
    parts: Parts, database: str, secrets: Mapping[str, str], said: Path
) -> Iterator[str]:
    """A running registry's address; what it says goes to the file `said`."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    told = {
        "CACAH_DATABASE_URL": parts.url(database),
        "CACAH_KAFKA_BOOTSTRAP": parts.kafka_bootstrap,
        "CACAH_REGISTRY_PORT": str(port),
        **secrets,
    }
    with (
        said.open("wb") as output,
        subprocess.Popen(
            [sys.executable, "-m", "services.registry"],
            env={**os.environ, **told},
            cwd=CHECKOUT,
            stdout=output,
            stderr=subprocess.STDOUT,
        ) as process,
    ):
        try:
            _wait_for(f"http://127.0.0.1:{port}", process)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(STOPPED_WITHIN_S)


def _wait_for(address: str, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + STARTED_WITHIN_S
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(httpx.TransportError):
            httpx.get(f"{address}/healthz")
            return
        time.sleep(0.05)
    raise AssertionError("the registry did not start")
