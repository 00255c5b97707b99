"""A file that a follower appends to, torn anywhere: nothing is repeated and nothing skipped."""

import asyncio
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cli.following.changes import Change, Feed, snapshot_row
from cli.following.files import CsvFormat, FileTarget, JsonLinesFormat
from cli.following.standing import Standing
from cli.following.target import TargetError
from tests.support.feed_changes import ELECTION, VILLAGES, changes_of

FORMATS: dict[str, type[CsvFormat] | type[JsonLinesFormat]] = {
    ".csv": CsvFormat,
    ".jsonl": JsonLinesFormat,
}
LAST = 12
FORMED = [(feed, suffix) for feed in Feed for suffix in FORMATS]


def target(path: Path, feed: Feed, election: str = ELECTION) -> FileTarget:
    return FileTarget(path, election, feed, FORMATS[path.suffix](feed))


async def look(opened: FileTarget) -> None:
    try:
        await opened.open()
    finally:
        await opened.close()


async def take_over(
    path: Path, changes: Sequence[Change], feed: Feed, snapshot: Sequence[Change] = ()
) -> int:
    """Open the file, go on from where it stands, and answer where that was."""
    opened = target(path, feed)
    try:
        standing = await opened.open()
        if standing is None:
            standing = Standing(ELECTION, feed, snapshot[0].sequence if snapshot else 0)
            for row in snapshot:
                standing.put(row.key, row.after)
            await opened.begin(standing, snapshot)
        began = standing.sequence
        for change in changes[began:]:
            standing.enter(change)
            await opened.append([change])
        return began
    finally:
        await opened.close()


@pytest.mark.parametrize(("feed", "suffix"), FORMED)
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_a_file_torn_anywhere_becomes_the_whole_file(
    feed: Feed, suffix: str, data: st.DataObject
) -> None:
    changes = changes_of(feed, LAST)
    with tempfile.TemporaryDirectory() as home:
        path = Path(home) / f"changes{suffix}"
        asyncio.run(take_over(path, changes, feed))
        whole = path.read_bytes()
        kept = data.draw(st.integers(min_value=0, max_value=len(whole)))
        path.write_bytes(whole[:kept])
        asyncio.run(look(target(path, feed)))
        assert path.read_bytes() in whole_beginnings(whole, feed, suffix)
        path.write_bytes(whole[:kept])
        began = asyncio.run(take_over(path, changes, feed))
        assert path.read_bytes() == whole
        assert began <= LAST
        assert (began == LAST) == (kept == len(whole))


def whole_beginnings(whole: bytes, feed: Feed, suffix: str) -> set[bytes]:
    """What may be left of a file where what is torn is cut off: nothing, or whole rows."""
    form = FORMATS[suffix](feed)
    left, beginnings = form.heading(), {b""}
    for change in changes_of(feed, LAST):
        left += form.row(change)
        beginnings.add(left)
    assert left == whole
    return beginnings


def snapshot() -> list[Change]:
    """Where the villages stand after the fifth change."""
    last = {change.key: change for change in changes_of(Feed.VILLAGES, 5)}
    return [
        snapshot_row(ELECTION, 5, 5, {"village": code, "district": code[:8]} | dict(after))
        for code, change in last.items()
        for after in [change.members["after"]]
    ]


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_snapshot_begins_a_file_and_what_follows_joins_it(tmp_path: Path, suffix: str) -> None:
    path, changes = tmp_path / f"changes{suffix}", changes_of(Feed.VILLAGES, LAST)
    assert asyncio.run(take_over(path, changes, Feed.VILLAGES, snapshot())) == 5
    assert asyncio.run(take_over(path, changes, Feed.VILLAGES)) == LAST
    rows = path.read_bytes().count(b"2024-08-20")
    assert rows == LAST - 5
    assert path.read_bytes().count(VILLAGES[0].encode()) >= 2


FOREIGN = [
    (".csv", b"name,age\nBudi,40\n"),
    (".csv", b"notes that somebody keeps"),
    (".jsonl", b'{"name": "Budi"}\n'),
    (".jsonl", b"notes that somebody keeps"),
    (".jsonl", b'{"sequence":1}\n'),
]


@pytest.mark.parametrize(("suffix", "content"), FOREIGN)
def test_a_file_that_is_not_ours_is_refused_and_left_as_it_is(
    tmp_path: Path, suffix: str, content: bytes
) -> None:
    path = tmp_path / f"notes{suffix}"
    path.write_bytes(content)
    with pytest.raises(TargetError, match="left as it is"):
        asyncio.run(take_over(path, [], Feed.VILLAGES))
    assert path.read_bytes() == content


@pytest.mark.parametrize(("feed", "suffix"), FORMED)
def test_a_file_of_another_election_is_refused(tmp_path: Path, feed: Feed, suffix: str) -> None:
    path = tmp_path / f"changes{suffix}"
    asyncio.run(take_over(path, changes_of(feed, 3), feed))
    content = path.read_bytes()
    with pytest.raises(TargetError, match="of pilkada-2024 and not of pilkada-2029"):
        asyncio.run(look(target(path, feed, "pilkada-2029")))
    other = Feed.VOTERS if feed is Feed.VILLAGES else Feed.VILLAGES
    with pytest.raises(TargetError, match="left as it is"):
        asyncio.run(look(target(path, other)))
    assert path.read_bytes() == content


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_row_that_is_missing_in_the_middle_is_found(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"changes{suffix}"
    asyncio.run(take_over(path, changes_of(Feed.VOTERS, 5), Feed.VOTERS))
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:2] + lines[3:]))
    with pytest.raises(TargetError, match=r"row \d of .* a gap"):
        asyncio.run(take_over(path, [], Feed.VOTERS))


@pytest.mark.parametrize("suffix", FORMATS)
def test_two_that_write_to_one_file_are_told(tmp_path: Path, suffix: str) -> None:
    async def both() -> None:
        first, second = (target(tmp_path / f"changes{suffix}", Feed.VOTERS) for _ in range(2))
        try:
            await first.open()
            with pytest.raises(TargetError, match="another `cacah follow` writes"):
                await second.open()
            await first.begin(Standing(ELECTION, Feed.VOTERS), [])
            with pytest.raises(TargetError, match="another `cacah follow` writes"):
                await second.open()
        finally:
            await second.close()
            await first.close()

    asyncio.run(both())
