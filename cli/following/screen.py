"""The follower's living table, in Indonesian as whoever looks at it reads."""

from typing import Final

from rich import box
from rich.console import Group, RenderableType
from rich.constrain import Constrain
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from cli.following.changes import Change, Feed
from cli.following.printing import village_name
from cli.following.scene import Scene
from cli.screen import number, share
from shared.counts import Counts

WIDTH: Final = 96
# What stands above and below the changes, and the line where the cursor stands.
OTHER_LINES: Final = 14
MOST_CHANGES_SHOWN: Final = 20
LEAST_CHANGES_SHOWN: Final = 3

_QUIET: Final = "grey62"
_ACCENT: Final = "cyan"
_GOOD: Final = "green"
_BEHIND: Final = "yellow"

_STEPS: Final = ("residents", "eligible", "eligible_recorded", "eligible_unrecorded")
_KINDS: Final = {"added": "masuk", "removed": "keluar", "moved": "pindah"}


def screen(scene: Scene, width: int, height: int) -> RenderableType:
    """The whole screen, as well as it fits a terminal of this size."""
    shown = min(MOST_CHANGES_SHOWN, max(LEAST_CHANGES_SHOWN, height - OTHER_LINES))
    villages = scene.feed is Feed.VILLAGES
    table = _village_changes(scene, shown) if villages else _voter_changes(scene, shown)
    totals = _totals(scene) if villages else _voters(scene)
    parts = Group(
        _heading(scene),
        _panel(totals, "Jumlah menurut perubahan yang diterima"),
        _panel(table, "Perubahan terakhir"),
        _state(scene),
    )
    return Constrain(parts, min(width, WIDTH))


def _heading(scene: Scene) -> RenderableType:
    what = "desa" if scene.feed is Feed.VILLAGES else "pemilih"
    return Text.assemble(
        (" cacah ", f"bold black on {_ACCENT}"),
        (f"  {scene.standing.election}, perubahan {what}", "bold"),
        (f"   ke {scene.target}", _QUIET),
        no_wrap=True,
        overflow="ellipsis",
    )


def _totals(scene: Scene) -> RenderableType:
    total = scene.total()
    table = Table.grid(padding=(0, 2), expand=True)
    for _ in range(4):
        table.add_column(no_wrap=True)
        table.add_column(justify="right", no_wrap=True)
    recorded = (
        f"{number(total.eligible_recorded)}  {share(total.eligible_recorded, total.eligible)}"
    )
    table.add_row(
        *("Penduduk", number(total.residents), "Pemilih", Text(number(total.eligible), "bold")),
        *("Sudah rekam", Text(recorded, _GOOD)),
        *("Belum rekam", Text(number(total.eligible_unrecorded), _BEHIND)),
    )
    return table


def _voters(scene: Scene) -> RenderableType:
    seen = "" if scene.standing.whole else "  (hanya yang berubah sejak dijalankan)"
    return Text.assemble("Pemilih  ", (number(scene.voters()), "bold"), (seen, _QUIET))


def _village_changes(scene: Scene, shown: int) -> RenderableType:
    table = _table()
    table.add_column("no.", justify="right", no_wrap=True, min_width=7)
    table.add_column("desa", ratio=1, no_wrap=True)
    for heading in ("penduduk", "pemilih", "sudah rekam", "belum rekam"):
        table.add_column(heading, justify="right", no_wrap=True, min_width=11)
    for change in list(scene.latest)[:shown]:
        steps = [_step(change, name) for name in _STEPS]
        table.add_row(number(change.sequence), village_name(change.key), *steps)
    return _filled(table, shown)


def _voter_changes(scene: Scene, shown: int) -> RenderableType:
    table = _table()
    table.add_column("no.", justify="right", no_wrap=True, min_width=7)
    table.add_column("pemilih", no_wrap=True)
    table.add_column("", no_wrap=True, min_width=7)
    table.add_column("dari", ratio=1, no_wrap=True)
    table.add_column("ke", ratio=1, no_wrap=True)
    for change in list(scene.latest)[:shown]:
        places = [village_name(str(at)) if at else "–" for at in (change.before, change.after)]
        kind = _KINDS.get(str(change.members["kind"]), "")
        table.add_row(number(change.sequence), change.key[:8], kind, *places)
    return _filled(table, shown)


def _table() -> Table:
    return Table(box=None, expand=True, padding=(0, 1), header_style=_QUIET, pad_edge=False)


def _filled(table: Table, shown: int) -> Table:
    """As many rows as there is room for, so that nothing below moves."""
    for _ in range(shown - table.row_count):
        table.add_row("")
    return table


def _step(change: Change, name: str) -> Text:
    """A count after the change, with what it grew or shrank by."""
    before = change.before if isinstance(change.before, Counts) else Counts()
    after = getattr(change.after, name)
    step = after - getattr(before, name)
    return Text.assemble(number(after), (f" {step:+5}" if step else " " * 6, _QUIET))


def _state(scene: Scene) -> RenderableType:
    if scene.notice:
        waits = (" menunggu", _BEHIND), f"  {scene.notice}"
        return Text.assemble(*waits, overflow="ellipsis", no_wrap=True)
    return Text.assemble(
        (" menerima", _GOOD),
        f"  sampai perubahan {number(scene.standing.sequence)},",
        f" {number(scene.taken)} sejak dijalankan, {number(scene.rate())} per detik",
    )


def _panel(content: RenderableType, title: str) -> Panel:
    return Panel(
        content,
        title=Text(title, "bold"),
        title_align="left",
        box=box.ROUNDED,
        border_style="grey35",
        padding=(0, 1),
    )
