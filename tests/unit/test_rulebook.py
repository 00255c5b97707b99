"""The tables that name event types agree: what the type checker cannot see, this does."""

from typing import get_args

from services.registry.domain.forms import DATA
from shared.events.codec import EVENT_TYPES
from shared.events.facts import Fact


def test_every_type_that_may_be_sent_can_be_read_and_is_a_fact() -> None:
    assert set(DATA) == EVENT_TYPES
    assert len(get_args(Fact)) == len(EVENT_TYPES)
