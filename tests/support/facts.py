"""Log entries and facts for tests of what reads the log: dull; the test names what matters."""

from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import orjson

from shared.events.facts import TYPE_PREFIX, LoggedFact
from shared.events.records import LogEntry, logged_fact

SOURCE = "urn:dukcapil:station:KRC-01"
LEMPUR_TENGAH = "15.01.01.1004"
LEMPUR_HILIR = "15.01.01.2001"
SIULAK_GEDANG = "15.01.16.2001"
JAKARTA = "31.71.01.1001"
RECORDED_FROM = datetime(2024, 6, 1, 2, tzinfo=UTC)
SOMEBODY = UUID(int=1)


def entry(kind: str, position: int = 1, resident_id: UUID = SOMEBODY, **data: Any) -> LogEntry:
    """A log entry of a type named without its prefix; its id is `e-<position>`."""
    recorded_at = RECORDED_FROM + timedelta(seconds=position)
    return LogEntry(
        position=position,
        recorded_at=recorded_at,
        type=TYPE_PREFIX + kind,
        version=1,
        time=recorded_at.isoformat(),
        source=SOURCE,
        id=f"e-{position}",
        resident_id=resident_id,
        data=orjson.dumps(data).decode(),
    )


def registration(position: int = 1, resident_id: UUID = SOMEBODY, **data: Any) -> LogEntry:
    """A man of 40, never married, in Lempur Tengah."""
    biodata = {
        "sex": "L",
        "birth_date": "1984-01-31",
        "marital_status": "B",
        "village": LEMPUR_TENGAH,
    }
    return entry("resident.registered", position, resident_id, **(biodata | data))


def fact(kind: str, position: int = 2, **data: Any) -> LoggedFact:
    return logged_fact(entry(kind, position, **data))


def registered(**data: Any) -> LoggedFact:
    return logged_fact(registration(**data))


def moved(to: str, on: str | date, position: int = 2, letter_no: str = "SKPWNI/1") -> LoggedFact:
    return fact(
        "resident.relocated",
        position,
        to_village=to,
        effective_date=str(on),
        letter_no=letter_no,
    )


def retraction(of: int, position: int) -> LoggedFact:
    """The retraction of the fact at a position."""
    return fact(
        "event.retracted",
        position,
        retracts={"source": SOURCE, "id": f"e-{of}"},
        reason="salah ketik",
    )
