"""What the codecs write is what the AsyncAPI document says, and what the registry takes is what
its OpenAPI document says may be sent."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.documents.asyncapi import asyncapi_document
from cli.documents.services import openapi_documents
from services.notifier.domain.changes import VillageRecord
from services.notifier.records import TopicValue, read_record
from services.projections.announcing import announcement
from services.projections.domain.tally import TallyChange
from services.registry.domain.submissions import Arrival, WellFormed, arrive
from shared.counts import Counts, VillageKey
from shared.elections import PILKADA_2024
from shared.events.records import LogEntry, write_event, write_published
from tests.support.builders import event, recorded, registered
from tests.support.documented import Schemas

GOLDEN = Path(__file__).parents[1] / "golden" / "facts-v1.jsonl"
FACTS = [json.loads(line) for line in GOLDEN.read_text().splitlines()]
NIK = "1501012711070001"

ASYNCAPI = asyncapi_document()
MESSAGES = ASYNCAPI["components"]["messages"]
SCHEMAS = Schemas(ASYNCAPI)


def faults(message: str, value: bytes) -> list[str]:
    return SCHEMAS.faults(MESSAGES[message]["payload"], orjson.loads(value))


def entry(kind: str, data: dict[str, Any]) -> LogEntry:
    return LogEntry(
        7,
        datetime(2024, 6, 24, 2, 15, 0, 731204, tzinfo=UTC),
        kind,
        1,
        "2024-06-24T09:15:00+07:00",
        "urn:dukcapil:station:KRC-01",
        "e-1",
        UUID(int=7),
        json.dumps(data),
    )


@pytest.mark.parametrize("fact", FACTS, ids=[f"{n}-{f['type']}" for n, f in enumerate(FACTS)])
def test_an_event_of_every_type_is_published_as_documented(fact: dict[str, Any]) -> None:
    assert faults("event", write_event(entry(fact["type"], fact["data"]), 3)) == []


def test_a_record_of_another_type_or_with_a_name_in_it_is_not_as_documented() -> None:
    data = {"sex": "L", "birth_date": "2007", "marital_status": "B", "village": "15.01.01.1004"}
    kind = "id.dukcapil.resident.registered"
    assert faults("event", write_event(entry(kind, data), 3)) == []
    assert faults("event", write_event(entry(kind, data | {"name": "Ani"}), 3)) != []
    assert faults("event", write_event(entry("id.dukcapil.resident.cloned", data), 3)) != []


@given(position=st.integers(0, 2**53), previous=st.integers(0, 2**53))
def test_the_markers_are_as_documented(position: int, previous: int) -> None:
    assert faults("publishedUpTo", write_published(position, previous)) == []
    assert faults("event", write_published(position, previous)) != []


tallies = st.lists(
    st.integers(0, 2**40), min_size=len(Counts._fields), max_size=len(Counts._fields)
).map(Counts._make)


@given(
    before=tallies,
    after=tallies,
    revision=st.integers(1, 2**40),
    second=st.integers(0, 366 * 86_400),
)
def test_a_villages_change_is_announced_as_documented_and_the_notifier_reads_it(
    before: Counts, after: Counts, revision: int, second: int
) -> None:
    moment = datetime(2024, 1, 1, tzinfo=UTC) + timedelta(seconds=second)
    key = VillageKey(PILKADA_2024.id, "15.01.16.2001")
    change = TallyChange(key, revision, 9, moment, before, after)
    value = announcement(change, PILKADA_2024).value
    assert faults("villageChange", value) == []
    read = read_record(TopicValue(0, 0, value))
    assert isinstance(read, VillageRecord)
    assert (read.before, read.after, read.revision) == (before, after, revision)


REGISTRY = openapi_documents()["registry"]
SENT = REGISTRY["paths"]["/v1/events"]["post"]["requestBody"]["content"][
    "application/cloudevents+json"
]["schema"]
REGISTRY_SCHEMAS = Schemas(REGISTRY)


def is_taken(sent: Any) -> bool:
    """Whether the form of an event is right for the registry."""
    arrived = arrive(sent, True, lambda nik: nik.encode())
    return isinstance(arrived, Arrival) and isinstance(arrived.checked, WellFormed)


def changed(sent: dict[str, Any], path: list[str], value: Any) -> dict[str, Any]:
    """An event with one member replaced, or left out where the value is `...`."""
    copied: dict[str, Any] = json.loads(json.dumps(sent))
    holder = copied
    for name in path[:-1]:
        holder = holder[name]
    if value is ...:
        holder.pop(path[-1], None)
    else:
        holder[path[-1]] = value
    return copied


CORRECTION = event("biodata.corrected", {"nik": NIK, "reason": "akta", "birth_date": "1980"})
RELOCATION = event(
    "resident.relocated",
    {
        "nik": NIK,
        "to_village": "15.01.16.2001",
        "effective_date": "2024-05-01",
        "letter_no": "SKPWNI/1",
    },
)


@pytest.mark.parametrize(
    ("sent", "path", "value"),
    [
        (registered(), ["data", "nik"], "123"),
        (registered(), ["data", "nik"], ...),
        (registered(), ["data", "sex"], "X"),
        (registered(), ["data", "birth_date"], "27-11-2007"),
        (registered(), ["data", "village"], "1501011004"),
        (registered(), ["data", "name"], ""),
        (registered(), ["data", "name"], 7),
        (registered(), ["data", "service"], None),
        (registered(), ["data", "mother"], "Ani"),
        (registered(), ["specversion"], "0.3"),
        (registered(), ["source"], "somewhere"),
        (registered(), ["type"], "resident.registered"),
        (registered(), ["time"], "2024-06-01"),
        (registered(), ["time"], ...),
        (registered(), ["stationseq"], 0),
        (registered(), ["datacontenttype"], "text/plain"),
        (registered(), ["data"], ...),
        (recorded(), ["id"], ""),
        (recorded(), ["id"], "x" * 201),
        (CORRECTION, ["data", "birth_date"], ...),
        (CORRECTION, ["data", "birth_date"], None),
        (RELOCATION, ["data", "effective_date"], "2024-5-1"),
        (RELOCATION, ["data", "letter_no"], "x" * 101),
    ],
)
def test_what_is_not_as_documented_the_registry_refuses_too(
    sent: dict[str, Any], path: list[str], value: Any
) -> None:
    assert REGISTRY_SCHEMAS.faults(SENT, sent) == []
    assert is_taken(sent)
    wrong = changed(sent, path, value)
    assert REGISTRY_SCHEMAS.faults(SENT, wrong) != []
    assert not is_taken(wrong)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["stationseq"], None),
        (["stationseq"], 2**53 - 1),
        (["datacontenttype"], None),
        (["traceparent"], "00-1"),
        (["data", "birth_date"], "2007-11"),
        (["data", "birth_date"], "2007"),
        (["data", "service"], ...),
    ],
)
def test_what_the_registry_takes_is_as_documented(path: list[str], value: Any) -> None:
    sent = changed(registered(), path, value)
    assert is_taken(sent)
    assert REGISTRY_SCHEMAS.faults(SENT, sent) == []
