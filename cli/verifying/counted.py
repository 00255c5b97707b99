"""What projections say that they have counted: by which definitions, and how far."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from cli.verifying.snapshot import HEAD, Connection
from services.projections.queries import defined
from shared.elections import Election
from shared.topics import PARTITIONS

SAMPLES: Final = 20

_ELECTIONS: Final = (
    "SELECT id, polling_day, area, minimum_age, first_time_since, stages::text AS stages,"
    " history_from FROM projections.elections ORDER BY id"
)
_MARKS: Final = "SELECT partition, position FROM projections.marks ORDER BY partition"


@dataclass(frozen=True, slots=True)
class Counted:
    """The elections that serve, after which position the history of each is whole, how far each
    partition is counted, where the log ends, and the positions of the sample."""

    elections: Sequence[Election]
    history_from: Mapping[str, int]
    marks: Mapping[int, int]
    head: int
    samples: Sequence[int]

    @property
    def cut(self) -> int:
        """The position up to which every partition is counted."""
        return min(self.marks.values(), default=0)

    @property
    def thresholds(self) -> list[int]:
        """The positions after each sample: where one bucket of the history ends."""
        return [sample + 1 for sample in self.samples]

    def behind(self) -> str:
        """A word on what is not counted yet, where something is not."""
        return f" (up to {self.cut:,} of {self.head:,} is counted)" if self.cut < self.head else ""


async def read_counted(connection: Connection, seed: int) -> Counted:
    """What is counted; the same sample for the same seed and log."""
    rows = await connection.fetch(_ELECTIONS)
    kept = dict(await connection.fetch(_MARKS))
    # A mark that was taken away counts as none, so that it is found and not stumbled over.
    marks = {partition: kept.get(partition, 0) for partition in range(PARTITIONS)}
    cut = min(marks.values(), default=0)
    chance = random.Random(seed)  # noqa: S311 - a sample, no secret
    return Counted(
        elections=[defined(row["id"], _definition(row)) for row in rows],
        history_from={row["id"]: row["history_from"] for row in rows},
        marks=marks,
        head=await connection.fetchval(HEAD),
        samples=sorted(chance.sample(range(1, cut + 1), min(SAMPLES, cut))),
    )


def _definition(row: Any) -> dict[str, Any]:
    return {
        "polling_day": row["polling_day"].isoformat(),
        "area": row["area"],
        "minimum_age": row["minimum_age"],
        "first_time_since": row["first_time_since"].isoformat(),
        "stages": orjson.loads(row["stages"]),
    }
