"""The titles of columns, as offices write them."""

import re
from collections.abc import Mapping, Sequence
from typing import Final, TypeVar

_NOT_LETTERS: Final = re.compile(r"[^0-9a-z]")

VILLAGE_TITLES: Final = frozenset(
    {"village", "villagecode", "kodedesa", "kodekelurahan", "kodedesakelurahan"}
    | {"kodekel", "kddesa", "kdkel", "kodewilayah"}
)
NIK_TITLES: Final = frozenset({"nik", "nonik", "nomornik", "nomorindukkependudukan"})

M = TypeVar("M", bound=str)


class DoubleTitleError(Exception):
    """Two columns, counted from 1, look like the same member."""

    def __init__(self, first: int, second: int, member: str) -> None:
        super().__init__(f"the columns {first} and {second} both look like {member}")


def plain(title: str) -> str:
    """A title in lower case, without anything but letters and digits."""
    return _NOT_LETTERS.sub("", title.lower())


def places_of(titles: Sequence[str], known: Mapping[M, frozenset[str]]) -> dict[M, int]:
    """The column of each member that is there, counted from 0. Raises DoubleTitleError."""
    written = [plain(title) for title in titles]
    places = {}
    for member, names in known.items():
        found = [place for place, title in enumerate(written) if title in names]
        if len(found) > 1:
            raise DoubleTitleError(found[0] + 1, found[1] + 1, member)
        if found:
            places[member] = found[0]
    return places
