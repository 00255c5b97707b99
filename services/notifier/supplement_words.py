"""A supplement in the words of an election office."""

from datetime import datetime
from typing import Final

from services.notifier.domain.supplements import Entry
from services.notifier.domain.voters import Kind
from shared.calendar import OFFICE_ZONE
from shared.regions import regions

KINDS: Final = {
    Kind.ADDED.value: "ditambahkan",
    Kind.REMOVED.value: "dihapus",
    Kind.MOVED.value: "pindah",
}

# The columns of a village's totals, after the village.
TOTALS: Final = ("Sebelum", "Ditambah", "Dihapus", "Pindah masuk", "Pindah keluar", "Sesudah")

_EVENT_PREFIX: Final = "id.dukcapil."
_REASONS: Final = {
    "resident.registered": "pendaftaran penduduk",
    "resident.relocated": "pindah domisili",
    "resident.married": "perkawinan",
    "resident.died": "meninggal dunia",
    "service.changed": "perubahan status TNI/Polri",
    "rights.revoked": "hak pilih dicabut",
    "rights.restored": "hak pilih dipulihkan",
    "biodata.corrected": "perbaikan biodata",
    "event.retracted": "pembatalan peristiwa",
    "election.changed": "perubahan penetapan pemilihan",
    "counts.replayed": "penghitungan ulang",
    "replay.undone": "pembatalan penghitungan ulang",
}
_MONTHS: Final = (
    *("Januari", "Februari", "Maret", "April", "Mei", "Juni", "Juli", "Agustus"),
    *("September", "Oktober", "November", "Desember"),
)


def reason(entry: Entry) -> str:
    """Why a change was made."""
    name = entry.reason.removeprefix(_EVENT_PREFIX)
    return _REASONS.get(name, name)


def village_name(code: str | None) -> str:
    """A village's name, nothing for none."""
    region = regions().get(code or "")
    return region.name if region else ""


def number(value: int) -> str:
    """A whole number with points between the thousands."""
    return f"{value:,}".replace(",", ".")


def day(moment: datetime) -> str:
    """The day in the office's zone, such as 27 November 2024."""
    here = moment.astimezone(OFFICE_ZONE)
    return f"{here.day} {_MONTHS[here.month - 1]} {here.year}"


def moment(when: datetime) -> str:
    """The minute in the office's zone, such as 2024-11-27 09.05 WIB."""
    return when.astimezone(OFFICE_ZONE).strftime("%Y-%m-%d %H.%M WIB")
