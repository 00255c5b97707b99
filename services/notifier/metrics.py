"""What the notifier measures of itself, for `/metrics`."""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

_LATENCY_BUCKETS_S: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 30.0, 300.0)

CHANGES: Final = Counter("cacah_notifier_changes", "Changes numbered", ["election"])
REPEATS: Final = Counter(
    "cacah_notifier_repeats", "Records dropped because their revision was held already"
)
MENDED: Final = Counter(
    "cacah_notifier_mended",
    "Records that did not follow the one before, mended from what KPU had been told",
    ["flaw"],
)
UNREADABLE: Final = Counter(
    "cacah_notifier_unreadable", "Records that could not be read, kept in notifier.unreadable"
)
FAILED_ATTEMPTS: Final = Counter(
    "cacah_notifier_failed_attempts", "Attempts to commit a batch that failed and were repeated"
)
SEQUENCE: Final = Gauge("cacah_notifier_sequence", "The feed's last sequence", ["election"])
VOTER_CHANGES: Final = Counter(
    "cacah_notifier_voter_changes", "Voters' changes numbered", ["election"]
)
VOTER_SEQUENCE: Final = Gauge(
    "cacah_notifier_voter_sequence", "The voters' feed's last sequence", ["election"]
)
CLIENTS: Final = Gauge("cacah_notifier_clients", "SSE clients connected")
CUT: Final = Counter(
    "cacah_notifier_clients_cut",
    "SSE clients cut: fallen too far behind, or stalled, taking no bytes, or their token revoked",
    ["why"],
)
UNACKNOWLEDGED: Final = Gauge(
    "cacah_notifier_unacknowledged",
    "Changes of a feed that a token has not acknowledged, by the token's number (0: the operator's"
    " of the settings), where it acknowledges any",
    ["election", "feed", "token"],
)
NUMBERED_S: Final = Histogram(
    "cacah_notifier_numbered_seconds",
    "From the append to the log until the change is numbered and committed",
    buckets=_LATENCY_BUCKETS_S,
)
STREAMED_S: Final = Histogram(
    "cacah_notifier_streamed_seconds",
    "From the append to the log until the first SSE client has the bytes, by feed",
    ["feed"],
    buckets=_LATENCY_BUCKETS_S,
)

WEBHOOK_ATTEMPTS: Final = Counter(
    "cacah_notifier_webhook_attempts",
    "Attempts to deliver a change to a webhook: delivered, refused (by its status), or the fault",
    ["result"],
)
WEBHOOKS_DISABLED: Final = Counter(
    "cacah_notifier_webhooks_disabled", "Subscriptions disabled, by why", ["why"]
)
WEBHOOKS_ACTIVE: Final = Gauge(
    "cacah_notifier_webhooks_active", "Subscriptions that this process delivers to"
)
DELIVERED_S: Final = Histogram(
    "cacah_notifier_delivered_seconds",
    "From the append to the log until a webhook's receiver has confirmed the change, where the"
    " first attempt succeeded",
    buckets=_LATENCY_BUCKETS_S,
)
