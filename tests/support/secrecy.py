"""Looks for a NIK or a name where none may be: everywhere but in the registry's sealed rows."""

import re
from collections.abc import Iterable
from typing import Final

from shared.topics import TOPICS
from tests.support.driving import NAME_MARK
from tests.support.histories import Event
from tests.support.reading import read_files, read_log, read_tables, read_topic
from tests.support.system import System

NIK_DIGITS: Final = 16
_DIGITS: Final = re.compile(rb"[0-9]{16,}")
_MARK: Final = NAME_MARK.encode()

# These must have rows when they are looked through; every other table is looked through too.
SERVICES_TABLES: Final = ("registry.log", "projections.", "notifier.")


def niks_of(events: Iterable[Event]) -> set[bytes]:
    """Every NIK that was sent."""
    told = (event["data"].get("nik") for event in events if isinstance(event.get("data"), dict))
    return {nik.encode() for nik in told if isinstance(nik, str) and is_sixteen_digits(nik)}


def is_sixteen_digits(nik: str) -> bool:
    """Whether it would be taken for a NIK, though its date may not exist."""
    return _DIGITS.fullmatch(nik.encode()) is not None and len(nik) == NIK_DIGITS


def told_in(text: bytes, niks: set[bytes]) -> bool:
    """Whether a text holds one of the NIKs, or a name that was sent."""
    return _MARK in text or any(
        digits[begin : begin + NIK_DIGITS] in niks
        for digits in _DIGITS.findall(text)
        for begin in range(len(digits) - NIK_DIGITS + 1)
    )


async def check_secrecy(system: System) -> None:
    """No NIK and no name in the log as served, in a topic, in a table, or in any file."""
    niks = niks_of(system.ledger.sent())
    assert niks, "nothing was sent of anybody"
    served = repr(await read_log(system.registry)).encode()
    assert not told_in(served, niks), "GET /v1/log tells who somebody is"
    for topic in TOPICS:
        records = await read_topic(system.stack.kafka_bootstrap, topic)
        assert records, f"{topic} is empty"
        assert not any(told_in(key + b" " + value, niks) for key, value in records), topic
    tables = await read_tables(system.stack.superuser_url)
    for prefix in SERVICES_TABLES:
        assert any(name.startswith(prefix) and rows for name, rows in tables.items()), prefix
    for name, rows in tables.items():
        assert not told_in("\n".join(rows).encode(), niks), f"the table {name} tells who it is"
    for path, content in read_files(system.stack.home):
        assert not told_in(content, niks), f"{path} tells who somebody is"
