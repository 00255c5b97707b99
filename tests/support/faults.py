"""Which faults are done to a running system, and when: a pure function of the seed.

Fault model: the three services may be killed or stand still at any moment; connections to
PostgreSQL and Kafka may be cut, refused and slow; both servers may be restarted, in order or by
SIGKILL; projections may become three processes and one again. What lies on a disk stays there.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

SERVICES: Final = ("registry", "projections", "notifier")
SERVERS: Final = ("postgres", "kafka")
MORE_PROJECTIONS: Final = ("projections-2", "projections-3")

# A fault waits until its target is likely to have recovered from the one before.
RECOVERY_S: Final = {"kill": 8.0, "pause": 4.0, "cut": 3.0, "delay": 2.0, "restart": 25.0}
SCALED_S: Final = 30.0
# The last faults must be over before the end.
CALM_S: Final = 10.0
ATTEMPTS: Final = 1_000


@dataclass(frozen=True)
class Fault:
    """What is done: `at_s` after the beginning, for `lasts_s`; `how` is a signal, or a delay."""

    at_s: float
    kind: str
    target: str
    lasts_s: float = 0.0
    how: str = ""

    def __str__(self) -> str:
        words = [f"{self.at_s:6.1f} s", self.kind, self.target, self.how]
        lasting = [f"for {self.lasts_s:.1f} s"] if self.lasts_s else []
        return " ".join(word for word in [*words, *lasting] if word)

    @property
    def over_s(self) -> float:
        """When its target may be hit again."""
        return self.at_s + self.lasts_s + RECOVERY_S.get(self.kind, SCALED_S)


def schedule(seed: int, duration_s: float, count: int) -> list[Fault]:
    """The faults of a run, in order; the same for the same arguments."""
    chance = random.Random(f"faults {seed}")
    free_s: dict[str, float] = {}
    planned: list[Fault] = []
    moments = sorted(chance.uniform(1.0, max(2.0, duration_s - CALM_S)) for _ in range(count))
    for moment in moments:
        fault = _free(chance, moment, free_s)
        free_s[fault.target] = fault.over_s
        planned.append(fault)
    return planned


def _free(chance: random.Random, at_s: float, free_s: dict[str, float]) -> Fault:
    """A fault of something that nothing else happens to; where all are busy, a cut."""
    for _ in range(ATTEMPTS):
        kind = chance.choices([*KINDS], weights=[weight for _, weight in KINDS.values()])[0]
        fault = KINDS[kind][0](chance, at_s)
        if free_s.get(fault.target, 0.0) <= at_s:
            return fault
    return Fault(at_s, "cut", chance.choice(SERVERS) + " connections", 0.0, "at once")


def _kill(chance: random.Random, at_s: float) -> Fault:
    return Fault(at_s, "kill", chance.choice(SERVICES), chance.uniform(0.1, 2.0), "SIGKILL")


def _pause(chance: random.Random, at_s: float) -> Fault:
    return Fault(at_s, "pause", chance.choice(SERVICES), chance.uniform(1.0, 20.0), "SIGSTOP")


def _cut(chance: random.Random, at_s: float) -> Fault:
    target = chance.choice(SERVERS) + " connections"
    return Fault(at_s, "cut", target, chance.choice((0.0, 0.0, chance.uniform(0.1, 5.0))))


def _delay(chance: random.Random, at_s: float) -> Fault:
    delay = f"{chance.choice((10, 50, 200))} ms"
    return Fault(
        at_s, "delay", chance.choice(SERVERS) + " connections", chance.uniform(1.0, 8.0), delay
    )


def _restart(chance: random.Random, at_s: float) -> Fault:
    how = chance.choice(("in order", "SIGKILL"))
    return Fault(at_s, "restart", chance.choice(SERVERS), 0.0, how)


def _scale(chance: random.Random, at_s: float) -> Fault:
    return Fault(at_s, "scale", "projections to 3", chance.uniform(10.0, 40.0))


KINDS: Final[dict[str, tuple[Callable[[random.Random, float], Fault], int]]] = {
    "kill": (_kill, 25),
    "pause": (_pause, 20),
    "cut": (_cut, 40),
    "delay": (_delay, 30),
    "restart": (_restart, 6),
    "scale": (_scale, 6),
}
