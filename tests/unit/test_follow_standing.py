"""What a follower believes of a feed, and what it refuses."""

import json
from typing import Any

import pytest

from cli.following.changes import Feed, UnreadableChangeError, read_change, snapshot_row
from cli.following.standing import FeedFault, Standing
from shared.counts import Counts
from tests.support.feed_changes import (
    ELECTION,
    VILLAGES,
    VOTERS,
    changes_of,
    village_members,
    voter_members,
)
from tests.support.village_records import counts

VILLAGE, OTHER = VILLAGES[:2]


def change(*given: Any, **members: Any) -> Any:
    return read_change(Feed.VILLAGES, json.dumps(village_members(*given) | members))


def voter_change(*given: Any) -> Any:
    return read_change(Feed.VOTERS, json.dumps(voter_members(*given)))


def standing_after(*given: Any) -> Standing:
    standing = Standing(ELECTION, Feed.VILLAGES)
    for each in given:
        standing.enter(each)
    return standing


@pytest.mark.parametrize("feed", Feed)
def test_changes_that_join_are_entered(feed: Feed) -> None:
    standing, changes = Standing(ELECTION, feed), changes_of(feed, 20)
    for each in changes:
        standing.enter(each)
    assert standing.sequence == 20
    last = {each.key: each.after for each in changes}
    assert standing.stands == {key: after for key, after in last.items() if after is not None}


@pytest.mark.parametrize(("sequence", "fault"), [(3, "a gap"), (1, "a step back"), (0, "a step")])
def test_a_gap_and_a_step_back_are_refused_and_change_nothing(sequence: int, fault: str) -> None:
    standing = standing_after(change(1, VILLAGE, 0, 1))
    with pytest.raises(FeedFault, match=fault):
        standing.enter(change(sequence, OTHER, 0, 1))
    assert (standing.sequence, set(standing.stands)) == (1, {VILLAGE})


def test_a_before_that_is_not_the_last_after_is_refused() -> None:
    standing = standing_after(change(1, VILLAGE, 0, 1))
    with pytest.raises(FeedFault, match=r"start again from a snapshot: another --to .* --snapshot"):
        standing.enter(change(2, VILLAGE, 0, 2))


def test_a_village_begins_with_zeros_and_a_voter_nowhere() -> None:
    with pytest.raises(FeedFault):
        standing_after(change(1, VILLAGE, 5, 6))
    with pytest.raises(FeedFault, match="start again from the first change"):
        Standing(ELECTION, Feed.VOTERS).enter(voter_change(1, VOTERS[0], VILLAGE, OTHER))


def test_whoever_is_unknown_is_believed_once_where_not_all_is_known() -> None:
    standing = Standing(ELECTION, Feed.VOTERS, sequence=7, whole=False)
    standing.enter(voter_change(8, VOTERS[0], VILLAGE, None))
    with pytest.raises(FeedFault):
        standing.enter(voter_change(9, VOTERS[0], OTHER, None))


def test_a_change_of_another_election_is_refused() -> None:
    with pytest.raises(FeedFault, match="is of pilkada-2029 and not of pilkada-2024"):
        standing_after(change(1, VILLAGE, 0, 1, election="pilkada-2029"))


@pytest.mark.parametrize(
    "members",
    [
        {"sequence": "1"},
        {"before": None, "after": None},
        {"after": counts(residents=1.5)},
        {"after": counts(residents=True)},
        {"after": {"residents": 1}},
    ],
)
def test_what_is_no_change_is_not_read(members: dict[str, Any]) -> None:
    with pytest.raises(UnreadableChangeError):
        change(1, VILLAGE, 0, 1, **members)


def test_members_that_are_not_known_here_are_kept() -> None:
    assert b'"traced":{"counted":1}' in change(1, VILLAGE, 0, 1, traced={"counted": 1}).line()


def test_a_row_of_a_snapshot_says_where_a_village_stands() -> None:
    row = snapshot_row(ELECTION, 9, 40, {"village": VILLAGE, "district": VILLAGE[:8]} | counts())
    assert (row.sequence, row.key, row.before, row.after) == (9, VILLAGE, None, Counts())
