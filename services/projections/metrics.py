"""What projections measure of their own work, as Prometheus reads it."""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

EVENTS: Final = Counter("projections_events", "Events counted.")
REPEATS: Final = Counter("projections_repeats", "Records dropped because they came before.")
HOLES: Final = Counter("projections_holes_healed", "Holes of the topic filled from the log.")
FENCED: Final = Counter(
    "projections_fenced", "Partitions of a batch dropped because another process took them over."
)
FAILURES: Final = Counter("projections_failures", "Attempts at a batch that failed.")
PARKED: Final = Gauge("projections_parked", "Records set aside because they could not be applied.")
CUT: Final = Gauge("projections_cut_position", "The log position that the answers reflect.")
BATCH_SECONDS: Final = Histogram(
    "projections_batch_seconds",
    "From the start of a batch to its commit.",
    buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5),
)
LAG_SECONDS: Final = Histogram(
    "projections_lag_seconds",
    "From the registry's recording of a batch's oldest event to its commit here.",
    buckets=(0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 60, 600),
)
ANNOUNCED: Final = Counter("projections_changes_announced", "Village changes given to Kafka.")
VOTERS_ANNOUNCED: Final = Counter("projections_voters_announced", "Voter changes given to Kafka.")
FOLDINGS: Final = Counter("projections_foldings", "Elections folded anew that came to serve.")
FOLDING_SECONDS: Final = Histogram(
    "projections_folding_seconds",
    "From taking a definition up to the moment in which its counts serve.",
    buckets=(0.5, 1, 2, 5, 10, 20, 60, 300),
)
SWITCH_SECONDS: Final = Histogram(
    "projections_switch_seconds",
    "How long counting stood still while a folding came to serve.",
    buckets=(0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5),
)
TOPICS_LOST: Final = Counter(
    "projections_topics_lost", "Times that a topic of ours was found to be lost.", ["topic"]
)
RETOLD: Final = Counter("projections_voters_retold", "Persons told of again to a new topic.")
LOG_READ: Final = Counter(
    "projections_log_read", "Times that the log was read because nothing came from the topic."
)
