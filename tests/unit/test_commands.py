"""`cacah` reads the module of the command that is called, and of no other."""

import subprocess
import sys

import pytest

from cli.main import COMMANDS, GROUPS

READ = "import sys; sys.argv = ['cacah', *sys.argv[1:]]; import cli.main; print(*sys.modules)"


def modules_read(*words: str) -> set[str]:
    ended = subprocess.run(
        [sys.executable, "-c", READ, *words], capture_output=True, text=True, check=True
    )
    return set(ended.stdout.split())


@pytest.mark.parametrize("name", ["as-of", "tokens"])
def test_a_command_is_read_alone(name: str) -> None:
    read = modules_read(name)
    assert (COMMANDS | GROUPS)[name].partition(":")[0] in read
    assert not {"cli.demo", "cli.following.command", "cli.replay"} & read


@pytest.mark.parametrize("words", [(), ("--help",), ("nonsense",)])
def test_where_none_is_called_all_can_be_told(words: tuple[str, ...]) -> None:
    places = {place.partition(":")[0] for place in (COMMANDS | GROUPS).values()}
    assert places <= modules_read(*words)
