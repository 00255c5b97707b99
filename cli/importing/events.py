"""A person as the events that a station sends, with ids that come out the same each time.

An id is a keyed hash of all that its event says. So the same row gives the same event under the
same id, however often it is sent, and a row that was mended gives another. Ids are served with
the log: without the key nobody can try out NIKs against them (contract section 2).
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from cli.importing.people import Person
from shared.events.facts import TYPE_PREFIX
from shared.stations import SOURCE_PREFIX

ID_BYTES: Final = 16
_REGISTERED: Final = TYPE_PREFIX + "resident.registered"
_RECORDED: Final = TYPE_PREFIX + "ktp.recorded"

Event = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Writer:
    """Writes the events of one import: `time` is when its list was made, or first imported."""

    station: str
    time: str
    key: bytes
    with_recordings: bool

    def events(self, person: Person) -> Iterator[Event]:
        data = {
            "nik": person.nik,
            "name": person.name,
            "sex": person.sex,
            "birth_date": person.birth_date,
            "marital_status": person.marital_status,
            "village": person.village,
        }
        if person.service != "none":
            data["service"] = person.service
        yield self._event(_REGISTERED, data)
        if person.recorded and self.with_recordings:
            yield self._event(_RECORDED, {"nik": person.nik})

    def _event(self, event_type: str, data: dict[str, str]) -> Event:
        # A service is never a village code, so the joined values are one only for one content.
        content = "\x1f".join((self.station, event_type, self.time, *data.values()))
        digest = hashlib.blake2b(content.encode(), digest_size=ID_BYTES, key=self.key)
        return {
            "specversion": "1.0",
            "id": "imp-" + digest.hexdigest(),
            "source": SOURCE_PREFIX + self.station,
            "type": event_type,
            "time": self.time,
            "data": data,
        }
