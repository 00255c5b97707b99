"""How far an import has come: kept so that it can go on; what it says needs not be true.

If it is lost or behind, rows are sent again, which the registry answers as duplicates. It holds
row numbers, counts and reasons, no names and no NIKs.
"""

import contextlib
import fcntl
import hashlib
import json
import os
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import orjson

from cli.importing.stopping import ImportStoppedError

# A file of the same name with other content is the mended one within this time, and its rows
# that did not change are sent under the same ids; later it is a new list.
MENDED_WITHIN: Final = timedelta(days=7)
NOT_REFUSED: Final = 0
MAX_REASONS: Final = 65_535


@dataclass(slots=True)
class Counts:
    """What became of the rows that were sent, and how often the registry gave each reason."""

    accepted: int = 0
    already: int = 0
    refused: int = 0
    parked: int = 0
    warnings: Counter[str] = field(default_factory=Counter)
    problems: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class State:
    """`begun` is the time when the import first began, which all its events bear;
    `acknowledged` counts the rows from the first that were answered without a gap."""

    begun: str
    content: str
    acknowledged: int = 0
    finished: bool = False
    counts: Counts = field(default_factory=Counts)
    refused_digest: str | None = None


class Progress:
    """The state of the import of one file, by one station, into one registry."""

    def __init__(self, home: Path, file: Path, station: str, registry: str) -> None:
        name = hashlib.sha256(f"{file.resolve()}\n{station}\n{registry}".encode()).hexdigest()[:24]
        try:
            home.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise ImportStoppedError(
                f"{home} cannot be written ({error.strerror}); set CACAH_HOME to a directory"
                " of your own"
            ) from None
        self._path = home / f"{name}.json"
        self._refusals = home / f"{name}.refusals"
        self._lock = home / f"{name}.lock"
        self.state = State("", "")

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Keep others from importing the same file at the same time."""
        descriptor = os.open(self._lock, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        except BlockingIOError:
            raise ImportStoppedError("this file is being imported already; let that end") from None
        finally:
            os.close(descriptor)

    def begin(self, content: str, now: datetime) -> None:
        """Go on where the same content was left; else from the first row."""
        kept = self._read()
        self.state = State(now.isoformat(timespec="seconds"), content)
        if kept is None:
            return
        self.state.refused_digest = kept.refused_digest
        if kept.content == content:
            self.state.begun = kept.begun
            if not kept.finished:
                self.state = kept
        elif now - datetime.fromisoformat(kept.begun) < MENDED_WITHIN:
            self.state.begun = kept.begun

    def restart(self) -> None:
        """Forget what was acknowledged."""
        self.state.acknowledged = 0
        self.state.counts = Counts()

    def acknowledge(self, rows: int) -> None:
        self.state.acknowledged = rows
        self.save()

    def save(self) -> None:
        """Written beside and put in place, so that it is whole however this process ends."""
        partial = self._path.with_suffix(".partial")
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(orjson.dumps(self.state))
        partial.replace(self._path)

    def _read(self) -> State | None:
        try:
            read = json.loads(self._path.read_text(encoding="utf-8"))
            counts = Counts(**read.pop("counts"))
            counts.warnings, counts.problems = Counter(counts.warnings), Counter(counts.problems)
            state = State(counts=counts, **read)
            datetime.fromisoformat(state.begun)
        except (OSError, ValueError, TypeError, KeyError):
            return None
        return state

    def note_refusals(self, refusals: Iterable[tuple[int, str]]) -> None:
        """Remember which rows the registry refused, by their index, and why."""
        _append(self._refusals, refusals)

    def refusals(self) -> "Refusals":
        """The refusals of the rows acknowledged; later ones are forgotten, for they will be
        answered again."""
        known = Refusals(self.state.acknowledged)
        for index, reason in self._noted():
            if index < self.state.acknowledged:
                known.note(index, reason)
        rewritten = self._refusals.with_suffix(".rewritten")
        rewritten.unlink(missing_ok=True)
        _append(rewritten, known.all())
        rewritten.replace(self._refusals)
        return known

    def _noted(self) -> Iterator[tuple[int, str]]:
        if not self._refusals.exists():
            return
        with self._refusals.open(encoding="utf-8") as lines:
            for line in lines:
                with contextlib.suppress(ValueError):
                    index, reason = json.loads(line)
                    yield index, reason


def _append(path: Path, refusals: Iterable[tuple[int, str]]) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.writelines(json.dumps(refusal) + "\n" for refusal in refusals)


class Refusals:
    """Why each of the first rows was refused; two bytes a row."""

    def __init__(self, rows: int) -> None:
        self._reasons: list[str] = [""]
        self._numbers: dict[str, int] = {}
        self._of_row = array("H", bytes(2 * rows))

    def note(self, index: int, reason: str) -> None:
        number = self._numbers.setdefault(reason, len(self._reasons))
        if number == len(self._reasons):
            self._reasons.append(reason)
        self._of_row[index] = min(number, MAX_REASONS)

    def reason(self, index: int) -> str | None:
        return self._reasons[self._of_row[index]] or None

    def all(self) -> Iterator[tuple[int, str]]:
        for index, number in enumerate(self._of_row):
            if number != NOT_REFUSED:
                yield index, self._reasons[number]


def fingerprint(file: Path, meaning: str) -> str:
    """The content of a file, and of how it is read."""
    with file.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256")
    digest.update(meaning.encode())
    return digest.hexdigest()
