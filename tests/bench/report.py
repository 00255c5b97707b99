"""The table that a person reads, and the same numbers for a program."""

import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from tests.bench.figures import Figures
from tests.bench.measuring import Measured

WIDTH: Final = 100
LABEL: Final = 52
NUMBER: Final = 10


@dataclass(frozen=True, slots=True)
class Line:
    """A figure as it is shown: what is aimed at, or another figure that it is compared with."""

    label: str
    name: str
    aim: str = ""
    against: str = ""


SECTIONS: Final[Mapping[str, tuple[Line, ...]]] = {
    "Accepted events a second, durable when answered": (
        Line("batches of 500 by 4 clients", "batches_per_s", "aim 10,000, at least 5,000"),
        Line("single requests by 64 clients", "singles_per_s", "at least 1,000"),
        Line("  answered within, ms: p50", "singles_p50_ms"),
        Line("  answered within, ms: p99", "singles_p99_ms"),
    ),
    "KPU: ms from the 201 to the bytes on the stream": (
        Line("p50", "told_p50_ms"),
        Line("p99", "told_p99_ms", "under 1,000"),
        Line("longest", "told_max_ms"),
        Line("  events a second that were sent", "paced_per_s", "500"),
    ),
    "Catching up with the batches": (
        Line("projections: events counted a second", "counted_per_s"),
        Line("  seconds from the last 200 to the last counted", "counted_after_s"),
        Line("notifier: events told a second", "told_per_s"),
        Line("  seconds from the last 200 to the last told", "told_after_s"),
    ),
    "Floor: asyncpg into one bare table, rows a second": (
        Line("COPY of 500 by 4 connections", "copy_per_s", against="batches_per_s"),
        Line("executemany of 500 by 4 connections", "executemany_per_s", against="batches_per_s"),
        Line("single-row commits by 64 connections", "commits_per_s", against="singles_per_s"),
    ),
    "Peer: eventsourcing's recorder, events a second": (
        Line("appends of 500 by 4 threads", "peer_batches_per_s", against="batches_per_s"),
        Line("single appends by 64 threads", "peer_singles_per_s", against="singles_per_s"),
    ),
    "CPU: microseconds an event of the batches costs": (
        Line("registry", "batches_registry_us"),
        Line("projections", "batches_projections_us"),
        Line("notifier", "batches_notifier_us"),
        Line("PostgreSQL", "batches_postgres_us"),
        Line("Kafka", "batches_kafka_us"),
        Line("  registry, for a single request", "singles_registry_us"),
    ),
    "Load generator: per cent of one core": (
        Line("while sending batches", "batches_sender_percent"),
        Line("while sending single requests", "singles_sender_percent"),
    ),
}


@dataclass(frozen=True, slots=True)
class Setting:
    """Under what the numbers were taken."""

    command: str
    seconds: float
    others_percent: float
    machine: Mapping[str, str]
    versions: Mapping[str, str]
    memory_mb: Mapping[str, float]


def table(setting: Setting, measured: Measured) -> str:
    return "\n".join([*_head(setting, measured), *_body(measured), *_memory(setting)])


def as_json(setting: Setting, measured: Measured) -> bytes:
    """Every run of every figure."""
    members: dict[str, Any] = {
        "command": setting.command,
        "seconds": setting.seconds,
        "others_percent": setting.others_percent,
        "machine": setting.machine,
        "versions": setting.versions,
        "row_bytes": measured.row_bytes,
        "events": measured.events,
        "runs": measured.figures.runs,
        "memory_mb": setting.memory_mb,
    }
    return orjson.dumps(members, option=orjson.OPT_INDENT_2) + b"\n"


def _head(setting: Setting, measured: Measured) -> Iterator[str]:
    yield setting.command
    yield (
        f"one stack, {measured.events:,} events, {setting.seconds:,.0f} s in all;"
        f" other programs took {setting.others_percent:.0f} % of the cores meanwhile"
    )
    for about in (setting.machine, setting.versions):
        yield from textwrap.wrap(", ".join(f"{k} {v}" for k, v in about.items()), WIDTH)
    yield f"the registry keeps {measured.row_bytes} bytes of an event; the rows below have as many"


def _body(measured: Measured) -> Iterator[str]:
    for title, lines in SECTIONS.items():
        yield ""
        yield f"{title:<{LABEL}}{'min':>{NUMBER}}{'median':>{NUMBER}}{'max':>{NUMBER}}"
        for line in lines:
            yield _line(line, measured.figures)


def _line(line: Line, figures: Figures) -> str:
    spread = figures.spread(line.name)
    numbers = (spread.least, spread.median, spread.greatest)
    shown = "".join(f"{_number(value):>{NUMBER}}" for value in numbers)
    return f"  {line.label:<{LABEL - 2}}{shown}   {_remark(line, figures)}".rstrip()


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:,.1f}" if value >= 10 else f"{value:.2f}"


def _remark(line: Line, figures: Figures) -> str:
    if not line.against:
        return line.aim
    ratio = figures.median(line.against) / figures.median(line.name)
    return f"the registry: {ratio:.2f} times this"


def _memory(setting: Setting) -> Iterator[str]:
    yield ""
    yield "Memory at the end, MB resident (PostgreSQL with what its processes share counted once)"
    yield "  " + ", ".join(f"{name} {mb:,.0f}" for name, mb in setting.memory_mb.items())
