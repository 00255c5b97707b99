"""The last event of a stream that the notifier ends: why it ends, and what its client does next."""

from dataclasses import dataclass
from typing import Final

import orjson

# Whoever is sent away shall come back less soon than others.
RETRY_MS: Final = 10_000


@dataclass(frozen=True, slots=True)
class Ending:
    """Why a stream is ended: the name of its last event, and what that says."""

    event: str
    detail: str


LAGGING: Final = Ending(
    "lagging",
    "You took too little for too long, so this stream ends here and nothing is lost. Connect"
    " again with Last-Event-ID, as an EventSource does by itself, or read changes?after= with"
    " this sequence, page by page, until you have everything; read faster than changes come.",
)
REVOKED: Final = Ending(
    "revoked",
    "The token of this stream is in force no longer, so it ends here and nothing is lost. Ask an"
    " operator for another token and connect again with it and with Last-Event-ID; sequences are"
    " the same for every token.",
)


def last_event(ending: Ending, sequence: int, last: int) -> bytes:
    """For a client that has everything up to `sequence` of a feed that ends at `last`."""
    told = {"sequence": sequence, "last": last, "detail": ending.detail}
    head = b"retry: %d\nid: %d\nevent: %s\n" % (RETRY_MS, sequence, ending.event.encode())
    return head + b"data: %s\n\n" % orjson.dumps(told)
