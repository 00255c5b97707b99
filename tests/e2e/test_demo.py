"""The demo, from nothing to its proofs, as a stranger runs it without a terminal."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cli.stack.ports import choose_free
from cli.stack.settings import CHECKOUT, PORT_SETTINGS

WITHIN_S = 240


@pytest.fixture
def demo_environment() -> dict[str, str]:
    ports = choose_free("127.0.0.1")
    return os.environ | {PORT_SETTINGS[field]: str(port) for field, port in ports.items()}


def test_the_demo_proves_itself_and_leaves_nothing_running(
    tmp_path: Path, demo_environment: dict[str, str]
) -> None:
    home = tmp_path / "demo"
    arguments = ["demo", "--residents", "500", "--exit", "--home", str(home)]
    done = subprocess.run(
        [sys.executable, "-m", "cli.main", *arguments],
        env=demo_environment,
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for letter in "abc":
        assert f"ok      ({letter})" in done.stdout
    assert "All proofs held." in done.stdout
    assert "\x1b" not in done.stdout
    assert not done.stderr
    assert not _left_running(home)


def _left_running(home: Path) -> list[str]:
    processes = subprocess.run(
        ["ps", "-eo", "args"], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    return [line for line in processes if str(home) in line]
