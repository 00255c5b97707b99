"""One history played to a running system, and the system held against the slow model after it."""

import random
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from tests.support.checking import check_everything, send_again
from tests.support.driving import CLIENTS, Parcel, Sent, apart, disguised, parcels, play
from tests.support.histories import FOUR, Event, generate
from tests.support.reckoning import Race, check_fates, check_lane
from tests.support.slow_model import Model
from tests.support.system import System
from tests.support.watching import watching


@dataclass(frozen=True)
class Played:
    """What was answered while a history was played."""

    sent: list[Sent]

    @property
    def outcomes(self) -> Counter[str]:
        """How often each outcome, and each problem, was answered."""
        return Counter(sent.answer.problem or sent.answer.outcome for sent in self.sent)


def history(seed: int, size: int, types: Sequence[str] = FOUR) -> list[Event]:
    """A hostile history that may be sent to a registry whose clock is the real one."""
    told = generate(seed, size, types=types, now=datetime.now(UTC), pace=timedelta())
    return disguised([submission.event for submission in told], seed)


def lanes_apart(events: Sequence[Event], seed: int) -> list[Iterator[Parcel]]:
    """The parcels of clients that share nothing."""
    return [
        parcels(lane, random.Random(f"{seed} {number}"))
        for number, lane in enumerate(apart(events))
    ]


async def play_apart(system: System, seed: int, size: int, types: Sequence[str] = FOUR) -> Played:
    """Clients that share nothing: the order within a lane decides, and every answer is known."""
    events = history(seed, size, types)
    system.ledger.note(events)
    async with watching(system) as watch:
        answered = await _play(system, lanes_apart(events, seed))
        await check_everything(system)
        await watch.agree(system)
    models = [check_lane(lane, system.ledger) for lane in answered]
    check_fates(await send_again(system, events), models, system.ledger)
    return Played(_joined(answered))


async def play_mingled(system: System, seed: int, size: int) -> Played:
    """Clients that race for the same residents and the same identities."""
    events = history(seed, size)
    system.ledger.note(events)
    lane = parcels(events, random.Random(seed))
    async with watching(system) as watch:
        answered = await _play(system, [lane] * CLIENTS)
        await check_everything(system)
        await watch.agree(system)
    race = Race(system.ledger, _joined(answered))
    race.check()
    race.check_fates(await send_again(system, events))
    return Played(_joined(answered))


def model_of(events: Iterable[Event]) -> Model:
    """What a model makes of a lane of events by itself."""
    model = Model()
    for event in events:
        model.submit(event, datetime.now(UTC))
    return model


async def _play(system: System, lanes: Sequence[Iterator[Parcel]]) -> list[list[Sent]]:
    return await play(system.stack.urls["registry"], system.stack.operator_token, lanes)


def _joined(answered: Sequence[Sequence[Sent]]) -> list[Sent]:
    return [sent for lane in answered for sent in lane]
