"""`cacah republish` against a registry as it runs in production."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import orjson
import pytest
from typer.testing import CliRunner

from cli.main import main
from tests.integration.test_registry import BATCH, OPERATOR, niks, settings
from tests.support.builders import registered
from tests.support.notifier_process import free_port
from tests.support.parts import CHECKOUT, Parts

WITHIN_S = 30


@contextmanager
def registry_process(parts: Parts, database: str) -> Iterator[str]:
    """A registry of its own; where it answers."""
    port, known = free_port(), settings(parts, database)
    assert known.vault_key is not None
    environment = {
        **os.environ,
        "CACAH_DATABASE_URL": parts.url(database),
        "CACAH_KAFKA_BOOTSTRAP": parts.kafka_bootstrap,
        "CACAH_OPERATOR_TOKEN": "operator",
        "CACAH_VAULT_KEY": known.vault_key.get_secret_value(),
        "CACAH_REGISTRY_PORT": str(port),
    }
    command = [sys.executable, "-m", "services.registry"]
    with subprocess.Popen(
        command, env=environment, cwd=CHECKOUT, stdout=subprocess.DEVNULL
    ) as process:
        try:
            until_ready(f"http://127.0.0.1:{port}")
            yield f"http://127.0.0.1:{port}"
        finally:
            process.send_signal(signal.SIGTERM)


def until_ready(url: str) -> None:
    deadline = time.monotonic() + WITHIN_S
    while time.monotonic() < deadline:
        try:
            if httpx.get(f"{url}/readyz").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise AssertionError("the registry did not become ready")


def test_it_ends_once_all_is_published_again_and_says_so(
    parts: Parts, database: str, topics: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with registry_process(parts, database) as url:
        body = orjson.dumps([registered(nik) for nik in niks(40)])
        httpx.post(f"{url}/v1/events", content=body, headers=BATCH | OPERATOR).raise_for_status()
        monkeypatch.setenv("CACAH_TOKEN", "operator")
        done = CliRunner().invoke(main, ["republish", "--from", "11", "--registry", url])
        assert done.exit_code == 0, done.output
        assert "from position 11 to 40 is published again" in done.stdout
        said = httpx.get(f"{url}/v1/republish/1", headers=OPERATOR).json()
        assert (said["reached"], said["reason"]) == (40, "asked-for")
        beyond = CliRunner().invoke(main, ["republish", "--from", "99", "--registry", url])
        assert beyond.exit_code == 2
        assert "beyond the log, which ends at position 40" in beyond.output.replace("\n", " ")


def test_without_a_registry_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CACAH_TOKEN", "operator")
    nowhere = f"http://127.0.0.1:{free_port()}"
    failed = CliRunner().invoke(main, ["republish", "--registry", nowhere])
    assert failed.exit_code == 2
    assert "cacah up" in failed.output.replace("\n", " ")
