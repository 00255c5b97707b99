"""Holds every answer of the registry against the slow model, in the order in which it decided.

Clients race for the same residents and identities and are cut off on the way, so the sending does
not say who was first. The registry numbers what it decides: the model is given the same events in
that order, at the times of receipt that were kept, and must come to the same. That the order
itself was a possible one, no client overtaken and no batch out of order, is a check of its own.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg
import orjson

from tests.support.differences import agree, require
from tests.support.driving import Answer, Sent
from tests.support.histories import Event
from tests.support.reckoning import INVALID
from tests.support.slow_model import Key, Model, Result, content_of, fault, key_of

_CLAIMS = (
    "SELECT arrival, received_at, source, event_id, first_outcome, outcome, problem, warnings,"
    " position FROM registry.submissions WHERE claims ORDER BY arrival"
)


@dataclass(frozen=True)
class Claim:
    """What the registry keeps of the first submission of a source and id."""

    arrival: int
    received_at: datetime
    key: Key
    first: str
    result: Result


@dataclass(frozen=True)
class Decided:
    """One identity: the content that took it, what was answered at once, what came of it."""

    content: str
    first: Result
    claim: Claim


async def read_claims(dsn: str) -> list[Claim]:
    """The first submission of each identity, in the order in which they were decided."""
    connection = await asyncpg.connect(dsn)
    try:
        return [_claim(row) for row in await connection.fetch(_CLAIMS)]
    finally:
        await connection.close()


def _claim(row: Any) -> Claim:
    problem = orjson.loads(row["problem"])[0] if row["problem"] else None
    warnings = tuple(sorted(row["warnings"]))
    return Claim(
        row["arrival"],
        row["received_at"],
        (row["source"], row["event_id"]),
        row["first_outcome"],
        Result(row["outcome"], row["position"], warnings, problem),
    )


def decide_again(claims: Sequence[Claim], sent: Sequence[Sent], model: Model) -> dict[Key, Decided]:
    """Have the model decide in the registry's order, and see that it comes to the same."""
    by_key: dict[Key, list[Sent]] = {}
    for one in sent:
        if (key := key_of(one.event)) is not None:
            by_key.setdefault(key, []).append(one)
    decided: dict[Key, Decided] = {}
    for claim in claims:
        require(claim.key in by_key, f"nobody sent what the registry keeps of {claim.key}")
        event = taken(by_key[claim.key])
        first = model.submit(event, claim.received_at)
        agree(claim.first, first.outcome, f"the first answer to {told(event)}")
        decided[claim.key] = Decided(content_of(event), first, claim)
    for claim in claims:
        agree(claim.result, model.outcome_of(claim.key), f"what came of {claim.key}")
    lost = sorted(by_key.keys() - decided.keys())
    require(not lost, f"lost without a trace: {lost[:3]}")
    return decided


def taken(sent: Sequence[Sent]) -> Event:
    """The event that took an identity: the one that was not told that another had."""
    well_formed = [one for one in sent if fault(one.event) is None]
    first = [one.event for one in well_formed if one.answer.problem != "id-reused"]
    contents = {content_of(event) for event in first}
    require(len(contents) < 2, f"two contents of one identity were decided on: {first[:2]}")
    # Where all were told so, one that was not well formed came before them; they are all alike.
    malformed = [one.event for one in sent if fault(one.event) is not None]
    require(first or malformed, f"everybody was told that another was first: {sent[0]}")
    return [*first, *malformed][0]


def check_answers(sent: Sequence[Sent], decided: dict[Key, Decided]) -> None:
    """Every answer is what the model says of its event, at one moment of its life."""
    at_once: set[Key] = set()
    for one in sent:
        key = key_of(one.event)
        if key is None or fault(one.event) is not None:
            agree(one.answer, INVALID, told(one.event))
            continue
        decision = decided[key]
        if content_of(one.event) != decision.content:
            agree(one.answer, Answer("rejected", problem="id-reused"), told(one.event))
        elif one.answer.outcome == "duplicate":
            require(one.answer in repeats(decision), f"{told(one.event)}: {one.answer}")
        else:
            require(key not in at_once, f"decided twice: {told(one.event)}")
            at_once.add(key)
            agree(one.answer, answer_of(decision.first), told(one.event))


def answer_of(result: Result, first: str | None = None) -> Answer:
    """A result as it is answered: at once, or as a duplicate of what was answered `first`."""
    outcome = "duplicate" if first else result.outcome
    return Answer(outcome, result.position, tuple(sorted(result.warnings)), result.problem, first)


def repeats(decision: Decided) -> set[Answer]:
    """What a repeat may be told: what was answered first, or what has come of it since."""
    first = decision.first.outcome
    return {answer_of(decision.first, first), answer_of(decision.claim.result, first)}


def check_fates(again: Sequence[Sent], decided: dict[Key, Decided]) -> None:
    """Sent once more when all is over, each is told what has come of it."""
    check_answers(again, decided)
    for one in again:
        if one.answer.outcome == "duplicate":
            decision = decided[key_of(one.event) or ("", "")]
            fate = answer_of(decision.claim.result, decision.first.outcome)
            agree(one.answer, fate, told(one.event))


def check_order(sent: Sequence[Sent], claims: Sequence[Claim]) -> None:
    """Nothing that was answered before another was sent was decided after it; what stands in one
    request was decided in its order."""
    spans: dict[Key, tuple[float, float]] = {}
    requests: dict[float, list[Key]] = {}
    for one in sent:
        if (key := key_of(one.event)) is not None:
            began, ended = spans.get(key, (one.began, one.ended))
            spans[key] = min(began, one.began), min(ended, one.ended)
            requests.setdefault(one.began, []).append(key)
    times = Counter(key for keys in requests.values() for key in keys)
    latest = 0.0
    for claim in claims:
        began, ended = spans[claim.key]
        require(ended >= latest, f"{claim.key} was answered before what was decided before it came")
        latest = max(latest, began)
    arrivals = {claim.key: claim.arrival for claim in claims}
    for keys in requests.values():
        alone = [arrivals[key] for key in keys if times[key] == 1]
        require(alone == sorted(alone), f"a request was decided out of order: {keys[:3]}")


def told(event: Event) -> str:
    """An event, so short that it can be found in the history."""
    return f"{event.get('type')} {event.get('source')} {event.get('id')}"
