"""Whatever a station sends, the answer names what is wrong, and the registry is not moved by it."""

import asyncio
import gzip
import json
import random
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
import pytest

from shared.access import Role, Tokens
from shared.database import create_engine
from tests.support.builders import SOURCE, event, recorded, registered
from tests.support.driving import BATCH, PROBLEM, SINGLE, client
from tests.support.histories import Event
from tests.support.reading import read_identities, read_log
from tests.support.system import System

MEGABYTE: Final = 1024 * 1024
BOMB_BYTES: Final = 100 * MEGABYTE
MOST_GROWTH_BYTES: Final = 100 * MEGABYTE
OTHER_SOURCE: Final = "urn:dukcapil:station:KRC-02"

_serials = count(1)


def nik() -> str:
    """The NIK of a man of 27 November 2007 whom no other test knows."""
    return f"199999271107{next(_serials):04}"


@asynccontextmanager
async def unmoved(system: System) -> AsyncIterator[None]:
    """Whatever happens within, the process stays, nothing joins the log, and the next is taken."""
    pid, log = system.stack.pid("registry"), await read_log(system.registry)
    faults = system.stack.log("registry").read_text().count("request failed")
    yield
    assert (await system.registry.get("/healthz")).status_code == 200
    assert system.stack.pid("registry") == pid
    assert await read_log(system.registry) == log
    assert system.stack.log("registry").read_text().count("request failed") == faults
    [answer] = await send(system, registered(nik()))
    assert answer["outcome"] == "accepted"


async def send(system: System, *events: Event) -> list[dict[str, Any]]:
    """The results of a batch, noted in the ledger as all that is sent must be."""
    system.ledger.note(events)
    response = await posted(system.registry, list(events))
    assert response.status_code == 200, response.text
    results: list[dict[str, Any]] = response.json()["results"]
    return results


async def posted(
    http: httpx.AsyncClient, value: Any, content_type: str = BATCH, **headers: str
) -> httpx.Response:
    """The answer to a body: bytes as they are, anything else as JSON."""
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    return await http.post(
        "/v1/events", content=body, headers={"Content-Type": content_type} | headers
    )


def check_problem(response: httpx.Response, status: int, kind: str, field: str | None) -> None:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == PROBLEM
    check_body(response.json(), status, kind, field)


def check_body(problem: dict[str, Any], status: int, kind: str, field: str | None) -> None:
    assert problem["type"].rpartition("/")[2] == kind, problem
    assert problem["status"] == status
    assert problem["detail"]
    assert [error["field"] for error in problem.get("errors", [])] == ([field] if field else [])


BODIES: Final = {
    "not JSON": (b'{"specversion": "1.0",', SINGLE, 400, "body"),
    "not JSON in a batch": (b"[{]", BATCH, 400, "body"),
    "nothing at all": (b"", SINGLE, 400, "body"),
    "not UTF-8": (b'"\xff\xfe"', SINGLE, 400, "body"),
    "a number that JSON has not": (b"NaN", SINGLE, 400, "body"),
    "nested without end": (b"[" * 100_000, BATCH, 400, "body"),
    "plain JSON": (registered(), "application/json", 415, "content-type"),
    "a form": (b"a=b", "application/x-www-form-urlencoded", 415, "content-type"),
    "no content type": (registered(), "", 415, "content-type"),
    "an object as a batch": (registered(), BATCH, 400, "body"),
    "an array as one event": ([registered()], SINGLE, 400, None),
    "text as one event": ("text", SINGLE, 400, None),
}


@pytest.mark.parametrize("name", BODIES)
async def test_a_body_that_is_none_is_refused_as_a_whole(system: System, name: str) -> None:
    value, content_type, status, field = BODIES[name]
    async with unmoved(system):
        response = await posted(system.registry, value, content_type)
        check_problem(response, status, "invalid", field)


def without(name: str, told: Event) -> Event:
    return {member: value for member, value in told.items() if member != name}


EVENTS: Final[dict[str, tuple[Event, str, str]]] = {
    "an unknown type": (event("resident.cloned", {"nik": nik()}), "invalid", "type"),
    "a type without its prefix": (registered(nik()) | {"type": "ktp.recorded"}, "invalid", "type"),
    "an unknown member": (registered(nik(), nkk="1501010101010001"), "invalid", "data.nkk"),
    "no member": (event("ktp.recorded", {}), "invalid", "data.nik"),
    "a NIK of letters": (recorded("ABCDEFGHIJKLMNOP"), "invalid", "data.nik"),
    "a NIK of 15 digits": (recorded("150101271107000"), "invalid", "data.nik"),
    "a NIK of a 31 February": (recorded("1501013102070001"), "invalid", "data.nik"),
    "a NIK that is a number": (event("ktp.recorded", {"nik": 1}), "invalid", "data.nik"),
    "a birth date that does not exist": (
        registered(nik(), birth_date="2007-02-29"),
        "invalid",
        "data.birth_date",
    ),
    "a birth that is to come": (
        registered(nik(), birth_date="2399-01-01"),
        "in-the-future",
        "data.birth_date",
    ),
    "an unknown village": (
        registered(nik(), village="15.01.01.9999"),
        "unknown-village",
        "data.village",
    ),
    "a village by its name": (registered(nik(), village="Lempur"), "invalid", "data.village"),
    "a time without offset": (recorded(nik(), time="2024-06-01T09:00:00"), "invalid", "time"),
    "no source": (without("source", recorded(nik())), "invalid", "source"),
    "no id": (without("id", recorded(nik())), "invalid", "id"),
    "an id that is a number": (recorded(nik(), id=7), "invalid", "id"),
    "no data": (without("data", recorded(nik())), "invalid", "data"),
    "another specversion": (recorded(nik(), specversion="0.3"), "invalid", "specversion"),
    "a stationseq of nought": (recorded(nik(), stationseq=0), "invalid", "stationseq"),
    "a foreign source": (recorded(nik(), source="urn:example"), "invalid", "source"),
}
STATUSES: Final = {"invalid": 400, "in-the-future": 422, "unknown-village": 422}


@pytest.mark.parametrize("name", EVENTS)
async def test_an_event_that_is_wrong_in_one_member_is_told_which(
    system: System, name: str
) -> None:
    sent, kind, field = EVENTS[name]
    system.ledger.note([sent])
    async with unmoved(system):
        response = await posted(system.registry, sent, SINGLE)
        check_problem(response, STATUSES[kind], kind, field)


@pytest.mark.parametrize("name", EVENTS)
async def test_a_bad_event_between_good_ones_harms_neither(system: System, name: str) -> None:
    sent, kind, field = EVENTS[name]
    bad = sent | ({"id": f"{sent['id']}-in-batch"} if isinstance(sent.get("id"), str) else {})
    before, after = registered(nik()), registered(nik())
    first, middle, last = await send(system, before, bad, after)
    assert (first["outcome"], middle["outcome"], last["outcome"]) == (
        *("accepted", "rejected"),
        "accepted",
    )
    assert last["position"] == first["position"] + 1
    check_body(middle["problem"], STATUSES[kind], kind, field)


async def test_a_nik_as_id_is_refused_by_name(system: System) -> None:
    """Not noted in the ledger: the test below says what is still wrong with it."""
    async with unmoved(system):
        response = await posted(system.registry, named_by_nik(), SINGLE)
        check_problem(response, 400, "invalid", "id")


async def test_a_nik_as_id_is_kept_sealed_or_not_at_all(system: System) -> None:
    sent = named_by_nik()
    await posted(system.registry, sent, SINGLE)
    kept = await read_identities(system.stack.superuser_url)
    assert sent["id"] not in {identity for _, identity in kept}


def named_by_nik() -> Event:
    told = nik()
    return registered(told, id=told)


async def test_elements_that_are_no_events_harm_nobody_in_the_batch(system: System) -> None:
    async with unmoved(system):
        response = await posted(system.registry, [None, 1, "x", [], {}, [[]], True])
        assert response.status_code == 200
        for result in response.json()["results"]:
            assert result["outcome"] == "rejected"
            assert result["problem"]["type"].endswith("/invalid")


async def test_five_thousand_events_are_taken_and_one_more_is_too_large(system: System) -> None:
    events = [recorded("1999992711079999") for _ in range(5_001)]
    async with unmoved(system):
        check_problem(await posted(system.registry, events), 413, "too-large", "body")
        assert all(result["outcome"] == "parked" for result in await send(system, *events[1:]))


def resident_bytes(pid: int, line: str) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    [told] = [found for found in status.splitlines() if found.startswith(line + ":")]
    return int(told.split()[1]) * 1024


def begin_peak_anew(pid: int) -> str:
    """Which line of the status tells from where the peak is to be measured."""
    try:
        Path(f"/proc/{pid}/clear_refs").write_text("5")
    except PermissionError:
        return "VmHWM"
    return "VmRSS"


def bomb(kind: str) -> bytes:
    """A hundred megabytes that come in a small parcel."""
    filled = {"zeros": b"\0", "spaces": b" ", "digits": b"1"}[kind] * BOMB_BYTES
    return gzip.compress(filled, 9)


@pytest.mark.parametrize("kind", ["zeros", "spaces", "digits"])
async def test_a_bomb_of_gzip_is_refused_without_being_unpacked(system: System, kind: str) -> None:
    packed = bomb(kind)
    assert len(packed) < MEGABYTE
    async with unmoved(system):
        pid = system.stack.pid("registry")
        assert pid is not None
        before = resident_bytes(pid, begin_peak_anew(pid))
        answers = await asyncio.gather(
            *(
                posted(system.registry, packed, BATCH, **{"Content-Encoding": "gzip"})
                for _ in range(3)
            )
        )
        for response in answers:
            check_problem(response, 413, "too-large", "body")
        assert resident_bytes(pid, "VmHWM") - before < MOST_GROWTH_BYTES


async def test_a_body_that_is_simply_too_large_is_refused(system: System) -> None:
    async with unmoved(system):
        response = await posted(system.registry, b" " * (17 * MEGABYTE), BATCH)
        check_problem(response, 413, "too-large", "body")


async def test_gzip_that_is_none_or_breaks_off_is_refused(system: System) -> None:
    whole = gzip.compress(json.dumps([registered(nik())]).encode())
    async with unmoved(system):
        for body in (b"[]", whole[:-9], whole + b"more", b""):
            response = await posted(system.registry, body, BATCH, **{"Content-Encoding": "gzip"})
            check_problem(response, 400, "invalid", "body")
        response = await posted(system.registry, whole, BATCH, **{"Content-Encoding": "br"})
        check_problem(response, 415, "invalid", "content-encoding")


@pytest.mark.parametrize("way", ["closed", "half closed", "reset"])
async def test_a_body_that_is_cut_off_leaves_nothing_behind(system: System, way: str) -> None:
    sent = registered(nik())
    async with unmoved(system):
        for part in (0, 1, 100):
            await asyncio.to_thread(cut_off, system, json.dumps(sent).encode(), part, way)
    [answer] = await send(system, sent)
    assert answer["outcome"] == "accepted"


def cut_off(system: System, body: bytes, part: int, way: str) -> None:
    """Announce a whole body, send a part of it, and go."""
    where = urlsplit(system.stack.urls["registry"])
    head = (
        f"POST /v1/events HTTP/1.1\r\nHost: {where.netloc}\r\nContent-Type: {SINGLE}\r\n"
        f"Authorization: Bearer {system.stack.operator_token}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    assert where.hostname is not None
    assert where.port is not None
    with socket.create_connection((where.hostname, where.port), timeout=10) as connection:
        connection.sendall(head.encode() + body[:part])
        if way == "half closed":
            connection.shutdown(socket.SHUT_WR)
            answer = connection.recv(65_536)
            assert answer == b"" or answer.startswith(b"HTTP/1.1 4"), answer
        if way == "reset":
            linger_for_nothing = b"\1\0\0\0\0\0\0\0"
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger_for_nothing)


@pytest.mark.parametrize("token", ["", "nobodys", "Bearer", "ñ"])
async def test_without_a_token_in_force_nothing_is_taken(system: System, token: str) -> None:
    sent = registered(nik())
    async with unmoved(system):
        headers = {b"Authorization": f"Bearer {token}".encode()} if token else {}
        url = system.stack.urls["registry"]
        async with httpx.AsyncClient(base_url=url, headers=headers) as http:
            response = await posted(http, sent, SINGLE)
            check_problem(response, 401, "unauthorized", None)
            assert response.headers["www-authenticate"] == "Bearer"
            check_problem(await http.get("/v1/log"), 401, "unauthorized", None)
    [answer] = await send(system, sent)
    assert answer["outcome"] == "accepted"


async def token_of(system: System, role: Role, name: str) -> str:
    engine = create_engine(system.stack.database_url, pool_size=1)
    try:
        return await Tokens(engine, None).create(role, name)
    finally:
        await engine.dispose()


async def test_a_station_may_send_for_itself_alone(system: System) -> None:
    mine, others = registered(nik()), registered(nik(), source=OTHER_SOURCE)
    token = await token_of(system, Role.STATION, SOURCE.rpartition(":")[2])
    async with unmoved(system), client(system.stack.urls["registry"], token) as http:
        check_problem(await posted(http, others, SINGLE), 403, "forbidden", "source")
    async with client(system.stack.urls["registry"], token) as http:
        system.ledger.note([mine, others])
        results = (await posted(http, [others, mine, others])).json()["results"]
    assert [result["outcome"] for result in results] == ["rejected", "accepted", "rejected"]
    check_body(results[0]["problem"], 403, "forbidden", "source")
    [answer] = await send(system, others)
    assert answer["outcome"] == "accepted", "a refusal must not use up another station's id"


async def test_kpu_may_send_nothing(system: System) -> None:
    token = await token_of(system, Role.KPU, "kpu-kerinci")
    async with unmoved(system), client(system.stack.urls["registry"], token) as http:
        check_problem(await posted(http, registered(nik()), SINGLE), 403, "forbidden", None)


PARAMETERS: Final = {
    "after=-1": "after",
    "after=x": "after",
    "after=9999999999999999999999": "after",
    "limit=0": "limit",
    "limit=10001": "limit",
    "limit=": "limit",
}


@pytest.mark.parametrize("query", PARAMETERS)
async def test_a_page_of_the_log_that_cannot_be_is_refused(system: System, query: str) -> None:
    async with unmoved(system):
        response = await system.registry.get(f"/v1/log?{query}")
        check_problem(response, 400, "invalid", PARAMETERS[query])


async def test_noise_is_answered_without_a_fault(system: System) -> None:
    chance = random.Random(1)
    async with unmoved(system):
        for _ in range(100):
            body = chance.randbytes(chance.randrange(1, 2_000))
            for content_type, encoding in ((SINGLE, "identity"), (BATCH, "gzip")):
                response = await posted(
                    system.registry, body, content_type, **{"Content-Encoding": encoding}
                )
                check_problem(response, 400, "invalid", "body")
