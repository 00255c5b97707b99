"""What everybody may read of an event must not tell whom it is about (contract section 2).

The log serves an event's `source`, `id` and texts as they were sent. That its own NIK or name is
in them can be seen at once. Another's NIK cannot be told from a clock or a counter of as many
digits; so whatever reads as one is given on by its subject, and those of somebody whom the
registry knows are refused when it decides; and so is the resident's name, which only the registry
knows, in what was written about them.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from services.registry.domain import nik as niks

SubjectOf = Callable[[str], bytes]

# By these an event is called, in the log and in the registry's own tables.
NAMES: Final = ("id", "source")
# What a retraction names is in the log already under that name, or is refused as unknown.
_TEXTS: Final = ("letter_no", "reason", "verdict_no")
# No number goes on across it.
_BETWEEN: Final = "\n"
_NOTHING: Final[Mapping[str, str]] = {}
_WORD: Final = re.compile(r"\w+")

HOLDS_OWN_NIK: Final = "must not hold the resident's NIK"
HOLDS_A_NIK: Final = "must not hold the NIK of anybody; write it without"
HOLDS_THE_NAME: Final = "must not hold the resident's name; write it without"

Told = Sequence[tuple[str, str]]


def is_named_by_its_nik(event: Mapping[str, Any], names: Sequence[str] = NAMES) -> bool:
    """Whether an event's own NIK, well formed or not, is in the names by which it is called."""
    data = event.get("data")
    nik = data.get("nik") if isinstance(data, dict) else None
    if not isinstance(nik, str) or not nik:
        return False
    read = _BETWEEN.join([event[name] for name in names])
    return nik in read or (niks.may_be_read_in(read) and nik in niks.readable_in(read))


def texts_of(data: Mapping[str, Any]) -> Mapping[str, str]:
    """What somebody wrote in words of their own, by its member."""
    found: dict[str, str] = {}
    for member in _TEXTS:
        if isinstance(text := data.get(member), str):
            found[f"data.{member}"] = text
    return found or _NOTHING


def niks_told(event: Mapping[str, Any], texts: Mapping[str, str]) -> Told:
    """All that reads as a NIK in what the log serves of an event, each with its member."""
    names = {member: event[member] for member in NAMES}
    if not niks.may_be_read_in(_BETWEEN.join((*names.values(), *texts.values()))):
        return ()
    served = {**names, **texts}
    return [(member, nik) for member, text in served.items() for nik in niks.readable_in(text)]


def text_with(names: Iterable[str], texts: Mapping[str, str]) -> str | None:
    """The member whose text holds one of these names, in whatever case it is written."""
    for member, text in texts.items():
        read = _words(text)
        if any(_words(name) in read for name in names):
            return member
    return None


def _words(text: str) -> str:
    """A text as words between single blanks, to be searched for whole ones."""
    return " ".join(["", *_WORD.findall(text.casefold()), ""])
