"""What a proof says: that it holds and by which figures, or the first difference in words."""

from dataclasses import dataclass
from typing import Final

# What to do next, at the end of a difference.
RESTORE: Final = "restore the database from a backup of before, and look into who changed it"
REPLAY: Final = "run `cacah replay`"
REPUBLISH: Final = "run `cacah republish`"


@dataclass(frozen=True, slots=True)
class Proof:
    """One proof: `figures` is what was compared, `fault` the first difference, none if it holds."""

    name: str
    figures: str
    fault: str | None = None

    @property
    def holds(self) -> bool:
        return self.fault is None


def difference(what: str, next_step: str) -> str:
    """A difference, with what to do next."""
    return f"{what}; {next_step}"
