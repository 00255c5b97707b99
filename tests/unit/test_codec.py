"""Whatever was once written in the log can be read for ever."""

import dataclasses
import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from shared.events import codec
from shared.events.codec import EVENT_TYPES, VERSION, UnreadableFactError, read_fact
from shared.events.facts import KtpFailed, RecordingFailure

GOLDEN = Path(__file__).parents[1] / "golden"


def written(version: int) -> list[dict[str, Any]]:
    lines = (GOLDEN / f"facts-v{version}.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def plain(fact: Any) -> dict[str, Any]:
    """A fact as JSON has it, with the name of its class."""
    members = {
        name: value.isoformat() if isinstance(value, date) else value
        for name, value in dataclasses.asdict(fact).items()
    }
    return {"fact": type(fact).__name__, **members}


EXAMPLES = [
    pytest.param(version, example, id=f"v{version}-{number}-{example['type']}")
    for version in range(1, VERSION + 1)
    for number, example in enumerate(written(version))
]


@pytest.mark.parametrize(("version", "example"), EXAMPLES)
def test_a_fact_of_every_version_reads_as_it_always_did(
    version: int, example: dict[str, Any]
) -> None:
    assert plain(read_fact(example["type"], example["data"], version)) == example["reads"]


@pytest.mark.parametrize("version", range(1, VERSION + 1))
def test_every_version_has_an_example_of_every_type_that_it_knew(version: int) -> None:
    named = {example["type"].removeprefix("id.dukcapil.") for example in written(version)}
    assert named <= EVENT_TYPES
    if version == VERSION:
        assert named == EVENT_TYPES


@pytest.mark.parametrize(
    ("event_type", "data", "version"),
    [
        ("id.dukcapil.resident.cloned", {}, 1),
        ("id.dukcapil.ktp.failed", {}, 1),
        ("id.dukcapil.ktp.failed", {"reason": "lost"}, 1),
        ("id.dukcapil.ktp.recorded", {}, 0),
        ("id.dukcapil.ktp.recorded", {}, VERSION + 1),
        ("id.dukcapil.resident.died", {"died_on": "2024-02-30"}, 1),
    ],
)
def test_what_is_not_in_the_rulebook_is_unreadable(
    event_type: str, data: dict[str, Any], version: int
) -> None:
    with pytest.raises(UnreadableFactError):
        read_fact(event_type, data, version)


def test_an_older_form_is_brought_up_step_by_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec, "VERSION", 3)
    monkeypatch.setattr(
        codec,
        "_UPCASTS",
        {
            1: {"ktp.failed": lambda data: {"reason": data["code"]}},
            2: {"ktp.failed": lambda data: {"reason": data["reason"].lower()}},
        },
    )
    oldest = read_fact("id.dukcapil.ktp.failed", {"code": "OTHER"}, 1)
    assert oldest == KtpFailed(RecordingFailure.OTHER)
    assert read_fact("id.dukcapil.ktp.failed", {"reason": "OTHER"}, 2) == oldest
