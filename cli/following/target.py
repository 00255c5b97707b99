"""Where changes are taken over to: what each kind of target promises, and how it fails."""

from collections.abc import Sequence
from typing import Protocol

from cli.following.changes import Change, Feed
from cli.following.standing import Standing


class TargetError(Exception):
    """The target cannot be used; the message says why and what to do."""


class TargetAwayError(Exception):
    """The target does not answer now. What was appended last may or may not be in it: open it
    again, and it says."""


class Target(Protocol):
    """Keeps changes, each exactly once, and how far it has them.

    `open` comes first, and `begin` after it where nothing was kept yet. All raise TargetError and
    TargetAwayError.
    """

    @property
    def shown(self) -> str:
        """Its name for a person, without secrets."""

    async def open(self) -> Standing | None:
        """What it holds; None where it is new. A target of another election is refused."""

    async def begin(self, standing: Standing, snapshot: Sequence[Change]) -> None:
        """Begin a new target at a standing, that of the snapshot's rows if there are any."""

    async def append(self, changes: Sequence[Change]) -> None:
        """Keep the changes that follow, all or none of them for good."""

    async def close(self) -> None:
        """Let go of it."""


def refuse_other(shown: str, found: str, election: str, feed: Feed) -> None:
    """Refuse a target that holds another election. Raises TargetError."""
    if found != election:
        raise TargetError(
            f"{shown} holds the {feed} of {found} and not of {election}: name another target,"
            f" or follow {found}"
        )
