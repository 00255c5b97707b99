"""`cacah compare` and `cacah supplement` as a person types them, asking real processes."""

import asyncio
import base64
import contextlib
import csv
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final
from uuid import UUID

import httpx
import orjson
import pytest
from typer.testing import CliRunner, Result

from cli.main import main
from services.notifier.domain.voters import VoterRecord
from tests.integration.test_registry import MASTER_KEY, niks
from tests.support.builders import registered
from tests.support.import_files import workbook
from tests.support.notifier_process import OPERATOR_TOKEN, WAIT_S, free_port
from tests.support.parts import CHECKOUT, Parts
from tests.support.registry_process import registry_process
from tests.support.told_voters import notifier_database, says, tell_voters

HERE, THERE = "15.01.01.2001", "15.01.05.2004"
DIED, MOVED = "id.dukcapil.resident.died", "id.dukcapil.resident.relocated"
NIKS: Final = niks(4)
NOBODYS: Final = NIKS[3]
SENT: Final = {
    "Authorization": f"Bearer {OPERATOR_TOKEN}",
    "Content-Type": "application/cloudevents-batch+json",
}


@pytest.fixture
def registry(parts: Parts, database: str, topics: None, tmp_path: Path) -> Iterator[str]:
    key = base64.b64encode(MASTER_KEY).decode()
    secrets = {"CACAH_OPERATOR_TOKEN": OPERATOR_TOKEN, "CACAH_VAULT_KEY": key}
    with registry_process(parts, database, secrets, tmp_path / "registry.log") as address:
        yield address


@pytest.fixture
def notifier(parts: Parts, database: str, topics: None, tmp_path: Path) -> Iterator[str]:
    port = free_port()
    told = {
        "CACAH_DATABASE_URL": parts.url(database),
        "CACAH_KAFKA_BOOTSTRAP": parts.kafka_bootstrap,
        "CACAH_OPERATOR_TOKEN": OPERATOR_TOKEN,
        "CACAH_NOTIFIER_PORT": str(port),
    }
    base = f"http://127.0.0.1:{port}"
    with (
        (tmp_path / "notifier.log").open("wb") as said,
        subprocess.Popen(
            [sys.executable, "-m", "services.notifier"],
            env={**os.environ, **told},
            cwd=CHECKOUT,
            stdout=said,
            stderr=subprocess.STDOUT,
        ) as process,
    ):
        try:
            until_it_lives(base)
            yield base
        finally:
            process.terminate()


def until_it_lives(base: str) -> None:
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx.TransportError):
            httpx.get(f"{base}/healthz")
            return
        time.sleep(0.05)
    raise AssertionError("the notifier did not start")


def tell(parts: Parts, database: str, records: list[VoterRecord]) -> None:
    async def told() -> None:
        async with notifier_database(parts, database) as engine:
            await tell_voters(engine, records)

    asyncio.run(told())


def register(registry: str) -> list[UUID]:
    """Three people register: their ids, in order."""
    with httpx.Client(base_url=registry, headers=SENT) as client:
        body = orjson.dumps([registered(nik) for nik in NIKS[:3]])
        assert client.post("/v1/events", content=body).status_code == 200
        return [UUID(e["resident_id"]) for e in client.get("/v1/log").json()["events"]]


def audit(parts: Parts, database: str) -> int:
    async def count() -> int:
        async with notifier_database(parts, database) as engine, engine.connect() as connection:
            found = await connection.exec_driver_sql(
                "SELECT count(*) FROM registry.lookups WHERE purpose = 'DPT'"
            )
            return int(found.scalar_one())

    return asyncio.run(count())


def cacah(addresses: Mapping[str, str], *arguments: str | Path, status: int = 0) -> Result:
    environment = {"CACAH_TOKEN": OPERATOR_TOKEN, **addresses}
    ran = CliRunner().invoke(main, [*map(str, arguments)], env=environment)
    assert ran.exit_code == status, ran.output
    return ran


def say_what_hinders(address: Mapping[str, str], tmp_path: Path) -> None:
    """Each in a sentence, and faulty rows by their numbers."""
    faulty = tmp_path / "faulty.csv"
    faulty.write_text(f"no;resident_id;village\n\n1;x;{HERE}\n2;{UUID(int=1)};{HERE}\n3;y;{HERE}\n")
    said = cacah(address, "compare", faulty, status=2).stderr
    assert "row 3, resident_id: must be a UUID" in said
    assert "  row 5, resident_id" in said
    assert "there is no file" in cacah(address, "compare", tmp_path / "none.csv", status=2).stderr
    away = {"CACAH_NOTIFIER_URL": "http://127.0.0.1:9"}
    assert "no notifier answers" in cacah(away, "compare", faulty, status=2).stderr
    assert (
        "There is no feed" in cacah(address, "compare", faulty, "--election", "x", status=2).stderr
    )


def test_a_list_by_nik_is_compared_without_a_nik_reaching_the_notifier(
    registry: str, notifier: str, parts: Parts, database: str, tmp_path: Path
) -> None:
    ani, budi, cici = register(registry)
    tell(
        parts,
        database,
        [
            *(says(who, HERE, position=n) for n, who in enumerate((ani, budi, cici), 1)),
            says(ani, None, DIED, 4, "dpt"),
            says(budi, THERE, MOVED, 5, "dpt"),
        ],
    )
    path = tmp_path / "dpt.xlsx"
    rows = [["nik", "nama", "kode_desa"], *([nik, "WARGA", HERE] for nik in (*NIKS[:2], NOBODYS))]
    workbook(path, rows)
    address = {"CACAH_REGISTRY_URL": registry, "CACAH_NOTIFIER_URL": notifier}
    wordless = cacah(address, "compare", path, status=2)
    assert "--purpose" in wordless.stderr
    assert audit(parts, database) == 0
    ran = cacah(address, "compare", path, "--purpose", "DPT", status=1)
    assert "removed by resident.died on 2024-08-20 (sequence 4, dpt)" in ran.stdout
    assert f"listed in {HERE}, votes in {THERE}" in ran.stdout
    assert "nobody has the NIK" in ran.stdout
    with (tmp_path / "dpt.xlsx.differences.csv").open() as file:
        found = {
            (row["difference"], row["row"], row["resident_id"]) for row in csv.DictReader(file)
        }
    assert found == {
        ("superfluous", "2", str(ani)),
        ("in-another-village", "3", str(budi)),
        ("unknown", "4", ""),
        ("missing", "", str(cici)),
    }
    assert audit(parts, database) == 3
    for told in (ran.stdout, ran.stderr, *(p.read_text() for p in tmp_path.glob("*.[lc]*[gv]"))):
        assert not any(nik in told for nik in NIKS)


def test_supplements_take_the_list_to_where_nothing_differs(
    notifier: str, parts: Parts, database: str, tmp_path: Path
) -> None:
    people = [UUID(int=n) for n in range(1, 7)]
    tell(parts, database, [says(who, HERE, position=n) for n, who in enumerate(people, 1)])
    held = tmp_path / "held.csv"
    held.write_text("resident_id,village\n" + "".join(f"{who},{HERE}\n" for who in people))
    address = {"CACAH_NOTIFIER_URL": notifier}
    assert "Nothing differs." in cacah(address, "compare", held).stdout
    tell(parts, database, [says(people[0], None, DIED, 7), says(people[1], THERE, MOVED, 8)])
    assert "Supplement 1: 2 changes" in cacah(address, "supplement", "make", "--from", "6").stdout
    tell(parts, database, [says(people[0], HERE, position=9), says(people[2], THERE, MOVED, 10)])
    cacah(address, "supplement", "make", "--to", "10")
    assert "2 supplements." in cacah(address, "supplement", "list").stdout
    one, two = tmp_path / "1.json", tmp_path / "2.json"
    cacah(address, "supplement", "get", "1", one)
    cacah(address, "supplement", "get", "2", two)
    for name in ("1.csv", "1.xlsx", "1.html", "1.ndjson"):
        cacah(address, "supplement", "get", "1", tmp_path / name)
        assert (tmp_path / name).stat().st_size
    new = tmp_path / "new.csv"
    assert cacah(address, "compare", held, status=1).stdout.count("sequence") >= 2
    cacah(address, "supplement", "apply", held, one, two, "--out", new)
    assert "Nothing differs." in cacah(address, "compare", new).stdout
    assert (
        "does not follow"
        in cacah(address, "supplement", "apply", held, two, one, "--out", new, status=2).stderr
    )
    unfit = cacah(address, "supplement", "apply", held, two, "--out", new, status=2)
    assert "is not the one that supplement 2 follows" in unfit.stderr
    forged = json.loads(one.read_text())
    forged["changes"][0]["from_village"] = THERE
    one.write_text(json.dumps(forged))
    assert (
        "does not have its hash"
        in cacah(address, "supplement", "apply", held, one, "--out", new, status=2).stderr
    )
    beyond = cacah(address, "supplement", "make", "--to", "99", status=2)
    assert "beyond the end" in beyond.stderr
    say_what_hinders(address, tmp_path)
