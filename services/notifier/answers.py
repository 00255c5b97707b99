"""What the notifier answers and sends: the shapes, and an example of each."""

from datetime import datetime
from typing import Annotated, Any, Final, Literal, NotRequired
from uuid import UUID

import orjson
from pydantic import Field
from typing_extensions import TypedDict

from services.notifier.acknowledgements import FeedName
from services.notifier.domain.voters import Kind
from services.notifier.feed import ServedChange
from services.notifier.posting import Fault
from services.notifier.ring import frame
from services.notifier.signing import Scheme
from services.notifier.streaming import HEARTBEAT, OPENING
from services.notifier.subscriptions import State, Why
from shared.documenting import Body, Reply, among
from shared.shapes import (
    COUNTS,
    EXAMPLE_BEFORE,
    EXAMPLE_COUNTS,
    CountsShown,
    DistrictCode,
    VillageCode,
    shape,
)

Sequence = Annotated[int, Field(ge=1, description="1, 2, 3, … without a gap, for each election.")]
Reason = Annotated[
    str,
    Field(
        description="The type of the event that did it, else `election.changed`, `counts.replayed`"
        " or `replay.undone`."
    ),
]


class TraceShown(TypedDict):
    """When the change's last event was received, committed, published and counted, and the change
    announced and numbered."""

    received_at: datetime
    committed_at: datetime
    published_at: datetime
    counted_at: datetime
    announced_at: datetime
    numbered_at: datetime


class VillageChange(TypedDict):
    """One village's tally going from `before` to `after`; `stage` is the voter list's when it was
    recorded."""

    sequence: Sequence
    election: str
    village: VillageCode
    district: DistrictCode
    position: int
    time: datetime
    stage: str | None
    before: CountsShown
    after: CountsShown
    trace: NotRequired[
        Annotated[
            TraceShown | None,
            Field(
                description="Where `trace=true` asked for it; null where the change did not come"
                " straight through."
            ),
        ]
    ]


class VoterChange(TypedDict):
    """A person who became, stopped being or moved as eligible; `voter` is a `resident_id`."""

    sequence: Sequence
    election: str
    voter: UUID
    kind: Kind
    reason: Reason
    from_village: VillageCode | None
    to_village: VillageCode | None
    position: int
    time: datetime
    stage: str | None


Through = Annotated[
    int,
    Field(
        description="With `village` or `district`: nothing that was asked for is missing up to"
        " here. Go on with `after` being this."
    ),
]


class VillageChanges(TypedDict):
    """In order and without a gap; `last` is the feed's last sequence."""

    changes: list[VillageChange]
    through: NotRequired[Through]
    last: int


class VoterChanges(TypedDict):
    """In order and without a gap; `last` is the feed's last sequence."""

    changes: list[VoterChange]
    through: NotRequired[Through]
    last: int


class Acknowledged(TypedDict):
    """How far KPU has taken a feed over: `sequence` is 0 and `acknowledged_at` null before it said
    so first; `behind` changes follow up to `last`."""

    election: str
    feed: Annotated[str, among(FeedName)]
    sequence: int
    acknowledged_at: datetime | None
    last: int
    behind: int


class AcknowledgedByToken(Acknowledged):
    """As `Acknowledged`, and whose it is; `token` is null for the operator of the settings."""

    token: int | None
    name: str


class AllAcknowledged(TypedDict):
    acknowledged: list[AcknowledgedByToken]


class Feed(TypedDict):
    """An election's feed: `area` is null until it is known."""

    id: str
    area: str | None
    sequence: int
    position: int


class Feeds(TypedDict):
    elections: list[Feed]


VillageTally: Final[Any] = shape(
    "VillageTally",
    "What was told of a village.",
    {"village": VillageCode, "name": str, "district": DistrictCode},
    COUNTS,
)
Snapshot: Final[Any] = shape(
    "Snapshot",
    "All tallies at `sequence`; `position` is the highest log position told by then.",
    {"sequence": int, "position": int, "villages": list[VillageTally]},
)


class Progress(TypedDict):
    """How far an election is delivered, but for the failing villages; `last` is the feed's end."""

    election: str
    after: int
    last: int
    failing_villages: int


class Subscription(TypedDict):
    """A webhook; `why` and `notice` say what to do where it is disabled."""

    id: str
    url: str
    state: State
    why: Why | None
    notice: str | None
    since: datetime
    created_at: datetime
    signing: Scheme
    public_key: str | None
    previous_secret_until: datetime | None
    elections: list[Progress]


class Subscriptions(TypedDict):
    subscriptions: list[Subscription]


class FailingVillage(TypedDict):
    """A village that waits for its next attempt."""

    election: str
    village: VillageCode
    sequence: int
    attempts: int
    since: datetime
    next_attempt_at: datetime


class OneSubscription(Subscription):
    """A subscription with the villages that fail."""

    failing: list[FailingVillage]


class SecretSubscription(OneSubscription):
    """With the secret, which is shown this once; an Ed25519 key has none to show."""

    secret: NotRequired[str]


FaultText = Annotated[str, among(Fault)]


class Outcome(TypedDict):
    """What came of an attempt: a status, or why there was no answer; `answer` begins it."""

    time: datetime
    status: int | None
    error: FaultText | None
    duration_ms: int
    answer: str


class Tested(Outcome):
    delivered: bool


class Delivery(Outcome):
    """An attempt; of a test event election, village and sequence are null."""

    number: int
    election: str | None
    village: VillageCode | None
    sequence: int | None
    attempt: int


class Deliveries(TypedDict):
    """Attempts in order; `last` is the last number there is."""

    deliveries: list[Delivery]
    last: int


class VoterChangeEvent(TypedDict):
    """The body of a webhook: a change of a village."""

    type: Literal["voter.change"]
    timestamp: Annotated[datetime, Field(description="The change's `time`.")]
    data: VillageChange


class TestedSubscription(TypedDict):
    subscription: UUID


class WebhookTest(TypedDict):
    """The body of a test of a webhook."""

    type: Literal["webhook.test"]
    timestamp: datetime
    data: TestedSubscription


WebhookHeaders = TypedDict(
    "WebhookHeaders",
    {
        "webhook-id": Annotated[
            str, Field(description="The same for a change however often it comes.")
        ],
        "webhook-timestamp": Annotated[
            str, Field(pattern=r"^\d+$", description="Seconds since 1970, of this attempt.")
        ],
        "webhook-signature": Annotated[
            str,
            Field(
                description="One signature or, while a secret is rotated, two with a space between:"
                " `v1,` (HMAC-SHA256) or `v1a,` (Ed25519) and base64, over"
                " `{webhook-id}.{webhook-timestamp}.{body}`."
            ),
        ],
    },
)


TIME: Final = "2024-06-24T02:40:00.120000Z"
CHANGE: Final[dict[str, Any]] = {
    "sequence": 4821,
    "election": "pilkada-2024",
    "village": "15.01.16.2001",
    "district": "15.01.16",
    "position": 120345,
    "time": TIME,
    "stage": "coklit",
    "before": EXAMPLE_BEFORE._asdict(),
    "after": EXAMPLE_COUNTS._asdict(),
}
VOTER_CHANGE: Final[dict[str, Any]] = {
    "sequence": 912,
    "election": "pilkada-2024",
    "voter": "7b6c1a52-3f0e-4f4b-9d0a-2a1f6f1d8c11",
    "kind": "added",
    "reason": "id.dukcapil.resident.registered",
    "from_village": None,
    "to_village": "15.01.16.2001",
    "position": 120344,
    "time": TIME,
    "stage": "coklit",
}
FEEDS: Final = {
    "elections": [{"id": "pilkada-2024", "area": "15.01", "sequence": 4821, "position": 120345}]
}
CHANGES: Final = {"changes": [CHANGE], "last": 4821}
ACKNOWLEDGED: Final = {
    "election": "pilkada-2024",
    "feed": "villages",
    "sequence": 4800,
    "acknowledged_at": TIME,
    "last": 4821,
    "behind": 21,
}
ALL_ACKNOWLEDGED: Final = {"acknowledged": [ACKNOWLEDGED | {"token": 7, "name": "KPU Kerinci"}]}
VOTER_CHANGES: Final = {"changes": [VOTER_CHANGE], "last": 912}
SNAPSHOT: Final = {
    "sequence": 4821,
    "position": 120345,
    "villages": [
        {
            "village": "15.01.16.2001",
            "name": "Siulak Gedang",
            "district": "15.01.16",
            **EXAMPLE_COUNTS._asdict(),
        }
    ],
}

SUBSCRIPTION_ID: Final = "2f0f7f4e-3d3b-4c0e-9a3b-0a6f6f1d8c11"
_SUBSCRIPTION: Final[dict[str, Any]] = {
    "id": SUBSCRIPTION_ID,
    "url": "https://receiver.example/cacah",
    "state": "active",
    "why": None,
    "notice": None,
    "since": "2024-06-24T02:00:00Z",
    "created_at": "2024-06-24T02:00:00Z",
    "signing": "v1",
    "public_key": None,
    "previous_secret_until": None,
    "elections": [{"election": "pilkada-2024", "after": 4820, "last": 4821, "failing_villages": 1}],
}
SUBSCRIPTIONS: Final = {"subscriptions": [_SUBSCRIPTION]}
SUBSCRIPTION: Final = _SUBSCRIPTION | {
    "failing": [
        {
            "election": "pilkada-2024",
            "village": "15.01.16.2001",
            "sequence": 4821,
            "attempts": 2,
            "since": "2024-06-24T02:40:01Z",
            "next_attempt_at": "2024-06-24T02:40:18Z",
        }
    ]
}
SUBSCRIBED: Final = SUBSCRIPTION | {"failing": [], "secret": "whsec_" + "QUJD" * 8}
TESTED: Final = {
    "delivered": True,
    "time": TIME,
    "status": 204,
    "error": None,
    "duration_ms": 38,
    "answer": "",
}
DELIVERIES: Final = {
    "deliveries": [
        {
            "number": 9001,
            "election": "pilkada-2024",
            "village": "15.01.16.2001",
            "sequence": 4821,
            "attempt": 2,
            "time": TIME,
            "status": None,
            "error": "timeout",
            "duration_ms": 15000,
            "answer": "",
        }
    ],
    "last": 9001,
}


def streamed(says: str, kind: Any, example: dict[str, Any]) -> Reply:
    """A stream of server-sent events, each of whose `data` is of a kind."""
    moment = datetime.fromisoformat(example["time"])
    told = ServedChange(example["sequence"], moment, orjson.dumps(example))
    text = (OPENING + frame(told).sent + HEARTBEAT).decode()
    headers = {"Cache-Control": "`no-store`", "X-Accel-Buffering": "`no`: no proxy may hold it up."}
    return Reply(says, (Body(text, kind, "text/event-stream"),), headers)
