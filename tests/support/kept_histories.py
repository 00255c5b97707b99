"""Histories kept as JSON, with what was answered to them, to be replayed for ever."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.support.histories import Submission
from tests.support.pure_system import DifferenceFound, Pair, in_batches

KEPT = Path(__file__).parents[1] / "golden" / "histories"


@dataclass(frozen=True)
class KeptHistory:
    """A history with what it shows; `answers` and `voters` are None where none are kept yet."""

    about: str
    history: list[Submission]
    answers: list[str] | None
    voters: list[str] | None


def replay(history: Sequence[Submission]) -> tuple[list[str], list[str]]:
    """The answers to a history and the changes of voters that it makes, in words. Raises
    DifferenceFound where the services differ from the slow model."""
    pair = Pair()
    answers = [answer for batch in in_batches(history) for answer in pair.submit(batch)]
    pair.compare()
    return answers, [
        f"{change.position} {change.key.election}: {change.kind.value}"
        f" {change.from_village or '-'} > {change.to_village or '-'} {change.reason}"
        for change in pair.system.feeds.voter_changes
    ]


def write(path: Path, about: str, history: Sequence[Submission]) -> None:
    """Keep a history; with what is said of it, where all agree on that."""
    kept: dict[str, Any] = {
        "about": about,
        "submissions": [
            {"received_at": each.received_at.isoformat(), "note": each.note, "event": each.event}
            for each in history
        ],
    }
    try:
        kept["answers"], kept["voters"] = replay(history)
    except (DifferenceFound, LookupError, TypeError, ValueError):
        kept |= {"answers": None, "voters": None}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(kept, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def read(path: Path) -> KeptHistory:
    """Read a kept history."""
    kept = json.loads(path.read_text(encoding="utf-8"))
    history = [
        Submission(each["event"], datetime.fromisoformat(each["received_at"]), each["note"])
        for each in kept["submissions"]
    ]
    return KeptHistory(kept["about"], history, kept["answers"], kept["voters"])
