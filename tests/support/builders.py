"""Dull valid events, of which a test names only what matters. Every resident is invented."""

from itertools import count
from typing import Any

SOURCE = "urn:dukcapil:station:KRC-01"
SIULAK_GEDANG = "15.01.16.2001"
LEMPUR_TENGAH = "15.01.01.1004"
JAKARTA = "31.71.01.1001"
NIK = "1501012711070001"

_numbers = count(1)


def event(kind: str, data: dict[str, Any], **envelope: Any) -> dict[str, Any]:
    """A CloudEvent of a type named without its prefix; a fresh id unless one is given."""
    return {
        "specversion": "1.0",
        "id": f"e-{next(_numbers)}",
        "source": SOURCE,
        "type": f"id.dukcapil.{kind}",
        "time": "2024-06-01T09:00:00+07:00",
        "data": data,
    } | envelope


def registered(nik: str = NIK, **data: Any) -> dict[str, Any]:
    """A man born on 27 November 2007, of age on the polling day itself."""
    envelope = {key: data.pop(key) for key in ("id", "source", "time") if key in data}
    biodata = {
        "nik": nik,
        "name": "Warga Contoh",
        "sex": "L",
        "birth_date": "2007-11-27",
        "marital_status": "B",
        "village": LEMPUR_TENGAH,
    }
    return event("resident.registered", biodata | data, **envelope)


def recorded(nik: str = NIK, **envelope: Any) -> dict[str, Any]:
    return event("ktp.recorded", {"nik": nik}, **envelope)


def activated(nik: str = NIK, **envelope: Any) -> dict[str, Any]:
    return event("ikd.activated", {"nik": nik}, **envelope)


def relocated(nik: str = NIK, to: str = SIULAK_GEDANG, on: str = "2024-05-01") -> dict[str, Any]:
    return event(
        "resident.relocated",
        {"nik": nik, "to_village": to, "effective_date": on, "letter_no": "SKPWNI/1501/1"},
    )


def died(nik: str = NIK, on: str = "2024-05-01", **envelope: Any) -> dict[str, Any]:
    return event("resident.died", {"nik": nik, "died_on": on}, **envelope)


def retracted(of: dict[str, Any], **envelope: Any) -> dict[str, Any]:
    named = {"source": of["source"], "id": of["id"]}
    return event("event.retracted", {"retracts": named, "reason": "salah ketik"}, **envelope)
