"""`cacah import` into the whole running system, killed on the way: every resident once."""

import csv
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from cli.sample import Resident, residents
from cli.stack import Stack
from cli.stack.settings import CHECKOUT
from shared.region_codes import lies_in

SIZE: Final = 2_000
KILLS: Final = 3
WITHIN_S: Final = 180.0
POLL_S: Final = 0.01
AREA: Final = "15.01"


@pytest.fixture(scope="module")
def own_stack() -> Iterator[Stack]:
    """A system of its own: the others' account of what was sent must stay true."""
    with (
        tempfile.TemporaryDirectory(prefix="cacah-import-", ignore_cleanup_errors=True) as home,
        Stack(Path(home), ports="free") as running,
    ):
        yield running


def test_an_import_killed_on_the_way_registers_every_resident_once(
    own_stack: Stack, tmp_path: Path
) -> None:
    people = list(residents(SIZE, seed=5))
    file = write_list(tmp_path / "penduduk.csv", people)
    for kill in range(1, KILLS + 1):
        kill_on_the_way(own_stack, file, acknowledged=kill * SIZE // (KILLS + 2))
    own_stack.kill_part("registry", restart=True)
    ended = importing(own_stack, file)
    said, _ = ended.communicate(timeout=WITHIN_S)
    assert ended.returncode == 0, said
    assert "going on after row" in said

    log = read_log(own_stack)
    recorded = sum(person.recorded for person in people)
    assert Counter(entry["type"] for entry in log) == {
        "id.dukcapil.resident.registered": SIZE,
        "id.dukcapil.ktp.recorded": recorded,
    }
    assert len({entry["resident_id"] for entry in log}) == SIZE
    assert residents_of_villages(own_stack, len(log)) == Counter(
        person.registered_in for person in people if lies_in(person.registered_in, AREA)
    )
    assert_no_nik_told(own_stack, people, said)


def write_list(path: Path, people: list[Resident]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, delimiter=";")
        titles = "NIK", "Nama", "Tanggal Lahir", "JK", "Status Kawin", "Kode Desa", "KTP-el"
        rows.writerow(titles)
        for one in people:
            village = one.registered_in.replace(".", "")
            recorded = "S" if one.recorded else "B"
            biodata = one.nik, one.name, one.birth_date, one.sex, one.marital_status
            rows.writerow([*biodata, village, recorded])
    return path


def importing(stack: Stack, file: Path) -> "subprocess.Popen[str]":
    place = ["--registry", stack.urls["registry"], "--home", str(stack.home)]
    what = ["--station", "KRC-01", "--recordings", "--batch", "50"]
    return subprocess.Popen(
        [sys.executable, "-m", "cli.main", "import", str(file), *what, *place],
        cwd=CHECKOUT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def kill_on_the_way(stack: Stack, file: Path, acknowledged: int) -> None:
    """Start an import, and kill it once so many rows are acknowledged."""
    running = importing(stack, file)
    deadline = time.monotonic() + WITHIN_S
    while acknowledged_rows(stack) < acknowledged:
        assert running.poll() is None, running.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(POLL_S)
    running.kill()
    running.communicate()
    assert acknowledged_rows(stack) < SIZE, "it was done before it was killed"


def acknowledged_rows(stack: Stack) -> int:
    for kept in (stack.home / "imports").glob("*.json"):
        return int(json.loads(kept.read_text())["acknowledged"])
    return 0


def get(stack: Stack, service: str, path: str) -> Any:
    headers = {"Authorization": f"Bearer {stack.operator_token}"}
    answer = httpx.get(stack.urls[service] + path, headers=headers, timeout=30)
    answer.raise_for_status()
    return answer.json()


def read_log(stack: Stack) -> list[dict[str, Any]]:
    log: list[dict[str, Any]] = get(stack, "registry", "/v1/log?limit=10000")["events"]
    return log


def residents_of_villages(stack: Stack, position: int) -> Counter[str]:
    path = f"/v1/elections/pilkada-2024/villages?min_position={position}"
    villages = get(stack, "projections", path)["villages"]
    return Counter({row["village"]: row["residents"] for row in villages if row["residents"]})


def assert_no_nik_told(stack: Stack, people: list[Resident], said: str) -> None:
    """Neither the log, nor the screen, nor what is kept of the import, nor a log file."""
    kept = [*(stack.home / "imports").iterdir(), *(stack.home / "logs").glob("*.log")]
    told = [said, json.dumps(read_log(stack))]
    told += [path.read_text(errors="replace") for path in kept]
    for text in told:
        assert not any(person.nik in text for person in people)
