"""What everybody may read of an event must not tell whom it is about (contract section 2).

The log serves an event's `source`, `id` and texts as they were sent. That its own NIK or name is
in them can be seen at once. Another's NIK cannot be told from a clock or a counter of as many
digits; so whatever reads as one is given on by its subject, and those of somebody whom the
registry knows are refused when it decides.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from services.registry.domain import nik as niks

SubjectOf = Callable[[str], bytes]

# By these an event is called, in the log and in the registry's own tables.
NAMES: Final = ("id", "source")
# What a retraction names is in the log already under that name, or is refused as unknown.
_TEXTS: Final = ("letter_no", "reason", "verdict_no")
_NOTHING: Final[Mapping[bytes, str]] = {}
_SHORTEST: Final = 16
_WORD: Final = re.compile(r"\w+")

HOLDS_OWN_NIK: Final = "must not hold the resident's NIK"
HOLDS_A_NIK: Final = "must not hold the NIK of anybody; write it without"
HOLDS_OWN_NAME: Final = "must not hold the resident's name; send it in data.name alone"


def _served(event: Mapping[str, Any], data: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The texts that the log serves, each with the member that it is in."""
    for member in NAMES:
        yield member, event[member]
    for member in _TEXTS:
        if isinstance(text := data.get(member), str):
            yield f"data.{member}", text


def is_named_by_its_nik(event: Mapping[str, Any]) -> bool:
    """Whether an event's own NIK is in the names by which it is called."""
    data = event.get("data")
    nik = data.get("nik") if isinstance(data, dict) else None
    return isinstance(nik, str) and any(_holds(event[member], nik) for member in NAMES)


def fault_of(event: Mapping[str, Any], data: Mapping[str, Any]) -> tuple[str, str] | None:
    """The member that tells the NIK or name of the event's own resident, and what is wrong."""
    nik, name = data.get("nik"), data.get("name")
    for member, text in _served(event, data):
        if nik is not None and _holds(text, nik):
            return member, HOLDS_OWN_NIK
        if name and member == "data.reason" and _words(name) in _words(text):
            return member, HOLDS_OWN_NAME
    return None


def numbers_told(
    event: Mapping[str, Any], data: Mapping[str, Any], subject_of: SubjectOf
) -> Mapping[bytes, str]:
    """By its subject, the member that holds each number that reads as a NIK."""
    found: dict[bytes, str] = {}
    for member, text in _served(event, data):
        if len(text) >= _SHORTEST:
            for nik in niks.readable_in(text):
                found.setdefault(subject_of(nik), member)
    return found or _NOTHING


def _holds(text: str, nik: str) -> bool:
    return bool(nik) and (nik in text or nik in niks.readable_in(text))


def _words(text: str) -> str:
    """A text as words between single blanks, to be searched for whole ones."""
    return " ".join(["", *_WORD.findall(text.casefold()), ""])
