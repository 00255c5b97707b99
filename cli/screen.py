"""The demo's living screen: in Indonesian, for whoever looks at it; nothing here asks a service."""

import time
from typing import Final

from rich import box
from rich.console import Group, RenderableType
from rich.constrain import Constrain
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from cli.counting import Tally
from cli.kpu_book import Change
from cli.watching import Scene

WIDTH: Final = 96
MOST_CHANGES_SHOWN: Final = 8
LEAST_CHANGES_SHOWN: Final = 2
# What the rest of the screen takes, and the line below it where the cursor stands.
OTHER_LINES: Final = 20
UNTOUCHED_SHOWN: Final = 4

_QUIET: Final = "grey62"
_ACCENT: Final = "cyan"
_GOOD: Final = "green"
_BEHIND: Final = "yellow"


def number(value: float) -> str:
    """A whole number as Indonesians write it: 20.000."""
    return f"{value:,.0f}".replace(",", ".")


def share(part: int, whole: int) -> str:
    """A percentage with a decimal comma, a dash of nothing."""
    return f"{100 * part / whole:.1f} %".replace(".", ",") if whole else "–"


def duration(seconds: float | None) -> str:
    """Minutes and seconds."""
    return "–" if seconds is None else f"{int(seconds) // 60}:{int(seconds) % 60:02}"


def screen(scene: Scene, width: int, height: int) -> RenderableType:
    """The whole screen, as well as it fits a terminal of this size."""
    shown = min(MOST_CHANGES_SHOWN, max(LEAST_CHANGES_SHOWN, height - OTHER_LINES))
    sides = Table.grid(padding=(0, 1), expand=True)
    sides.add_column(ratio=1)
    sides.add_column(ratio=1)
    sides.add_row(_regency(scene), Group(_journey(scene), _untouched(scene)))
    parts = Group(_heading(), _progress(scene), sides, _changes(scene, shown))
    return Constrain(parts, min(width, WIDTH))


def _heading() -> RenderableType:
    return Text.assemble(
        (" cacah ", f"bold black on {_ACCENT}"),
        ("  Pilkada Kerinci, 27 November 2024", "bold"),
        ("   penduduk buatan, bukan data orang", _QUIET),
    )


def _progress(scene: Scene) -> RenderableType:
    row = Table.grid(padding=(0, 2), expand=True)
    row.add_column(no_wrap=True)
    row.add_column(ratio=1)
    row.add_column(no_wrap=True, justify="right")
    row.add_row(
        f"{number(scene.answered)} / {number(scene.expected.sent)} kejadian",
        ProgressBar(
            total=max(1, scene.expected.sent),
            completed=scene.answered,
            complete_style=_ACCENT,
            finished_style=_GOOD,
        ),
        f"{number(scene.rate())} per detik  {_left(scene)}",
    )
    return Panel(row, box=box.SIMPLE, padding=(0, 0))


def _left(scene: Scene) -> str:
    if scene.ended_at is None:
        return f"sisa {duration(scene.left_s())}"
    if scene.audited < scene.log_last:
        return f"memeriksa catatan {share(scene.audited, scene.log_last)}"
    return f"selesai {duration(scene.elapsed_s)}"


def _figures() -> Table:
    table = Table.grid(padding=(0, 1), expand=True)
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(justify="right", style=_QUIET, no_wrap=True)
    return table


def _regency(scene: Scene) -> RenderableType:
    total: Tally = scene.total()
    eligible = total["eligible"]
    table = _figures()
    table.add_row("Penduduk", number(total["residents"]), "")
    table.add_row("Pemilih", Text(number(eligible), "bold"), share(eligible, total["residents"]))
    table.add_row("  laki-laki", number(total["eligible_male"]), "")
    table.add_row("  perempuan", number(total["eligible_female"]), "")
    recorded, unrecorded = total["eligible_recorded"], total["eligible_unrecorded"]
    table.add_row("Sudah rekam", Text(number(recorded), _GOOD), share(recorded, eligible))
    table.add_row("Belum rekam", Text(number(unrecorded), _BEHIND), share(unrecorded, eligible))
    table.add_row("Pemilih pemula", number(total["first_time"]), "")
    table.add_row("  belum rekam", number(total["first_time_unrecorded"]), "")
    table.add_row("IKD aktif", number(total["ikd_active"]), "")
    table.add_row("Di bawah umur", number(total["under_age"]), "")
    table.add_row("TNI / Polri", f"{number(total['tni'])} / {number(total['polri'])}", "")
    return _panel(table, "Kabupaten Kerinci")


def _journey(scene: Scene) -> RenderableType:
    table = _figures()
    registry = _away(scene, "registry") or Text(number(scene.log_last))
    table.add_row("Registri, catatan terakhir", registry, "")
    counted = _away(scene, "projections") or _behind(scene.behind(scene.counted_up_to))
    table.add_row("Proyeksi tertinggal", counted, "")
    table.add_row("KPU tertinggal", _behind(scene.kpu_behind()), "")
    table.add_row("Perubahan diterima KPU", number(scene.book.sequence), "")
    return _panel(table, "Perjalanan data")


def _away(scene: Scene, service: str) -> Text | None:
    return Text("menunggu", _BEHIND) if service in scene.away else None


def _behind(events: int) -> Text:
    return Text(number(events), _BEHIND if events else _GOOD)


def _untouched(scene: Scene) -> RenderableType:
    names = scene.untouched()
    shown: list[RenderableType] = [
        Text(f"  {name}", _QUIET, no_wrap=True) for name in names[:UNTOUCHED_SHOWN]
    ]
    rest = len(names) - UNTOUCHED_SHOWN
    shown.append(Text(f"  dan {number(rest)} lagi" if rest > 0 else "", _QUIET))
    shown += [Text("")] * (UNTOUCHED_SHOWN + 1 - len(shown))
    return _panel(Group(*shown), f"Desa belum tersentuh: {number(len(names))}")


def _changes(scene: Scene, shown: int) -> RenderableType:
    table = Table(box=None, expand=True, padding=(0, 1), header_style=_QUIET, pad_edge=False)
    table.add_column("no.", justify="right", no_wrap=True, min_width=7)
    table.add_column("desa", ratio=1, no_wrap=True)
    for heading in ("penduduk", "pemilih", "sudah rekam", "belum rekam"):
        table.add_column(heading, justify="right", no_wrap=True, min_width=11)
    latest = list(scene.book.latest)[:shown]
    for change in latest:
        table.add_row(*_change(change, scene.expected.names))
    for _ in range(shown - len(latest)):
        table.add_row("")
    return _panel(table, "Perubahan terakhir diterima KPU")


def _change(change: Change, names: dict[str, str]) -> list[str | Text]:
    counts = ("residents", "eligible", "eligible_recorded", "eligible_unrecorded")
    village: str = change["village"]
    row: list[str | Text] = [number(change["sequence"]), names.get(village, village)]
    row.extend(_step(change, name) for name in counts)
    return row


def _step(change: Change, name: str) -> Text:
    """A count after the change, with what it grew or shrank by."""
    after = change["after"][name]
    step = after - change["before"][name]
    return Text.assemble(number(after), (f" {step:+5}" if step else " " * 6, _QUIET))


def _panel(content: RenderableType, title: str) -> Panel:
    return Panel(
        content,
        title=Text(title, "bold"),
        title_align="left",
        box=box.ROUNDED,
        border_style="grey35",
        padding=(0, 1),
    )


def plain_line(scene: Scene) -> str:
    """The state on one line, for an output that is no terminal."""
    now = time.strftime("%H:%M:%S")
    if scene.ended_at is not None:
        return (
            f"{now}  all sent; read {scene.audited:,} of {scene.log_last:,} of the log to prove it"
        )
    total = scene.total()
    return (
        f"{now}  {scene.answered:,} of {scene.expected.sent:,} events,"
        f" {scene.rate():,.0f}/s, {duration(scene.left_s())} left;"
        f" projections {scene.behind(scene.counted_up_to):,} behind, KPU {scene.kpu_behind():,}"
        f" behind with {scene.book.sequence:,} changes;"
        f" {total['eligible']:,} voters, {total['eligible_recorded']:,} recorded,"
        f" untouched villages {len(scene.untouched())}"
    )
