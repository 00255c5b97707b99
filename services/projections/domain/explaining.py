"""What an event did to a village's tally, in words: from what it added, and its type."""

from enum import StrEnum
from typing import Final

from shared.counts import Counts
from shared.events.facts import TYPE_PREFIX


class Effect(StrEnum):
    """What happened to a resident in a village's tally; the first that fits holds."""

    REGISTERED = "registered"
    MOVED_IN = "moved_in"
    COUNTED_AGAIN = "counted_again"
    DIED = "died"
    MOVED_OUT = "moved_out"
    NO_LONGER_COUNTED = "no_longer_counted"
    BECAME_ELIGIBLE = "became_eligible"
    NO_LONGER_ELIGIBLE = "no_longer_eligible"
    RECORDED = "recorded"
    NO_LONGER_RECORDED = "no_longer_recorded"
    IKD_ACTIVATED = "ikd_activated"
    IKD_WITHDRAWN = "ikd_withdrawn"
    MOVE_BEGUN = "move_begun"
    MOVE_SETTLED = "move_settled"
    COUNTED_OTHERWISE = "counted_otherwise"


_ARRIVALS: Final = {
    "resident.registered": Effect.REGISTERED,
    "resident.relocated": Effect.MOVED_IN,
}
_DEPARTURES: Final = {
    "resident.died": Effect.DIED,
    "resident.relocated": Effect.MOVED_OUT,
}

# The counts that tell what happened to somebody who stays a resident, with what a rise and a fall
# of each says.
_STAYING: Final = (
    ("eligible", Effect.BECAME_ELIGIBLE, Effect.NO_LONGER_ELIGIBLE),
    ("eligible_recorded", Effect.RECORDED, Effect.NO_LONGER_RECORDED),
    ("ikd_active", Effect.IKD_ACTIVATED, Effect.IKD_WITHDRAWN),
    ("relocating", Effect.MOVE_BEGUN, Effect.MOVE_SETTLED),
)

_WORDS: Final = {
    Effect.REGISTERED: "registered",
    Effect.MOVED_IN: "moved in",
    Effect.COUNTED_AGAIN: "counted again",
    Effect.DIED: "died",
    Effect.MOVED_OUT: "moved out",
    Effect.NO_LONGER_COUNTED: "no longer counted",
    Effect.BECAME_ELIGIBLE: "became eligible",
    Effect.NO_LONGER_ELIGIBLE: "no longer eligible",
    Effect.RECORDED: "recorded",
    Effect.NO_LONGER_RECORDED: "no longer recorded",
    Effect.IKD_ACTIVATED: "IKD activated",
    Effect.IKD_WITHDRAWN: "IKD no longer active",
    Effect.MOVE_BEGUN: "moving letter issued",
    Effect.MOVE_SETTLED: "no longer moving",
    Effect.COUNTED_OTHERWISE: "counted in other classes",
}

_CAUSES: Final = {
    "resident.registered": "registered",
    "ktp.recorded": "biometrics recorded",
    "ktp.failed": "the recording was not accepted",
    "ikd.activated": "IKD activated",
    "relocation.started": "a moving letter was issued",
    "resident.relocated": "a move was completed",
    "resident.married": "married",
    "resident.died": "a death was reported",
    "service.changed": "joined or left TNI or Polri",
    "rights.revoked": "the right to vote was revoked",
    "rights.restored": "the right to vote was restored",
    "biodata.corrected": "the biodata were corrected",
    "event.retracted": "an event was retracted",
}

# What says by itself which type of event does it.
_SELF_EXPLAINING: Final = {
    (Effect.REGISTERED, "resident.registered"),
    (Effect.MOVED_IN, "resident.relocated"),
    (Effect.MOVED_OUT, "resident.relocated"),
    (Effect.DIED, "resident.died"),
    (Effect.RECORDED, "ktp.recorded"),
    (Effect.IKD_ACTIVATED, "ikd.activated"),
    (Effect.MOVE_BEGUN, "relocation.started"),
    (Effect.MOVE_SETTLED, "resident.relocated"),
}


def effect_of(event_type: str, added: Counts) -> Effect:
    """What an event of a type (with its prefix) did by what it added to a village's counts."""
    kind = event_type.removeprefix(TYPE_PREFIX)
    if added.residents > 0:
        return _ARRIVALS.get(kind, Effect.COUNTED_AGAIN)
    if added.residents < 0:
        return _DEPARTURES.get(kind, Effect.NO_LONGER_COUNTED)
    for name, rise, fall in _STAYING:
        if change := getattr(added, name):
            return rise if change > 0 else fall
    return Effect.COUNTED_OTHERWISE


def in_words(event_type: str, effect: Effect) -> str:
    """An effect and, where it does not say so itself, what kind of event had it."""
    kind = event_type.removeprefix(TYPE_PREFIX)
    if (effect, kind) in _SELF_EXPLAINING:
        return _WORDS[effect]
    return f"{_WORDS[effect]}: {_CAUSES.get(kind, kind)}"
