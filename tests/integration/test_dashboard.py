"""The dashboard as it is served, and what it asks whether its numbers are up to date."""

import re
import subprocess
import sys
import zipfile
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import httpx
import orjson
import pytest

from services.projections.app import create_app
from services.projections.dashboard import WEB, web_files
from services.projections.settings import ProjectionsSettings
from services.projections.shapes import BOUNDARIES
from shared.access import Role, Tokens
from shared.database import create_engine
from shared.elections import PILKADA_2024
from shared.regions import villages_in
from tests.integration.test_projections import World, somebody
from tests.support.facts import registration
from tests.support.parts import CHECKOUT, Parts
from tests.support.projections_service import Service

VILLAGES: Final = {village.code for village in villages_in(PILKADA_2024.area)}

# Ways to make markup or code from text, or to load from elsewhere.
DANGEROUS: Final = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|DOMParser"
    r"|localStorage|document\.cookie| on\w+=|<style| style=|javascript:"
)
ADDRESS: Final = re.compile(r"(?:https?:)?//[a-z0-9.-]+\.[a-z]{2,}[^\s\"'`]*", re.IGNORECASE)
XML_NAMESPACE: Final = "http://www.w3.org/2000/svg"


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    """The application alone: the page needs neither PostgreSQL nor Kafka."""
    nowhere = "postgresql+asyncpg://nobody@127.0.0.1:1/nothing"
    app = create_app(ProjectionsSettings(database_url=nowhere, kafka_bootstrap="127.0.0.1:1"))
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://projections") as client:
        yield client


async def test_the_page_and_all_that_it_names_are_served_without_a_token(
    http: httpx.AsyncClient,
) -> None:
    page = await http.get("/")
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert '<html lang="id">' in page.text
    named = set(re.findall(r'(?:src|href)="(/[^"]+)"', page.text))
    for module in WEB.glob("*.js"):
        named |= {f"/web/{name}" for name in re.findall(r'from "\./(.+?)"', module.read_text())}
    assert {"/web/dashboard.js", "/web/map.js", "/web/dashboard.css"} <= named
    for path in named:
        assert (await http.get(path)).status_code == 200, path


@pytest.mark.parametrize("name", sorted(web_files()))
async def test_every_file_lets_the_page_load_from_here_alone(
    http: httpx.AsyncClient, name: str
) -> None:
    answer = await http.get(f"/web/{name}")
    policy = answer.headers["content-security-policy"].split("; ")
    assert "default-src 'none'" in policy
    assert "script-src 'self'" in policy
    assert not any("unsafe" in part or "*" in part or "data:" in part for part in policy)
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cache-control"] == "no-cache"


@pytest.mark.parametrize("name", sorted(web_files()))
async def test_a_file_is_sent_again_only_when_it_changed(
    http: httpx.AsyncClient, name: str
) -> None:
    first = await http.get(f"/web/{name}")
    assert first.headers["content-encoding"] == "gzip"
    same = await http.get(f"/web/{name}", headers={"If-None-Match": first.headers["etag"]})
    assert (same.status_code, same.content) == (304, b"")
    assert same.headers["etag"] == first.headers["etag"]
    other = await http.get(f"/web/{name}", headers={"If-None-Match": 'W/"0"'})
    assert other.status_code == 200
    plain = await http.get(f"/web/{name}", headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert plain.content == first.content == web_files()[name].content


@pytest.mark.parametrize("name", sorted(web_files()))
def test_no_file_names_another_address_or_makes_markup_from_text(name: str) -> None:
    text = web_files()[name].content.decode()
    assert set(ADDRESS.findall(text)) <= {XML_NAMESPACE}
    assert not DANGEROUS.search(text)


@pytest.mark.parametrize("path", ["/web/", "/web/nothing.js", "/web/..%2Fapi.py", "/web/api.py"])
async def test_nothing_else_is_served(http: httpx.AsyncClient, path: str) -> None:
    assert (await http.get(path)).status_code == 404


def test_an_installed_package_holds_every_file(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=CHECKOUT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as packed:
        names = set(packed.namelist())
    assert {f"services/projections/web/{path.name}" for path in WEB.iterdir()} <= names
    assert f"shared/data/{BOUNDARIES.name}" in names


async def test_every_village_of_the_regency_has_an_outline(http: httpx.AsyncClient) -> None:
    drawing = orjson.loads((await http.get("/web/shapes.json")).content)
    assert drawing["area"] == PILKADA_2024.area
    assert set(drawing["villages"]) == VILLAGES
    assert "MIT" in drawing["attribution"]
    for code, outline in drawing["villages"].items():
        for x, y in corners(outline):
            assert 0 <= x <= drawing["width"], code
            assert 0 <= y <= drawing["height"], code


async def test_outlines_of_neighbours_meet(http: httpx.AsyncClient) -> None:
    drawing = orjson.loads((await http.get("/web/shapes.json")).content)
    seen: dict[tuple[int, int], int] = {}
    for outline in drawing["villages"].values():
        for corner in set(corners(outline)):
            seen[corner] = seen.get(corner, 0) + 1
    shared = sum(count > 1 for count in seen.values())
    assert shared > len(seen) * 0.7


def corners(outline: str) -> list[tuple[int, int]]:
    """The corners of an SVG path of closed rings, each step from the one before."""
    found = []
    assert re.fullmatch(r"(M\d+ \d+l[-+ 0-9]+Z)+", outline)
    for ring in outline.split("Z")[:-1]:
        start, _, steps = ring[1:].partition("l")
        x, y = (int(part) for part in start.split())
        found.append((x, y))
        numbers = [int(part) for part in re.findall(r"[-+]?\d+", steps)]
        for across, down in zip(numbers[::2], numbers[1::2], strict=True):
            x, y = x + across, y + down
            found.append((x, y))
    return found


@pytest.fixture
def world(parts: Parts, database: str, topics: None) -> World:
    return World(parts, database)


@pytest.fixture
async def service(world: World) -> AsyncIterator[Service]:
    async with world.service() as running:
        await running.ready()
        yield running


async def progress(service: Service, **params: str | int) -> dict[str, str | int | None]:
    answer = await service.http.get("/v1/progress", params=params)
    assert answer.status_code == 200, answer.text
    body: dict[str, str | int | None] = answer.json()
    now = datetime.fromisoformat(str(body.pop("now")))
    assert abs(now - datetime.now(UTC)) < timedelta(minutes=1)
    return body


async def test_progress_says_what_waits_to_be_counted(world: World, service: Service) -> None:
    nothing = {"position": 0, "recorded_at": None, "log_position": 0, "waiting_since": None}
    assert await progress(service) == nothing
    early, late = registration(1, somebody(0)), registration(2, somebody(1))
    await world.log(early, late)
    await world.publish(world.chain.events([early]) + world.chain.published(1))
    await service.at(1)
    recorded = [written(entry.recorded_at) for entry in (early, late)]
    assert await progress(service) == {
        "position": 1,
        "recorded_at": recorded[0],
        "log_position": 2,
        "waiting_since": recorded[1],
    }
    await world.publish(world.chain.events([late]) + world.chain.published(2))
    await service.at(2)
    assert await progress(service) == {
        "position": 2,
        "recorded_at": recorded[1],
        "log_position": 2,
        "waiting_since": None,
    }
    before = await progress(service, as_of=1)
    assert (before["position"], before["recorded_at"]) == (1, recorded[0])


async def test_progress_is_for_those_who_may_read(world: World, service: Service) -> None:
    engine = create_engine(world.url)
    try:
        station = await Tokens(engine, None).create(Role.STATION, "KRC-01")
    finally:
        await engine.dispose()
    for authorization, status in (("", 401), (f"Bearer {station}", 403)):
        answer = await service.http.get("/v1/progress", headers={"Authorization": authorization})
        assert answer.status_code == status
    answer = await service.http.get("/v1/progress", params={"as_of": 7})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (400, "as_of")


def written(instant: datetime) -> str:
    return instant.isoformat().replace("+00:00", "Z")
