"""Which changes a client wants: all of them, or those that concern some villages."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from shared.region_codes import district_of


@dataclass(frozen=True, slots=True)
class Wanted:
    """The changes of these villages and of all villages of these districts; with neither, every
    change."""

    villages: frozenset[str] = frozenset()
    districts: frozenset[str] = frozenset()

    @property
    def all(self) -> bool:
        """Whether nothing is left out."""
        return not self.villages and not self.districts

    def concerns(self, villages: Iterable[str]) -> bool:
        """Whether a change of these villages is wanted; a person's who moved is of both."""
        return self.all or any(
            village in self.villages or district_of(village) in self.districts
            for village in villages
        )


EVERYTHING: Final = Wanted()
