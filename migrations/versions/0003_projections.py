"""Projections: elections, residents' facts, tallies and their history, marks, what waits."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# The columns are written out: a migration must stay what it was when the code moves on.
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
COUNT_COLUMNS = ", ".join(f"{name} integer NOT NULL DEFAULT 0" for name in COUNTS)

STATEMENTS = (
    "CREATE SCHEMA projections",
    """
    CREATE TABLE projections.elections (
        id text PRIMARY KEY,
        polling_day date NOT NULL,
        area text NOT NULL,
        minimum_age smallint NOT NULL,
        first_time_since date NOT NULL,
        stages json NOT NULL
    )
    """,
    # Per partition of population.events: every event of it up to `position` is counted; whoever
    # raised `epoch` last may write.
    """
    CREATE TABLE projections.marks (
        partition smallint PRIMARY KEY,
        position bigint NOT NULL DEFAULT 0,
        epoch bigint NOT NULL DEFAULT 0
    ) WITH (fillfactor = 50)
    """,
    "INSERT INTO projections.marks (partition) SELECT generate_series(0, 11)",
    # A resident is the facts about them. Rows are only ever added, so that a batch copies its
    # facts in; the key refuses a fact that would be applied twice.
    """
    CREATE TABLE projections.facts (
        resident_id uuid NOT NULL,
        position bigint NOT NULL,
        recorded_at timestamptz NOT NULL,
        type text NOT NULL,
        version smallint NOT NULL,
        source text NOT NULL,
        event_id text NOT NULL,
        data json NOT NULL,
        PRIMARY KEY (resident_id, position)
    )
    """,
    f"""
    CREATE TABLE projections.tallies (
        election text NOT NULL,
        village text NOT NULL,
        {COUNT_COLUMNS},
        revision bigint NOT NULL DEFAULT 0,
        position bigint NOT NULL DEFAULT 0,
        recorded_at timestamptz,
        PRIMARY KEY (election, village)
    ) WITH (fillfactor = 50)
    """,
    # What each event alone added to each village.
    f"""
    CREATE TABLE projections.history (
        election text NOT NULL,
        village text NOT NULL,
        position bigint NOT NULL,
        recorded_at timestamptz NOT NULL,
        {COUNT_COLUMNS},
        PRIMARY KEY (election, village, position)
    )
    """,
    # For every read: what the partitions that are ahead have added after the cut.
    "CREATE INDEX history_by_position ON projections.history (election, position)",
    # Changes on their way to the topic voter.changes; gone when the broker has them.
    """
    CREATE TABLE projections.outbox (
        election text NOT NULL,
        village text NOT NULL,
        revision bigint NOT NULL,
        value json NOT NULL,
        PRIMARY KEY (election, village, revision)
    )
    """,
    # What could not be applied, and what follows it for the same resident; without a position,
    # what has no place in the log.
    """
    CREATE TABLE projections.parked (
        parked_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        parked_at timestamptz NOT NULL DEFAULT now(),
        partition smallint NOT NULL,
        record_offset bigint,
        position bigint,
        resident_id uuid,
        type text,
        why text NOT NULL,
        record bytea NOT NULL
    )
    """,
    """
    CREATE UNIQUE INDEX parked_by_position ON projections.parked (position)
        WHERE position IS NOT NULL
    """,
    """
    CREATE UNIQUE INDEX parked_by_offset ON projections.parked
        (partition, record_offset, md5(record)) WHERE position IS NULL
    """,
    """
    CREATE INDEX parked_by_resident ON projections.parked (resident_id)
        WHERE position IS NOT NULL
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    op.execute("DROP SCHEMA projections CASCADE")
