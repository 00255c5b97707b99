"""`cacah follow` and `cacah listen` refuse what cannot be, before anything is asked or written."""

import json
import os
import pty
import select
import signal
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cli.following.postgres_target import HIDDEN, without_password
from cli.main import main
from cli.stack.settings import CHECKOUT
from tests.support.feed_changes import ELECTION

SECRET = "s3cr3t"
WAIT_S = 30.0
NOWHERE = {"CACAH_NOTIFIER_URL": "http://127.0.0.1:9", "CACAH_TOKEN": "a token"}


def typed(*words: str, **environment: str) -> Any:
    return CliRunner().invoke(main, words, env=NOWHERE | environment)


def cursor(**members: Any) -> str:
    kept = {"election": ELECTION, "feed": "villages", "sequence": 3, "villages": {}} | members
    return json.dumps(kept)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--to", "changes.xlsx"], "--to is PATH.csv, PATH.jsonl, sqlite:///PATH"),
        (["--to", "https://kpu.example/changes.csv"], "--to is PATH.csv"),
        (["--to", "changes.csv", "--cursor", "c"], "a target keeps its own"),
        (["--voters", "--snapshot"], "leave it out to have all voters' changes"),
        (["--to", "/nowhere/changes.csv"], "/nowhere/changes.csv cannot be written"),
        (["--to", "sqlite:////nowhere/changes"], "sqlite:////nowhere/changes cannot be used"),
        (["--notifier", "localhost:8003"], "write http://host:port"),
        (["--token-file", "/nowhere/token"], "/nowhere/token cannot be read"),
    ],
)
def test_what_cannot_be_followed_is_said_in_a_sentence(words: list[str], said: str) -> None:
    ended = typed("follow", ELECTION, *words)
    assert ended.exit_code == 2
    assert ended.stderr.startswith("cacah follow: ")
    assert said in " ".join(ended.stderr.split())


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://kpu:{SECRET}@127.0.0.1:9/kpu",
        f"postgresql://kpu:1{SECRET}/x@127.0.0.1:9/kpu",
        f"postgresql://kpu:9/{SECRET}@127.0.0.1/kpu",
        f"postgresql://kpu:9?{SECRET}@127.0.0.1/kpu",
        f"postgresql://kpu@127.0.0.1:9/kpu?password={SECRET}",
    ],
)
def test_a_password_is_never_shown(url: str) -> None:
    ended = typed("follow", ELECTION, CACAH_FOLLOW_TO=url)
    assert ended.exit_code == 2
    assert SECRET not in ended.output + ended.stderr
    assert SECRET not in without_password(url)


def test_an_address_without_a_password_is_shown_as_the_database_that_it_is() -> None:
    assert without_password("postgresql://kpu:x@db:5433/kpu") == "postgresql://db:5433/kpu"
    assert without_password("postgresql:///kpu") == "postgresql://localhost:5432/kpu"
    assert without_password("postgresql://a:1/b@c/kpu") == HIDDEN


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            cursor(election="pilkada-2029"),
            "holds the villages of pilkada-2029 and not of pilkada-2024",
        ),
        (cursor(feed="voters", villages=None), "is the cursor of the voters"),
        (cursor(sequence="3"), "is no cursor that can be read"),
        (cursor()[:-9], "is no cursor that can be read"),
        ("[]", "is no cursor that can be read"),
    ],
)
def test_a_cursor_of_something_else_is_refused_and_left(
    tmp_path: Path, content: str, said: str
) -> None:
    path = tmp_path / "cursor"
    path.write_text(content)
    ended = typed("follow", ELECTION, "--cursor", str(path))
    assert ended.exit_code == 2
    assert said in " ".join(ended.stderr.split())
    assert path.read_text() == content


@pytest.mark.parametrize(
    ("forward", "said"),
    [
        ("http://8.8.8.8/hook", "neither this machine nor a private network"),
        ("http://169.254.169.254/", "neither this machine nor a private network"),
        ("http://[::ffff:8.8.8.8]/", "neither this machine nor a private network"),
        ("ftp://127.0.0.1/", "url must begin with https://"),
        ("http://kpu:x@127.0.0.1/", "must not hold a user name or password"),
    ],
)
def test_changes_are_forwarded_to_local_addresses_alone(forward: str, said: str) -> None:
    ended = typed("listen", "--forward", forward)
    assert ended.exit_code == 2
    assert said in " ".join(ended.stderr.split())


def test_a_secret_that_is_too_short_is_refused_by_listen() -> None:
    ended = typed("listen", "--forward", "http://127.0.0.1:9", CACAH_LISTEN_SECRET="whsec_YQ==")
    assert ended.exit_code == 2
    assert "holds 1 bytes" in ended.stderr


def test_on_a_terminal_a_table_says_what_it_waits_for_and_ctrl_c_ends_it() -> None:
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    follower = subprocess.Popen(
        [sys.executable, "-m", "cli.main", "follow", ELECTION],
        env=os.environ | NOWHERE | {"TERM": "xterm"},
        cwd=CHECKOUT,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    try:
        seen = b""
        while b"menunggu" not in seen:
            assert select.select([ours], [], [], WAIT_S)[0], seen
            seen += os.read(ours, 65_536)
        follower.send_signal(signal.SIGINT)
        assert follower.wait(WAIT_S) == 0
    finally:
        follower.kill()
        follower.wait()
        os.close(ours)
    assert "Perubahan terakhir" in seen.decode("utf-8", "replace")
