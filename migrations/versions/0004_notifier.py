"""The notifier: the numbered feed of village changes, its own state, and what it could not read."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

STATEMENTS = (
    "CREATE SCHEMA notifier",
    # Whoever holds an election's row numbers its changes: they become visible in order. The area
    # is null for an election that was met in a record before anything else was said of it.
    """
    CREATE TABLE notifier.heads (
        election text PRIMARY KEY,
        area text,
        sequence bigint NOT NULL DEFAULT 0,
        position bigint NOT NULL DEFAULT 0
    ) WITH (fillfactor = 50)
    """,
    "INSERT INTO notifier.heads (election, area) VALUES ('pilkada-2024', '15.01')",
    # What KPU has been told of a village: the sum of its changes.
    """
    CREATE TABLE notifier.villages (
        election text NOT NULL,
        village text NOT NULL,
        revision bigint NOT NULL,
        counts json NOT NULL,
        PRIMARY KEY (election, village)
    ) WITH (fillfactor = 50)
    """,
    """
    CREATE TABLE notifier.changes (
        election text NOT NULL,
        sequence bigint NOT NULL,
        village text NOT NULL,
        district text NOT NULL,
        position bigint NOT NULL,
        time timestamptz NOT NULL,
        stage text,
        before json NOT NULL,
        after json NOT NULL,
        numbered_at timestamptz NOT NULL,
        PRIMARY KEY (election, sequence)
    )
    """,
    """
    CREATE TABLE notifier.unreadable (
        partition smallint NOT NULL,
        offset_ bigint NOT NULL,
        value bytea NOT NULL,
        why text NOT NULL,
        noticed_at timestamptz NOT NULL DEFAULT now()
    )
    """,
    # The value too, because a topic made anew counts its offsets from 0 again.
    """
    CREATE UNIQUE INDEX unreadable_once ON notifier.unreadable
        (partition, offset_, sha256(value))
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    op.execute("DROP SCHEMA notifier CASCADE")
