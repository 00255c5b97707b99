"""Values of `voter.changes` with dull valid members, of which a test names what matters."""

import json
from typing import Any

COUNTS = (
    "residents",
    "eligible",
    "eligible_male",
    "eligible_female",
    "eligible_recorded",
    "eligible_unrecorded",
    "first_time",
    "first_time_unrecorded",
    "ikd_active",
    "relocating",
    "under_age",
    "tni",
    "polri",
    "rights_revoked",
)


def counts(**given: Any) -> dict[str, Any]:
    """The 14 counts of contract section 4, zero where nothing is given."""
    return dict.fromkeys(COUNTS, 0) | given


def written(residents: Any = 1, before: int = 0, **given: Any) -> bytes:
    """A record as projections write it: the village goes from `before` residents to `residents`."""
    members = {
        "election": "pilkada-2024",
        "village": "15.01.09.2001",
        "district": str(given.get("village", "15.01.09.2001"))[:8],
        "revision": 1,
        "position": 1,
        "time": "2024-08-20T01:00:00.123456Z",
        "stage": "dps",
        "before": counts(residents=before),
        "after": counts(residents=residents),
    } | given
    return json.dumps(members).encode()
