"""Who a resident is: the NIK and the latest name, from what stations sent (contract section 3)."""

from collections.abc import Sequence
from dataclasses import dataclass

from shared.events.facts import BiodataCorrected, LoggedFact, ResidentRegistered, standing


@dataclass(frozen=True, slots=True)
class Person:
    """A resident's NIK and name: the registry's alone."""

    nik: str
    name: str


@dataclass(frozen=True, slots=True)
class Told:
    """A fact with what its event said of the person besides; None where it said nothing."""

    logged: LoggedFact
    nik: str | None = None
    name: str | None = None


def person(history: Sequence[Told]) -> Person | None:
    """The registration's NIK and name with the standing corrections laid over in log order.

    A registration that was retracted names its person still: KPU may have to strike out whom it
    was told of. None when there is no registration.
    """
    stands = {logged.position for logged in standing([told.logged for told in history])}
    found: Person | None = None
    for told in history:
        match told.logged.fact:
            case ResidentRegistered() if told.nik and told.name:
                found = Person(told.nik, told.name)
            case BiodataCorrected() if found and told.name and told.logged.position in stands:
                found = Person(found.nik, told.name)
            case _:
                pass
    return found
