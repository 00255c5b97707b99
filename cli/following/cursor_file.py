"""A cursor in a file, for what is printed: how far it has got, and where the villages stand.

The file is replaced as a whole (written beside it, synced, renamed), so that it is never half of
one. Voters are too many to be written each time: after a start each is believed once.
"""

import os
from pathlib import Path
from typing import Any

import orjson

from cli.following.changes import Feed
from cli.following.standing import Standing
from cli.following.target import TargetError, refuse_other
from shared.counts import Counts


class CursorFile:
    """The cursor of one feed of one election."""

    def __init__(self, path: Path, election: str, feed: Feed) -> None:
        self._path = path
        self._election = election
        self._feed = feed

    def read(self) -> Standing | None:
        """What it says; None where there is none. Raises TargetError."""
        try:
            members = orjson.loads(self._path.read_bytes())
            return self._standing(members)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise TargetError(
                f"{self._path} is no cursor that can be read ({error}); name another file with"
                " --cursor, or remove it to begin anew"
            ) from None

    def write(self, standing: Standing) -> None:
        """Replace it. Raises TargetError."""
        villages = self._feed is Feed.VILLAGES
        members = {
            "election": self._election,
            "feed": self._feed.value,
            "sequence": standing.sequence,
            "villages": standing.stands if villages else None,
        }
        partial = self._path.with_name(f"{self._path.name}.new")
        try:
            with partial.open("wb") as file:
                file.write(orjson.dumps(members, default=tuple) + b"\n")
                file.flush()
                os.fsync(file.fileno())
            partial.rename(self._path)
            sync_directory(self._path.parent)
        except OSError as error:
            raise TargetError(
                f"{self._path} cannot be written ({error.strerror}); make room for it or give your"
                " account the right to"
            ) from None

    def _standing(self, members: dict[str, Any]) -> Standing:
        refuse_other(str(self._path), members["election"], self._election, self._feed)
        if members["feed"] != self._feed:
            raise TargetError(f"{self._path} is the cursor of the {members['feed']}: name another")
        sequence, villages = members["sequence"], members["villages"]
        if type(sequence) is not int:
            raise TypeError("sequence is no whole number")
        if self._feed is Feed.VOTERS:
            return Standing(self._election, self._feed, sequence, whole=False)
        stands = {code: Counts(*counts) for code, counts in villages.items()}
        return Standing(self._election, self._feed, sequence, dict(stands))


def sync_directory(directory: Path) -> None:
    """Make a rename in a directory outlast the loss of power. Raises OSError."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
