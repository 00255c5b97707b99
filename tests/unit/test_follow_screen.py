"""What a follower shows: the living table, and the lines where there is no terminal."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from cli.following.changes import Feed
from cli.following.cursor_file import CursorFile
from cli.following.printing import PrintedTarget, line_of
from cli.following.running import PlainLines
from cli.following.scene import Scene
from cli.following.screen import screen
from cli.following.standing import Standing
from tests.support.feed_changes import ELECTION, VILLAGES, VOTERS, changes_of


def scene_of(feed: Feed, number: int) -> Scene:
    scene = Scene(Standing(ELECTION, feed), "kpu.sqlite")
    changes = changes_of(feed, number)
    for change in changes:
        scene.standing.enter(change)
    scene.take(changes)
    return scene


def shown(scene: Scene, width: int = 80, height: int = 24) -> list[str]:
    console = Console(width=width, height=height, record=True, file=io.StringIO())
    console.print(screen(scene, width, height))
    return console.export_text().splitlines()


@pytest.mark.parametrize("size", [(80, 24), (120, 50), (60, 10)])
@pytest.mark.parametrize("feed", Feed)
def test_the_screen_fits_and_shows_the_last_change_first(feed: Feed, size: tuple[int, int]) -> None:
    lines = shown(scene_of(feed, 1_234), *size)
    assert all(len(line) <= size[0] for line in lines)
    places = [number for number, line in enumerate(lines) if "1.234" in line or "1.233" in line]
    assert "1.234" in lines[places[0]]
    assert "1.233" in lines[places[1]]


def test_the_totals_are_the_sums_of_the_villages() -> None:
    text = "\n".join(shown(scene_of(Feed.VILLAGES, 8)))
    assert "Penduduk     30" in text
    assert "kpu.sqlite" in text
    assert "menerima" in text


def test_what_hinders_is_shown_until_changes_come_again() -> None:
    scene = scene_of(Feed.VOTERS, 5)
    scene.notice = "no notifier answers"
    assert "menunggu  no notifier answers" in shown(scene)[-1]
    scene.take([])
    assert "menunggu" not in shown(scene)[-1]


def test_a_change_is_one_line() -> None:
    village, voter = changes_of(Feed.VILLAGES, 2)[1], changes_of(Feed.VOTERS, 1)[0]
    told = line_of(village)
    assert told.startswith(f"2 {VILLAGES[1]} ")
    assert told.endswith(": residents 2 (+2), eligible 1 (+1)")
    reason = "id.dukcapil.resident.relocated"
    assert line_of(voter) == f"1 {VOTERS[0]} added - > {VILLAGES[0]} ({reason})"


def test_without_a_terminal_a_line_comes_when_something_came() -> None:
    said: list[str] = []
    lines, scene = PlainLines(said.append), scene_of(Feed.VILLAGES, 3)
    lines.show(scene)
    lines.show(scene)
    assert said == ["up to change 3: 3 taken over in this run"]


async def test_a_cursor_is_never_ahead_of_what_is_printed(tmp_path: Path) -> None:
    path, changes = tmp_path / "cursor", changes_of(Feed.VILLAGES, 6)
    cursor = CursorFile(path, ELECTION, Feed.VILLAGES)
    printed = PrintedTarget(Feed.VILLAGES, ELECTION, cursor, lines=False)
    standing = Standing(ELECTION, Feed.VILLAGES)
    assert await printed.open() is None
    await printed.begin(standing, [])
    for change in changes:
        standing.enter(change)
    await printed.append(changes[:4])
    await printed.close()
    found = cursor.read()
    assert found is not None
    assert found.sequence == 4
    again = PrintedTarget(Feed.VILLAGES, ELECTION, cursor, lines=False)
    assert await again.open() == found
    await again.append(changes[4:])
    await again.close()
    assert cursor.read() == standing
