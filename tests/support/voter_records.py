"""Values of `voter.persons` with dull valid members, of which a test names what matters."""

import json
from typing import Any
from uuid import UUID

SOMEBODY = UUID(int=1)


def written(voter: UUID = SOMEBODY, to: str | None = "15.01.09.2001", **given: Any) -> bytes:
    """A record as projections write it: somebody is now a voter of a village, or of none."""
    members = {
        "election": "pilkada-2024",
        "voter": str(voter),
        "fold": 0,
        "place": 1,
        "to_village": to,
        "reason": "id.dukcapil.resident.registered",
        "position": given.get("place", 1),
        "time": "2024-08-20T01:00:00.123456Z",
        "stage": "dps",
    } | given
    return json.dumps(members, separators=(",", ":")).encode()


def area(election: str = "second", of: str = "15.01.16", fold: int = 1) -> bytes:
    """What projections say of an election."""
    members = {"election": election, "fold": fold, "area": of}
    return json.dumps(members, separators=(",", ":")).encode()
