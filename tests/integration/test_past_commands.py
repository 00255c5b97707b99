"""`cacah as-of` and `cacah explain` as a person types them, asking a real projections process."""

import asyncio
import csv
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

from shared.counts import Counts
from shared.elections import PILKADA_2024
from tests.integration.test_elections import expected
from tests.integration.test_projections import World, free_port, process
from tests.support.facts import LEMPUR_HILIR, LEMPUR_TENGAH, entry, registration
from tests.support.parts import CHECKOUT, Parts
from tests.support.projections_service import HEADERS, TOKEN

SOMEBODY, OTHER = UUID(int=1), UUID(int=2)
ENTRIES = [
    registration(1, SOMEBODY),
    entry("ktp.recorded", 2, SOMEBODY),
    registration(3, OTHER, birth_date="2010-01-01"),
    entry("resident.married", 4, OTHER, married_on="2024-05-01"),
    entry(
        "resident.relocated",
        5,
        SOMEBODY,
        to_village=LEMPUR_HILIR,
        effective_date="2024-05-01",
        letter_no="1",
    ),
]


@pytest.fixture
def world(parts: Parts, database: str, topics: None) -> World:
    return World(parts, database)


@pytest.fixture
def address(world: World) -> Iterator[str]:
    """A projections process that has counted five events."""
    port = free_port()
    base = f"http://127.0.0.1:{port}"
    with process(world, port):
        asyncio.run(_counted(world, base))
        yield base


async def _counted(world: World, base: str) -> None:
    await world.send(*ENTRIES)
    async with httpx.AsyncClient(base_url=base, headers=HEADERS) as http, asyncio.timeout(60):
        while True:
            try:
                answer = await http.get("/v1/elections/pilkada-2024/total?min_position=5")
                if answer.status_code == 200:
                    return
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.1)


def typed(*words: str, address: str, token: str | None = TOKEN, home: Path | None = None) -> Any:
    """What a command of `cacah` prints and how it ends."""
    given = {"CACAH_PROJECTIONS_URL": address} | ({"CACAH_TOKEN": token} if token else {})
    clean = {name: value for name, value in os.environ.items() if not name.startswith("CACAH_")}
    return subprocess.run(
        [sys.executable, "-m", "cli.main", *words, *(("--home", str(home)) if home else ())],
        env=clean | given,
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_the_tallies_of_then_as_a_table_as_csv_and_as_json(address: str) -> None:
    then = expected(ENTRIES[:3], PILKADA_2024)[LEMPUR_TENGAH]
    ended = typed("as-of", "3", "--village", LEMPUR_TENGAH, address=address)
    assert ended.returncode == 0, ended.stderr
    title, heading, row, *_ = ended.stdout.splitlines()
    assert title == "pilkada-2024 as of 3: position 3"
    assert heading.split()[:4] == ["village", "name", "residents", "eligible"]
    assert row.split()[:5] == [LEMPUR_TENGAH, "Lempur", "Tengah", "2", "1"]
    ended = typed("as-of", ENTRIES[2].recorded_at.isoformat(), "--csv", address=address)
    rows = {line["village"]: line for line in csv.DictReader(io.StringIO(ended.stdout))}
    assert len(rows) == 287
    told = Counts(*(int(rows[LEMPUR_TENGAH][name]) for name in Counts._fields))
    assert told == then
    ended = typed("as-of", "3", "--district", "15.01.16", "--json", address=address)
    answer = json.loads(ended.stdout)
    assert answer["position"] == 3
    assert {line["district"] for line in answer["villages"]} == {"15.01.16"}


def test_several_villages_have_a_sum(address: str) -> None:
    words = ("as-of", "5", "--village", LEMPUR_TENGAH, "--village", LEMPUR_HILIR)
    ended = typed(*words, address=address)
    assert ended.stdout.splitlines()[-1].split()[:3] == ["together", "2", "2"]


def test_the_difference_is_explained_by_class_and_adds_up(address: str) -> None:
    ended = typed("explain", LEMPUR_TENGAH, address=address)
    assert ended.returncode == 0, ended.stderr
    lines = [re.sub(r"  +", " | ", line.strip()) for line in ended.stdout.splitlines()]
    assert lines[0] == (
        f"{LEMPUR_TENGAH} Lempur Tengah, pilkada-2024: after position 0 up to position 5"
    )
    assert any(line.startswith("became eligible: married | 1 | eligible +1,") for line in lines)
    assert any(
        line.startswith("2 | ")
        and str(SOMEBODY) in line
        and line.endswith("recorded | eligible_recorded +1, eligible_unrecorded -1")
        for line in lines
    )
    assert any(f"moved out to {LEMPUR_HILIR}" in line for line in lines)
    assert "residents | 0 | +1 | 1" in lines
    assert lines[-1] == "before + 5 events = after: yes, in every count"
    ended = typed("explain", LEMPUR_TENGAH, "--from", "2", "--to", "4", address=address)
    assert "before + 2 events = after: yes" in ended.stdout
    ended = typed("explain", LEMPUR_HILIR, address=address)
    assert f"moved in from {LEMPUR_TENGAH}" in ended.stdout


def test_what_cannot_be_answered_is_said_in_one_sentence(address: str, tmp_path: Path) -> None:
    elsewhere = f"http://127.0.0.1:{free_port()}"
    cases = [
        (typed("as-of", "2024-06-24", address=address), "as_of is a date alone"),
        (typed("as-of", "6", address=address), "as_of lies beyond the end of the log, which is 5"),
        (typed("as-of", "1", "--village", "x", address=address), "--village x is not in"),
        (typed("as-of", "1", "--csv", "--json", address=address), "choose one of"),
        (typed("as-of", "1", "--election", "none", address=address), "no such election"),
        (typed("as-of", "1", "--election", "a/b?c", address=address), "neither an election"),
        (typed("explain", LEMPUR_TENGAH, "--from", "9", address=address), "from lies beyond"),
        (typed("explain", "15.01", address=address), "no such village"),
        (typed("explain", LEMPUR_TENGAH, address=elsewhere), "no projections answer"),
        (typed("as-of", "1", address=address, token="wrong"), "oken"),
        (typed("as-of", "1", address=address, token=None, home=tmp_path), "no token"),
    ]
    for ended, said in cases:
        assert ended.returncode == 2, said
        assert said in ended.stderr
        assert len(ended.stderr.splitlines()) == 1, ended.stderr
        assert ended.stdout == ""
