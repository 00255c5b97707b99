"""KPU's list is compared with what the feed has told, and each difference is explained."""

import asyncio
import csv
import io
import zipfile
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import httpx
import pytest
import pytest_asyncio
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.notifier import lists, uploads
from shared.access import Role, Tokens
from tests.bench.compare import show
from tests.support.import_files import workbook
from tests.support.notifier_process import ELECTION
from tests.support.parts import Parts
from tests.support.told_voters import (
    notifier_database,
    notifier_door,
    persons_csv,
    says,
    stands,
    tell_villages,
    tell_voters,
)

HERE, THERE, ELSEWHERE = "15.01.01.2001", "15.01.05.2004", "15.01.08.2001"
ANI, BUDI, CICI, DODI, EDI = (UUID(int=n) for n in range(1, 6))
NOBODY: Final = UUID(int=99)
NIK: Final = "1501012711070001"
DIED, MOVED = "id.dukcapil.resident.died", "id.dukcapil.resident.relocated"


@pytest_asyncio.fixture
async def engine(parts: Parts, database: str) -> AsyncIterator[AsyncEngine]:
    async with notifier_database(parts, database) as connected:
        yield connected


@pytest_asyncio.fixture
async def notifier(engine: AsyncEngine) -> AsyncIterator[httpx.AsyncClient]:
    async with notifier_door(engine) as client:
        yield client


async def compare(
    notifier: httpx.AsyncClient, body: bytes, status: int = 200, **query: Any
) -> dict[str, Any]:
    url = f"/v1/elections/{ELECTION}/compare"
    answer = await notifier.post(url, content=body, params=query)
    assert answer.status_code == status, answer.text
    members: dict[str, Any] = answer.json()
    return members


async def refused(notifier: httpx.AsyncClient, body: bytes, **query: Any) -> str:
    """What is said of a list that is bad input; the first member at fault is named."""
    members = await compare(notifier, body, 400, **query)
    assert members["type"].endswith("/invalid")
    assert members["errors"][0]["detail"] == members["detail"]
    return f"{members['errors'][0]['field']}: {members['detail']}"


def fields(problem: dict[str, Any]) -> list[str]:
    return [error["field"] for error in problem["errors"]]


def listed(**voters: str) -> bytes:
    return persons_csv((globals()[name], village) for name, village in voters.items())


async def lived(engine: AsyncEngine) -> None:
    """Five people register; Ani dies, Budi moves twice, and Edi is removed and comes back."""
    await tell_voters(
        engine,
        [
            *(says(who, HERE, position=n) for n, who in enumerate((ANI, BUDI, CICI, DODI, EDI), 1)),
            says(ANI, None, DIED, 6, "dpt"),
            says(BUDI, THERE, MOVED, 7, "dpt"),
            says(BUDI, ELSEWHERE, MOVED, 8, "dpt"),
            says(EDI, None, "id.dukcapil.rights.revoked", 9, "dpt"),
            says(EDI, HERE, "id.dukcapil.rights.restored", 10, "dpt"),
        ],
    )


async def test_each_difference_has_the_change_that_made_it(
    notifier: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    await lived(engine)
    found = await compare(notifier, listed(ANI=HERE, BUDI=HERE, CICI=HERE, NOBODY=THERE))
    summary = {name: found[name] for name in ("list", "sequence", "rows", "agree", "left_out")}
    assert summary == {"list": "persons", "sequence": 10, "rows": 4, "agree": 1, "left_out": 0}
    assert (found["missing"], found["superfluous"], found["in_another_village"]) == (2, 2, 1)
    by_voter = {UUID(each["resident_id"]): each for each in found["differences"]}
    assert by_voter.keys() == {ANI, BUDI, DODI, EDI, NOBODY}
    assert by_voter[ANI] == {
        "difference": "superfluous",
        "row": 2,
        "resident_id": str(ANI),
        "listed_village": HERE,
        "village": None,
        "change": {
            "sequence": 6,
            "kind": "removed",
            "reason": DIED,
            "from_village": HERE,
            "to_village": None,
            "position": 6,
            "time": "2024-08-20T01:00:06Z",
            "stage": "dpt",
        },
        "later_changes": 0,
    }
    # Of two moves, the first one made the list wrong.
    budi = by_voter[BUDI]
    assert budi["difference"] == "in-another-village"
    assert (budi["listed_village"], budi["village"]) == (HERE, ELSEWHERE)
    assert (budi["change"]["sequence"], budi["later_changes"]) == (7, 1)
    assert (by_voter[DODI]["difference"], by_voter[DODI]["row"]) == ("missing", None)
    assert by_voter[DODI]["change"]["sequence"] == 4
    # Whoever came back is missing since then.
    assert by_voter[EDI]["change"]["sequence"] == 10
    assert by_voter[NOBODY]["difference"] == "superfluous"
    assert by_voter[NOBODY]["change"] is None


async def test_what_differs_adds_up_in_every_village(
    notifier: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    await lived(engine)
    found = await compare(notifier, listed(ANI=HERE, BUDI=HERE, CICI=HERE, NOBODY=THERE))
    assert [village["village"] for village in found["villages"]] == [HERE, THERE, ELSEWHERE]
    assert [village["told"] for village in found["villages"]] == [3, 0, 1]
    for v in found["villages"]:
        lost, gained = v["superfluous"] + v["votes_elsewhere"], v["missing"] + v["listed_elsewhere"]
        assert v["told"] == v["listed"] - lost + gained


async def test_the_past_is_compared_by_sequence_position_and_time(
    notifier: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    early, late = datetime(2024, 8, 21, tzinfo=UTC), datetime(2024, 8, 22, tzinfo=UTC)
    await tell_voters(engine, [says(ANI, HERE, position=1), says(BUDI, HERE, position=2)], early)
    await tell_voters(engine, [says(ANI, THERE, MOVED, 3), says(BUDI, None, DIED, 4)], late)
    async with engine.begin() as connection:
        await connection.execute(text("UPDATE registry.head SET position = 9"))
    then, now = listed(ANI=HERE, BUDI=HERE), listed(ANI=THERE)
    for query in ({"sequence": 2}, {"as_of": 2}, {"as_of": "2024-08-21T12:00:00Z"}):
        found = await compare(notifier, then, **query)
        assert (found["sequence"], found["differences"]) == (2, [])
    for query in ({}, {"sequence": 4}, {"as_of": 9}, {"as_of": "2024-08-22T00:00:00Z"}):
        found = await compare(notifier, now, **query)
        assert (found["sequence"], found["differences"]) == (4, [])
    middle = await compare(notifier, then, sequence=3)
    assert [each["difference"] for each in middle["differences"]] == ["in-another-village"]
    assert (await compare(notifier, now, sequence=0))["superfluous"] == 1
    assert "beyond the end" in await refused(notifier, now, sequence=5)
    assert "as_of: as_of lies beyond" in await refused(notifier, now, as_of=10)
    assert "not both" in await refused(notifier, now, as_of=1, sequence=1)


async def test_one_districts_list_misses_nobody_of_another(
    notifier: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    await tell_voters(
        engine, [says(ANI, HERE), says(BUDI, THERE), says(CICI, THERE), says(DODI, HERE)]
    )
    found = await compare(notifier, listed(ANI=HERE, CICI=HERE), area=HERE[:8])
    kinds = {each["resident_id"]: each["difference"] for each in found["differences"]}
    assert kinds == {str(CICI): "in-another-village", str(DODI): "missing"}
    assert [(each["village"], each["told"]) for each in found["villages"]] == [(HERE, 2)]
    assert "area:" in await refused(notifier, listed(ANI=HERE), area="15.02")
    assert "rows.2.village" in await refused(notifier, listed(BUDI=THERE), area=HERE[:8])


async def test_more_differences_than_asked_for_are_counted(
    notifier: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    await lived(engine)
    found = await compare(notifier, listed(CICI=HERE), limit=1)
    assert (len(found["differences"]), found["left_out"], found["missing"]) == (1, 2, 3)


async def test_the_differences_are_a_csv_to_whoever_accepts_one(
    notifier: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    await lived(engine)
    answer = await notifier.post(
        f"/v1/elections/{ELECTION}/compare",
        content=listed(ANI=HERE, CICI=HERE, DODI=HERE, EDI=HERE, BUDI=ELSEWHERE),
        headers={"Accept": "text/csv"},
    )
    (row,) = csv.DictReader(io.StringIO(answer.text))
    assert answer.headers["x-cacah-sequence"] == "10"
    assert (row["difference"], row["row"], row["resident_id"]) == ("superfluous", "2", str(ANI))
    assert (row["reason"], row["time"]) == (DIED, "2024-08-20T01:00:06Z")


@pytest.mark.parametrize(
    "encode",
    [
        lambda rows: rows.replace(",", "#").encode(),
        lambda rows: rows.replace(",", ";").replace("\n", "\r\n").encode("utf-8-sig"),
        lambda rows: rows.encode("utf-16"),
        lambda rows: rows.upper().replace("RESIDENT_ID,VILLAGE", "ID Pemilih,Kode Desa").encode(),
        lambda rows: rows.replace("15.01.01.2001", "1501012001").encode(),
        lambda rows: (
            b'"resident_id","village","nama"\n'
            + "".join(f"{row},D\u00e9w\u00ed\n" for row in rows.split()[1:]).encode("cp1252")
        ),
    ],
)
async def test_a_list_may_be_delimited_and_encoded_as_offices_do(
    notifier: httpx.AsyncClient, engine: AsyncEngine, encode: Any
) -> None:
    await lived(engine)
    body = encode(listed(CICI=HERE, DODI=HERE, EDI=HERE, BUDI=ELSEWHERE).decode())
    found = await compare(notifier, body)
    assert (found["rows"], found["agree"], found["differences"]) == (4, 4, [])


async def test_a_workbook_is_compared_too(
    notifier: httpx.AsyncClient, engine: AsyncEngine, tmp_path: Path
) -> None:
    await lived(engine)
    rows: list[list[str | int | float]] = [["resident_id", "kode_desa"], [str(ANI), 1501012001]]
    found = await compare(notifier, workbook(tmp_path / "a.xlsx", rows).read_bytes())
    first = found["differences"][0]
    assert (first["row"], first["difference"]) == (2, "superfluous")


async def test_counts_are_compared_village_by_village_and_explained(
    notifier: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    await tell_villages(
        engine,
        [
            stands(HERE, 1, 1, residents=5, eligible=3),
            stands(THERE, 1, 2, residents=2, eligible=2),
            stands(HERE, 2, 3, residents=6, eligible=3),
            stands(HERE, 3, 4, residents=6, eligible=4),
            stands(HERE, 4, 5, residents=6, eligible=5),
        ],
    )
    body = f"village,pemilih,residents\n{HERE},3,6\n{ELSEWHERE},0,1\n".encode()
    found = await compare(notifier, body)
    assert (found["list"], found["sequence"], found["counts"]) == (
        "counts",
        5,
        ["residents", "eligible"],
    )
    assert [
        (each["village"], each["count"], each["listed"], each["told"], each["later_changes"])
        for each in found["differences"]
    ] == [
        (HERE, "eligible", 3, 5, 1),
        (THERE, "residents", None, 2, 0),
        (THERE, "eligible", None, 2, 0),
        (ELSEWHERE, "residents", 1, 0, 0),
    ]
    assert found["differences"][0]["change"] == {
        "sequence": 4,
        "position": 4,
        "time": "2024-08-20T01:00:04Z",
        "stage": "dps",
        "before": 3,
        "after": 4,
    }
    # It never stood so.
    assert found["differences"][3]["change"] is None
    then = await compare(notifier, body, sequence=3)
    assert [each["village"] for each in then["differences"]] == [THERE, THERE, ELSEWHERE]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "body: the list is empty"),
        (b"\n \n", "body: the list is empty"),
        (b"satu,dua\n1,2\n", "body: the first row must name the columns"),
        (b"resident_id\nx\n", "body: the first row must name the columns"),
        (f"{ANI},{HERE}\n".encode(), "body: the first row must name the columns"),
        (b"village,kode_desa,eligible\n", "body: in the first row the columns 1 and 2 both"),
        (f"nik,village\n{NIK},{HERE}\n".encode(), "body: a list with NIKs must not come here"),
        (listed(ANI="15.01.99.2001"), "rows.2.village: row 2, village: is not in the national"),
        (listed(ANI="11.01.01.2001"), "rows.2.village: row 2, village: is not in the area"),
        (persons_csv([(NIK, HERE)]), "rows.2.resident_id: row 2, resident_id: must be a UUID"),
        (f"resident_id,village\n{ANI}\n".encode(), "rows.2.village: row 2, village: is missing"),
        (f"resident_id,village\n{ANI},{HERE},x,y\n".encode(), "rows.2.row: row 2: has 4 cells"),
        (b"resident_id,village\n\0,x\n", "rows.2.row: row 2: holds a NUL byte"),
        (f"village,eligible\n{HERE},1.000\n".encode(), "rows.2.eligible: row 2, eligible: must"),
        (f"village,eligible\n{HERE},-1\n".encode(), "rows.2.eligible: row 2, eligible: must be"),
        (
            f"village,eligible\n{HERE},1\n{HERE},1\n".encode(),
            "rows.3.village: row 3, village: is t",
        ),
        (b"PK\x03\x04 no workbook", "body: the list is cut off or damaged"),
        (bytes.fromhex("d0cf11e0a1b11ae1"), "body: the list is an old .xls workbook"),
    ],
)
async def test_bad_input_is_refused_by_row_and_column_and_tells_no_value(
    notifier: httpx.AsyncClient, body: bytes, said: str
) -> None:
    told = await refused(notifier, body)
    assert told.startswith(said)
    assert NIK not in told
    assert "/tmp" not in told


async def test_rows_of_one_resident_are_named_and_so_is_every_faulty_row(
    notifier: httpx.AsyncClient,
) -> None:
    doubled = persons_csv([(ANI, HERE), (BUDI, HERE), (ANI, THERE), (BUDI, HERE)])
    answer = await compare(notifier, doubled, 400)
    assert [error["field"] for error in answer["errors"]] == [
        "rows.4.resident_id",
        "rows.5.resident_id",
    ]
    assert "is that of row 2 already" in answer["detail"]
    answer = await compare(notifier, persons_csv([("x", HERE), (ANI, HERE), ("y", HERE)]), 400)
    assert [error["field"] for error in answer["errors"]] == [
        "rows.2.resident_id",
        "rows.4.resident_id",
    ]
    assert "Rows that cannot be compared: 2;" in answer["detail"]
    many = await compare(notifier, persons_csv([("x", HERE)] * 300), 400)
    assert len(many["errors"]) == lists.MOST_FAULTS


async def test_a_list_beyond_the_limits_is_refused_by_the_limits_name(
    notifier: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lists, "MOST_ROWS", 2)
    three = await compare(notifier, listed(ANI=HERE, BUDI=HERE, CICI=HERE), 413)
    assert three["type"].endswith("/too-large")
    assert "rows; send it district by district" in three["detail"]
    monkeypatch.setattr(uploads, "MOST_BYTES", 50)
    assert "MiB at most" in (await compare(notifier, listed(ANI=HERE, BUDI=HERE), 413))["detail"]
    monkeypatch.setattr(uploads, "MOST_UPLOADS", 0)
    assert (await compare(notifier, b"x", 429))["type"].endswith("/rate-limited")


async def test_a_workbook_that_unpacks_to_a_huge_one_is_refused(
    notifier: httpx.AsyncClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.lists.workbooks.MAX_UNPACKED_BYTES", 2**20)
    path = workbook(tmp_path / "bomb.xlsx", [["village", "eligible"]])
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/sharedStrings.xml", b"0" * 2**21)
    assert "save it as CSV" in await refused(notifier, path.read_bytes())


async def test_a_form_and_a_packed_body_are_refused(notifier: httpx.AsyncClient) -> None:
    url = f"/v1/elections/{ELECTION}/compare"
    form = await notifier.post(url, files={"list": listed(ANI=HERE)})
    packed = await notifier.post(url, content=b"x", headers={"Content-Encoding": "gzip"})
    assert (form.status_code, packed.status_code) == (415, 415)


async def test_who_may_not_read_may_not_compare(
    notifier: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    tokens = Tokens(engine, None)
    url = f"/v1/elections/{ELECTION}/compare"
    for role, status in ((Role.STATION, 403), (Role.KPU, 200)):
        token = await tokens.create(role, "KRC-01")
        answer = await notifier.post(
            url, content=listed(), headers={"Authorization": f"Bearer {token}"}
        )
        assert answer.status_code == status
    assert (await notifier.post("/v1/elections/none/compare", content=b"")).status_code == 404


async def test_lists_compared_at_once_do_not_mix(
    notifier: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    await lived(engine)
    bodies = [listed(CICI=HERE), listed(CICI=THERE), listed(ANI=HERE)] * 2
    answers = await asyncio.gather(*(compare(notifier, body) for body in bodies))
    assert [a["in_another_village"] for a in answers] == [0, 1, 0] * 2


async def test_twenty_planted_differences_are_found_and_mended(
    parts: Parts, database: str, topics: None
) -> None:
    assert await show(parts, database, 3_000)
