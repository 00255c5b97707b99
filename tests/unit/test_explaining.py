"""What an event did to a village's tally, in words."""

import pytest

from services.projections.domain.explaining import Effect, effect_of, in_words
from services.projections.domain.tally import project
from shared.counts import Counts
from shared.elections import PILKADA_2024
from shared.events.codec import EVENT_TYPES
from shared.events.facts import TYPE_PREFIX
from tests.property.test_fold_against_slow_model import fact_of, model_of

VOTER = Counts(residents=1, eligible=1, eligible_male=1, eligible_unrecorded=1)
GONE = Counts._make(-count for count in VOTER)


@pytest.mark.parametrize(
    ("kind", "added", "effect", "words"),
    [
        ("resident.registered", VOTER, Effect.REGISTERED, "registered"),
        ("resident.relocated", VOTER, Effect.MOVED_IN, "moved in"),
        ("resident.relocated", GONE, Effect.MOVED_OUT, "moved out"),
        ("resident.died", GONE, Effect.DIED, "died"),
        (
            "event.retracted",
            VOTER,
            Effect.COUNTED_AGAIN,
            "counted again: an event was retracted",
        ),
        (
            "event.retracted",
            GONE,
            Effect.NO_LONGER_COUNTED,
            "no longer counted: an event was retracted",
        ),
        (
            "resident.married",
            Counts(eligible=1, eligible_female=1, eligible_recorded=1, under_age=-1),
            Effect.BECAME_ELIGIBLE,
            "became eligible: married",
        ),
        (
            "rights.restored",
            Counts(eligible=1, rights_revoked=-1),
            Effect.BECAME_ELIGIBLE,
            "became eligible: the right to vote was restored",
        ),
        (
            "service.changed",
            Counts(eligible=-1, eligible_recorded=-1, tni=1),
            Effect.NO_LONGER_ELIGIBLE,
            "no longer eligible: joined or left TNI or Polri",
        ),
        (
            "ktp.recorded",
            Counts(eligible_recorded=1, eligible_unrecorded=-1),
            Effect.RECORDED,
            "recorded",
        ),
        (
            "ktp.failed",
            Counts(eligible_recorded=-1, eligible_unrecorded=1),
            Effect.NO_LONGER_RECORDED,
            "no longer recorded: the recording was not accepted",
        ),
        ("ikd.activated", Counts(ikd_active=1), Effect.IKD_ACTIVATED, "IKD activated"),
        (
            "event.retracted",
            Counts(ikd_active=-1),
            Effect.IKD_WITHDRAWN,
            "IKD no longer active: an event was retracted",
        ),
        ("relocation.started", Counts(relocating=1), Effect.MOVE_BEGUN, "moving letter issued"),
        ("resident.relocated", Counts(relocating=-1), Effect.MOVE_SETTLED, "no longer moving"),
        (
            "biodata.corrected",
            Counts(eligible_male=-1, eligible_female=1),
            Effect.COUNTED_OTHERWISE,
            "counted in other classes: the biodata were corrected",
        ),
    ],
)
def test_an_effect_is_told_with_its_cause(
    kind: str, added: Counts, effect: Effect, words: str
) -> None:
    event_type = TYPE_PREFIX + kind
    assert effect_of(event_type, added) is effect
    assert in_words(event_type, effect) == words


@pytest.mark.parametrize("kind", sorted(EVENT_TYPES))
def test_every_type_of_event_has_words_of_its_own(kind: str) -> None:
    words = in_words(TYPE_PREFIX + kind, Effect.COUNTED_OTHERWISE)
    assert words.startswith("counted in other classes: ")
    assert kind not in words


@pytest.mark.parametrize("seed", range(8))
def test_nobody_is_counted_again_but_by_a_retraction(seed: int) -> None:
    model = model_of(seed)
    types = {entry.position: entry.event["type"] for entry in model.log}
    projected = project({}, [fact_of(entry) for entry in model.log], [PILKADA_2024])
    assert projected.deltas
    for delta in projected.deltas:
        event_type = types[delta.position]
        effect = effect_of(event_type, delta.counts)
        if effect in (Effect.COUNTED_AGAIN, Effect.NO_LONGER_COUNTED):
            assert event_type == TYPE_PREFIX + "event.retracted"
