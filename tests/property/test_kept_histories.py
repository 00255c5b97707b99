"""Histories kept as JSON are replayed for ever: what once differed, and what easily could."""

from pathlib import Path

import pytest

from tests.support.kept_histories import KEPT, read, replay

HISTORIES = sorted(KEPT.glob("*.json"))


@pytest.mark.parametrize("path", HISTORIES, ids=lambda path: path.stem)
def test_a_kept_history_is_as_the_slow_model_says_and_as_it_was(path: Path) -> None:
    kept = read(path)
    answers, voters = replay(kept.history)
    assert answers == (answers if kept.answers is None else kept.answers)
    assert voters == (voters if kept.voters is None else kept.voters)
