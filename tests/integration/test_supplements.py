"""Numbered supplements on the real tables: made once, proved by their chain, applied to a list."""

import asyncio
import csv
import hashlib
import io
import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import asyncpg
import httpx
import pytest
import pytest_asyncio
from python_calamine import CalamineWorkbook
from sqlalchemy.ext.asyncio import AsyncEngine

from services.notifier import supplement_page
from services.notifier.domain.voters import VoterRecord
from services.notifier.supplements import Asked, Supplements
from services.notifier.workbook_writing import MEDIA_TYPE
from shared.access import Role, Tokens
from tests.support.notifier_process import ELECTION
from tests.support.parts import Parts
from tests.support.told_voters import (
    notifier_database,
    notifier_door,
    says,
    stands,
    tell_villages,
    tell_voters,
)

HERE, THERE = "15.01.01.2001", "15.01.05.2004"
ANI, BUDI, CICI = (UUID(int=n) for n in range(1, 4))
PATH: Final = f"/v1/elections/{ELECTION}/supplements"
DIED, MOVED = "id.dukcapil.resident.died", "id.dukcapil.resident.relocated"


@pytest_asyncio.fixture
async def engine(parts: Parts, database: str) -> AsyncIterator[AsyncEngine]:
    async with notifier_database(parts, database) as connected:
        yield connected


@pytest_asyncio.fixture
async def notifier(engine: AsyncEngine) -> AsyncIterator[httpx.AsyncClient]:
    async with notifier_door(engine) as client:
        yield client


async def close(notifier: httpx.AsyncClient, status: int = 201, **asked: int) -> dict[str, Any]:
    answer = await notifier.post(PATH, json=asked)
    assert answer.status_code == status, answer.text
    members: dict[str, Any] = answer.json()
    return members


async def refused(notifier: httpx.AsyncClient, **asked: int) -> tuple[str, str]:
    problem = await close(notifier, 400, **asked)
    return problem["errors"][0]["field"], problem["detail"]


async def read(notifier: httpx.AsyncClient, number: int, accept: str = "") -> httpx.Response:
    answer = await notifier.get(f"{PATH}/{number}", headers={"Accept": accept})
    assert answer.status_code == 200, answer.text
    return answer


async def three_vote(engine: AsyncEngine) -> None:
    await tell_voters(
        engine, [says(ANI, HERE, position=1), says(BUDI, HERE, position=2), says(CICI, THERE)]
    )


async def test_a_supplement_closes_the_feed_and_the_next_one_goes_on(
    notifier: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    await three_vote(engine)
    first = await close(notifier)
    assert (first["number"], first["from_sequence"], first["to_sequence"]) == (1, 0, 3)
    assert (first["changes"], first["previous_hash"]) == (3, None)
    assert (first["voters_before"], first["voters_after"]) == (0, 3)
    await tell_voters(engine, [says(ANI, None, DIED, 4, "dpt"), says(BUDI, THERE, MOVED, 5)])
    second = await close(notifier)
    assert (second["number"], second["from_sequence"], second["to_sequence"]) == (2, 3, 5)
    assert second["previous_hash"] == first["hash"]
    assert second["villages"] == [
        {
            "village": HERE,
            "before": 2,
            "added": 0,
            "removed": 1,
            "moved_in": 0,
            "moved_out": 1,
            "after": 0,
        },
        {
            "village": THERE,
            "before": 1,
            "added": 0,
            "removed": 0,
            "moved_in": 1,
            "moved_out": 0,
            "after": 2,
        },
    ]
    listed = (await notifier.get(PATH)).json()["supplements"]
    assert [each["hash"] for each in listed] == [first["hash"], second["hash"]]
    document = (await read(notifier, 2)).json()
    assert document["changes"][0] == {
        "sequence": 4,
        "voter": str(ANI),
        "kind": "removed",
        "reason": DIED,
        "from_village": HERE,
        "to_village": None,
        "position": 4,
        "time": "2024-08-20T01:00:04Z",
        "stage": "dpt",
    }


async def test_the_hash_is_that_of_what_is_served_and_covers_the_one_before(
    notifier: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    await three_vote(engine)
    first = await close(notifier, to_sequence=2)
    second = await close(notifier)
    for made in (first, second):
        lines = await read(notifier, made["number"], "application/x-ndjson")
        assert hashlib.sha256(lines.content).hexdigest() == made["hash"]
        assert lines.headers["x-cacah-hash"] == made["hash"]
    assert f'"previous_hash":"{first["hash"]}"' in lines.text.splitlines()[0]


async def test_asked_for_again_it_is_the_same_and_so_it_is_of_many_at_once(
    notifier: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    await three_vote(engine)
    answers = await asyncio.gather(
        *(notifier.post(PATH, json={"to_sequence": 2}) for _ in range(5))
    )
    assert sorted(answer.status_code for answer in answers) == [200] * 4 + [201]
    assert len({answer.json()["hash"] for answer in answers}) == 1
    at_once = await asyncio.gather(*(notifier.post(PATH, json={}) for _ in range(5)))
    assert {answer.json()["number"] for answer in at_once} == {2}
    await tell_voters(engine, [says(ANI, None, DIED, 9)])
    again = await close(notifier, 200, to_sequence=2)
    assert again["hash"] == answers[0].json()["hash"]
    assert (await close(notifier))["number"] == 3
    assert len((await notifier.get(PATH)).json()["supplements"]) == 3


async def test_two_notifiers_make_one(engine: AsyncEngine) -> None:
    await three_vote(engine)
    async with notifier_door(engine) as one, notifier_door(engine) as other:
        made = await asyncio.gather(*(door.post(PATH, json={}) for door in (one, other) * 3))
    assert len({answer.json()["hash"] for answer in made}) == 1
    assert sorted(answer.status_code for answer in made) == [200] * 5 + [201]


class Late(Supplements):
    """Sees the end of the feed, and goes on when it is let."""

    def __init__(self, engine: AsyncEngine) -> None:
        super().__init__(engine)
        self.seen, self.let = asyncio.Event(), asyncio.Event()

    async def _end(self, election: str) -> int:
        end = await super()._end(election)
        self.seen.set()
        await self.let.wait()
        return end


async def test_a_supplement_that_went_further_meanwhile_is_the_one_asked_for(
    notifier: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    await three_vote(engine)
    late = Late(engine)
    asking = asyncio.create_task(late.close(ELECTION, Asked(), datetime.now(UTC)))
    await late.seen.wait()
    await tell_voters(engine, [says(ANI, None, DIED, 9)])
    made = await close(notifier)
    assert made["to_sequence"] == 4
    late.let.set()
    supplement, is_new = await asking
    assert (supplement.hash, is_new) == (made["hash"], False)


async def test_the_first_may_begin_where_kpus_list_stands(
    notifier: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    await three_vote(engine)
    await tell_voters(engine, [says(CICI, HERE, MOVED, 6)])
    first = await close(notifier, from_sequence=3)
    assert (first["voters_before"], first["voters_after"], first["changes"]) == (3, 3, 1)
    moved = {total["village"]: (total["before"], total["after"]) for total in first["villages"]}
    assert moved == {HERE: (2, 3), THERE: (1, 0)}
    assert (await close(notifier, 200, from_sequence=3))["hash"] == first["hash"]


async def test_what_cannot_be_closed_is_refused_by_name(
    notifier: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    assert (await refused(notifier))[0] == "to_sequence"
    await three_vote(engine)
    field, said = await refused(notifier, to_sequence=4)
    assert (field, "beyond the end" in said) == ("to_sequence", True)
    assert (await refused(notifier, from_sequence=3))[0] == "to_sequence"
    await close(notifier, to_sequence=2)
    assert (await refused(notifier, to_sequence=1))[0] == "to_sequence"
    assert (await refused(notifier, to_sequence=2, from_sequence=1))[0] == "from_sequence"
    assert (await refused(notifier, from_sequence=1))[0] == "from_sequence"
    assert (await refused(notifier, to_sequence=-1))[0] == "to_sequence"
    for path in (f"{PATH}/9", "/v1/elections/none/supplements"):
        assert (await notifier.get(path)).status_code == 404
    assert (await notifier.post("/v1/elections/none/supplements", json={})).status_code == 404


async def test_the_villages_feed_is_named_up_to_where_it_stood_beside(
    notifier: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    await three_vote(engine)
    await tell_villages(
        engine,
        [
            stands(HERE, 1, 1, eligible=1),
            stands(HERE, 2, 2, eligible=2),
            stands(THERE, 1, 4, eligible=1),
        ],
    )
    first = await close(notifier, to_sequence=3)
    assert (first["villages_from"], first["villages_to"]) == (0, 2)
    await tell_voters(engine, [says(ANI, None, DIED, 9)])
    second = await close(notifier)
    assert (second["villages_from"], second["villages_to"]) == (2, 3)


async def test_postgresql_refuses_to_change_one(
    notifier: httpx.AsyncClient, engine: AsyncEngine, parts: Parts, database: str
) -> None:
    await three_vote(engine)
    await close(notifier)
    connection = await asyncpg.connect(parts.dsn(database))
    try:
        for statement in (
            "UPDATE notifier.supplements SET number = 2",
            "DELETE FROM notifier.supplements",
            "TRUNCATE notifier.supplements",
        ):
            with pytest.raises(asyncpg.RaiseError, match="appended to alone"):
                await connection.execute(statement)
    finally:
        await connection.close()


async def test_csv_workbook_and_page_say_the_same(
    notifier: httpx.AsyncClient, engine: AsyncEngine, tmp_path: Path
) -> None:
    await three_vote(engine)
    await tell_voters(engine, [says(ANI, None, DIED, 4), says(BUDI, THERE, MOVED, 5, "<dpt>")])
    made = await close(notifier)
    rows = list(csv.DictReader(io.StringIO((await read(notifier, 1, "text/csv")).text)))
    assert [row["kind"] for row in rows] == ["added"] * 3 + ["removed", "moved"]
    assert (rows[4]["from_village"], rows[4]["to_village"]) == (HERE, THERE)
    book = await read(notifier, 1, MEDIA_TYPE)
    assert "suplemen-pilkada-2024-1.xlsx" in book.headers["content-disposition"]
    with CalamineWorkbook.from_filelike(io.BytesIO(book.content)) as workbook:
        head = workbook.get_sheet_by_name("Suplemen").to_python()
        assert ["SHA-256", made["hash"]] in head
        villages = workbook.get_sheet_by_name("Desa").to_python()
        assert [row[0] for row in villages[1:]] == [HERE, THERE]
        changes = workbook.get_sheet_by_name("Perubahan").to_python()
        assert [row[1] for row in changes[1:]] == ["ditambahkan"] * 3 + ["dihapus", "pindah"]
        assert changes[4][5] == "meninggal dunia"
    page = await read(notifier, 1, "text/html")
    assert "Suplemen Daftar Pemilih Nomor 1" in page.text
    assert made["hash"] in page.text
    assert f"pindah ke {THERE}" in page.text
    assert "&lt;dpt&gt;" in page.text
    for outside in ("<script", "http://", "https://", "@import", "url("):
        assert outside not in page.text
    assert page.headers["content-security-policy"] == supplement_page.POLICY


async def test_a_page_of_too_many_changes_names_its_limit(
    notifier: httpx.AsyncClient, engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    await three_vote(engine)
    await close(notifier)
    monkeypatch.setattr(supplement_page, "MOST_CHANGES", 2)
    answer = await notifier.get(f"{PATH}/1", headers={"Accept": "text/html"})
    assert answer.status_code == 413
    assert "at most 2" in answer.json()["detail"]


async def test_long_ones_are_read_in_pages_and_prove_themselves(
    notifier: httpx.AsyncClient, engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.notifier.supplements.PAGE_ENTRIES", 7)
    chance = random.Random(5)
    votes: dict[UUID, str | None] = {}
    records: list[VoterRecord] = []
    for position in range(1, 101):
        who = UUID(int=chance.randint(1, 20))
        votes[who] = chance.choice((HERE, THERE, None))
        records.append(says(who, votes[who], position=position))
    await tell_voters(engine, records)
    made = await close(notifier)
    document = (await read(notifier, 1)).json()
    assert len(document["changes"]) == made["to_sequence"] == made["changes"]
    lines = (await read(notifier, 1, "application/x-ndjson")).content
    assert hashlib.sha256(lines).hexdigest() == made["hash"]
    after = {total["village"]: total["after"] for total in document["villages"]}
    for village in (HERE, THERE):
        assert after[village] == sum(at == village for at in votes.values())


async def test_a_station_makes_none(notifier: httpx.AsyncClient, engine: AsyncEngine) -> None:
    await three_vote(engine)
    tokens = Tokens(engine, None)
    for role, status in ((Role.STATION, 403), (Role.KPU, 201)):
        header = {"Authorization": f"Bearer {await tokens.create(role, 'KRC-01')}"}
        assert (await notifier.post(PATH, json={}, headers=header)).status_code == status
    assert (await notifier.get(PATH, headers={"Authorization": "Bearer x"})).status_code == 401
