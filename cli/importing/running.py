"""One import, from the file to the last answer."""

import asyncio
import os
import secrets
import time
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Final

import typer
from rich.console import Console

from cli.importing.checking import Findings, check, data_rows
from cli.importing.delivering import Delivery
from cli.importing.door import Door
from cli.importing.events import Writer
from cli.importing.layouts import Form, Layout, read_mapping, recognise
from cli.importing.people import People
from cli.importing.progress import Progress, fingerprint
from cli.importing.refused_rows import RefusedRows, refused_path
from cli.importing.reporting import report_findings, report_refused_file, report_sent
from cli.importing.showing import Showing
from cli.importing.stopping import ImportStoppedError
from cli.stack import StackSettings
from cli.stack import home as stack_home
from cli.stack.services import urls
from shared.calendar import OFFICE_ZONE, office_date
from shared.lists.opening import open_source
from shared.lists.rows import Source

TOKEN_SETTING: Final = "CACAH_TOKEN"  # noqa: S105 - the name of a setting
REGISTRY_SETTING: Final = "CACAH_REGISTRY_URL"
KEY_BYTES: Final = 32

ALL_TAKEN: Final = 0
SOME_REFUSED: Final = 1


@dataclass(frozen=True, slots=True)
class Options:
    """What was asked for on the command line."""

    file: Path
    form: Form | None
    mapping: Path | None
    village: str | None
    sheet: str | None
    recode: bool
    recordings: bool
    recorded_on: date | None
    dry_run: bool
    list_all: bool
    refused: Path | None
    station: str | None
    registry: str | None
    batch_rows: int
    token_file: Path | None
    settings: StackSettings


@dataclass(frozen=True, slots=True)
class Opened:
    """The file, and what its rows mean."""

    source: Source
    layout: Layout
    people: People
    recordings: bool


@dataclass(frozen=True, slots=True)
class Address:
    """Where to send, and who sends."""

    registry: str
    token: str


def run(options: Options, console: Console) -> int:
    """Check the file, and send it unless it is a dry run; the status to end with.

    Raises ImportStoppedError.
    """
    unchanged = _Unchanged(options.file)
    opened = _open(options)
    path = options.refused or refused_path(options.file)
    refused = RefusedRows(path, opened.layout, opened.source.delimiter)
    try:
        one = _Import(options, opened, refused, unchanged, console)
        return one.rehearse() if options.dry_run else one.run()
    finally:
        refused.discard()


class _Unchanged:
    """Raises ImportStoppedError when called after the file was written to."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._before = self._stamp()

    def __call__(self) -> None:
        if self._stamp() != self._before:
            raise ImportStoppedError(f"{self._path} was changed while it was read; start again")

    def _stamp(self) -> tuple[int, ...] | None:
        try:
            stat = self._path.stat()
        except OSError:
            return None
        return stat.st_ino, stat.st_size, stat.st_mtime_ns


def _open(options: Options) -> Opened:
    mapping = read_mapping(options.mapping) if options.mapping else None
    source = open_source(options.file, options.sheet, mapping.delimiter if mapping else None)
    first = next(source.rows(), None)
    if first is None:
        raise ImportStoppedError(f"{options.file} is empty; there is nothing to import")
    layout = recognise(first, options.form, mapping, options.village)
    people = People(layout, office_date(datetime.now(UTC)), options.recode)
    recordings = options.recordings or (mapping is not None and "recorded" in mapping.columns)
    return Opened(source, layout, people, recordings)


def _silent(_: str) -> None:
    """The examples of the report are enough."""


@dataclass(frozen=True, slots=True)
class _Import:
    """One file on its way; the methods are its steps."""

    options: Options
    opened: Opened
    refused: RefusedRows
    unchanged: _Unchanged
    console: Console

    def rehearse(self) -> int:
        """Check and report; nothing is sent."""
        self._check()
        return self._finish(None)[0]

    def run(self) -> int:
        """Check, report, send, report."""
        options, opened = self.options, self.opened
        assert options.station is not None
        home = options.settings.home
        address = _address(options)
        progress = Progress(home / "imports", options.file, options.station, address.registry)
        with progress.held():
            meaning = repr((opened.layout, options.recode, opened.recordings, options.recorded_on))
            progress.begin(fingerprint(options.file, meaning), datetime.now(OFFICE_ZONE))
            findings = self._check()
            self.unchanged()
            progress.save()
            time_ = _time(options, progress)
            writer = Writer(options.station, time_, _key(home), opened.recordings)
            asyncio.run(self._send(findings, writer, address, progress))
            self.unchanged()
            status, progress.state.refused_digest = self._finish(progress.state.refused_digest)
            progress.state.finished = True
            progress.save()
        return status

    def _check(self) -> Findings:
        """The first reading and its report."""
        source, opened = self.opened.source, self.opened
        with Showing(self.console, "checking") as showing:
            findings = check(
                source,
                opened.layout,
                opened.people,
                self.refused,
                progress=lambda rows: showing.show(rows, source.position / max(source.size, 1)),
                tell=showing.line if self.options.list_all else _silent,
            )
        report_findings(typer.echo, findings, source.notes, opened.recordings)
        return findings

    async def _send(
        self, findings: Findings, writer: Writer, address: Address, progress: Progress
    ) -> None:
        """The second reading and its report."""
        opened, begun = self.opened, progress.state.acknowledged
        began = time.monotonic()
        with Showing(self.console, "sending") as showing:
            if begun:
                showing.line(f"going on after row {begun:,} of the table")
            showing.begin(begun, begun / max(findings.rows, 1))
            async with Door(address.registry, address.token, showing.say) as door:
                await door.require()
                delivery = Delivery(
                    rows=lambda: data_rows(opened.source, opened.layout),
                    good=findings.good,
                    people=opened.people,
                    writer=writer,
                    door=door,
                    progress=progress,
                    refused=self.refused,
                    show=lambda rows: showing.show(rows, rows / max(findings.rows, 1)),
                    batch_rows=self.options.batch_rows,
                )
                counts = await delivery.run()
        report_sent(typer.echo, counts, time.monotonic() - began)

    def _finish(self, last_digest: str | None) -> tuple[int, str | None]:
        """Put the refused rows in place and say where; the status, and the file's digest."""
        finished = self.refused.finish(last_digest)
        if finished is None:
            return ALL_TAKEN, None
        path, digest = finished
        report_refused_file(typer.echo, path, self.refused.count)
        return SOME_REFUSED, digest


def _address(options: Options) -> Address:
    settings = options.settings
    registry = options.registry or os.environ.get(REGISTRY_SETTING) or urls(settings)["registry"]
    return Address(registry, _token(options))


def _time(options: Options, progress: Progress) -> str:
    """The events' time: the beginning of the day of the list, else of the first import of it."""
    day = options.recorded_on
    if day is None:
        return progress.state.begun
    return datetime(day.year, day.month, day.day, tzinfo=OFFICE_ZONE).isoformat()


def _key(home: Path) -> bytes:
    """The key of the ids, made once for a home: the same rows give the same ids for ever."""
    return bytes.fromhex(stack_home.kept(home / "import-key", secrets.token_hex(KEY_BYTES)))


def _token(options: Options) -> str:
    """The token that was named, else the local operator's. Raises ImportStoppedError."""
    settings = options.settings
    path = options.token_file or settings.home / "operator-token"
    if options.token_file is None and (given := os.environ.get(TOKEN_SETTING)):
        return given.strip()
    if options.token_file is None and settings.operator_token is not None:
        return settings.operator_token.get_secret_value()
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ImportStoppedError(
            f"no token: {path} cannot be read ({error.strerror}); name the station's own with"
            f" --token-file, or set {TOKEN_SETTING}"
        ) from None
