"""Where things are parked: each place lists, shows, tries again and drops in its own way."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any, Final, Protocol

from cli.operators_door import OperatorsDoor

PAGE: Final = 1_000


class Place(StrEnum):
    """A service that parks what it cannot take yet."""

    REGISTRY = "registry"
    PROJECTIONS = "projections"


class ParkedPlace(Protocol):
    """What `cacah parked` needs of a place; numbers are the place's own."""

    columns: Sequence[str]

    def rows(self) -> Iterator[Sequence[str]]:
        """All that is parked, in its order, a text for each column; the first is the number."""
        ...

    def show(self, number: int) -> Mapping[str, Any]:
        """All that may be shown of one that is parked, or was."""
        ...

    def retry(self) -> str:
        """Try all again; what came of it, in a sentence."""
        ...

    def drop(self, number: int, reason: str) -> str:
        """Give one up, leaving a trace; what was dropped, in a sentence."""
        ...


class ParkedAtRegistry:
    """Events that wait for another event."""

    columns: Sequence[str] = ("arrival", "received", "station", "id", "type", "waits for")

    def __init__(self, door: OperatorsDoor) -> None:
        self._door = door

    def rows(self) -> Iterator[Sequence[str]]:
        after = 0
        while page := self._door.get("/v1/parked", after=after, limit=PAGE)["parked"]:
            yield from map(_row, page)
            after = page[-1]["arrival"]

    def show(self, number: int) -> Mapping[str, Any]:
        return self._door.get(f"/v1/parked/{number}")

    def retry(self) -> str:
        told = self._door.post("/v1/parked/retry")
        tried, accepted, rejected = (told[name] for name in ("tried", "accepted", "rejected"))
        return (
            f"{tried:,} tried: {accepted:,} accepted, {rejected:,} rejected,"
            f" {tried - accepted - rejected:,} still parked."
        )

    def drop(self, number: int, reason: str) -> str:
        told = self._door.post(f"/v1/parked/{number}/drop", {"reason": reason})
        return (
            f"Dropped {told['id']} of {told['source']}; `cacah parked show {number}` tells of it."
        )


def _row(event: Mapping[str, Any]) -> Sequence[str]:
    return (
        str(event["arrival"]),
        str(event["received_at"])[:16].replace("T", " "),
        str(event["source"]).rpartition(":")[2],
        str(event["id"]),
        str(event["type"] or "erased").removeprefix("id.dukcapil."),
        str(event["waits_for"] or "nothing: its person was erased"),
    )


class ParkedAtProjections:
    """Events that could not be counted, what follows them for the same resident, and records that
    have no place in the log."""

    columns: Sequence[str] = ("number", "parked", "position", "resident", "type", "why")

    def __init__(self, door: OperatorsDoor) -> None:
        self._door = door

    def rows(self) -> Iterator[Sequence[str]]:
        after = 0
        while page := self._door.get("/v1/parked", after=after, limit=PAGE)["parked"]:
            yield from map(_projections_row, page)
            after = page[-1]["parked_id"]

    def show(self, number: int) -> Mapping[str, Any]:
        return self._door.get(f"/v1/parked/{number}")

    def retry(self) -> str:
        told = self._door.post("/v1/parked/retry")
        tried, applied = told["tried"], told["applied"]
        return f"{tried:,} tried: {applied:,} applied, {tried - applied:,} still parked."

    def drop(self, number: int, reason: str) -> str:
        told = self._door.post(f"/v1/parked/{number}/drop", {"reason": reason})
        place = told["position"]
        dropped = f"position {place}" if place else "a record that has no place in the log"
        return (
            f"Dropped {dropped}; `cacah parked show {number} --at projections` tells of it. What"
            " follows it for the same resident waits for `cacah parked retry --at projections`."
        )


def _projections_row(parked: Mapping[str, Any]) -> Sequence[str]:
    return (
        str(parked["parked_id"]),
        str(parked["parked_at"])[:16].replace("T", " "),
        str(parked["position"] or "none"),
        str(parked["resident_id"] or "unknown"),
        str(parked["type"] or "unknown").removeprefix("id.dukcapil."),
        str(parked["why"]),
    )


PLACES: Final[Mapping[Place, Callable[[OperatorsDoor], ParkedPlace]]] = {
    Place.REGISTRY: ParkedAtRegistry,
    Place.PROJECTIONS: ParkedAtProjections,
}
