"""How far a feed was taken over and where everybody stands by it: what the next change must join.

Pure: nothing here asks or writes anything.
"""

from dataclasses import dataclass, field

from cli.following.changes import Change, Feed, Stand


class FeedFault(Exception):  # noqa: N818 - what a feed has, and not an error of ours
    """A change does not join what came before; the message says what to do."""


@dataclass(slots=True)
class Standing:
    """What was taken over of an election's feed, up to `sequence`.

    Where `whole`, everybody of whom nothing is known stands where nobody was told of anything;
    else they may stand anywhere.
    """

    election: str
    feed: Feed
    sequence: int = 0
    stands: dict[str, Stand] = field(default_factory=dict)
    whole: bool = True

    def enter(self, change: Change) -> None:
        """Go on by the next change. Raises FeedFault, and is then as it was."""
        self._require_next(change)
        known = self.whole or change.key in self.stands
        stood = self.stands.get(change.key, self.feed.untold)
        if known and change.before != stood:
            raise FeedFault(
                f"change {change.sequence} says that {change.key} came from"
                f" {_said(change.before)}, but by the changes before it is at {_said(stood)}."
                f" {self.advice()}"
            )
        self.sequence = change.sequence
        self.put(change.key, change.after)

    def put(self, key: str, stand: Stand) -> None:
        """Note where somebody stands."""
        if stand == self.feed.untold and self.whole:
            self.stands.pop(key, None)
        else:
            self.stands[key] = stand

    def _require_next(self, change: Change) -> None:
        if change.election != self.election:
            raise FeedFault(
                f"change {change.sequence} is of {change.election} and not of {self.election};"
                " see whether the notifier's address is right"
            )
        if change.sequence == self.sequence + 1:
            return
        fault = "a gap" if change.sequence > self.sequence else "a step back"
        raise FeedFault(
            f"change {change.sequence} came after change {self.sequence}: {fault}. {self.advice()}"
        )

    def advice(self) -> str:
        """What to do where the feed and what was kept of it do not join."""
        kept = "What was taken over is unharmed; tell the office, which can look with cacah verify."
        if self.feed is Feed.VILLAGES:
            return (
                kept
                + " Then start again from a snapshot: another --to (or --cursor) and --snapshot"
            )
        return kept + " Then start again from the first change: another --to (or --cursor)"


def _said(stand: Stand) -> str:
    return "nowhere" if stand is None else stand if isinstance(stand, str) else str(tuple(stand))
