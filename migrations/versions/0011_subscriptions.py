"""Webhooks: subscriptions, how far each was delivered to, and every attempt."""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

STATEMENTS = (
    # `version` rises with every change that a person makes and every time that a worker takes
    # the subscription over; a worker that holds an older one can no longer write. The secrets
    # are sealed. `token_id` is the owner's; null where it was the operator's of the settings.
    """
    CREATE TABLE notifier.subscriptions (
        subscription_id uuid PRIMARY KEY,
        token_id bigint,
        url text NOT NULL,
        signing text NOT NULL CHECK (signing IN ('v1', 'v1a')),
        public_key text,
        secret bytea NOT NULL,
        previous_secret bytea,
        previous_until timestamptz,
        state text NOT NULL CHECK (state IN ('active', 'paused', 'disabled')),
        why text,
        since timestamptz NOT NULL,
        created_at timestamptz NOT NULL,
        version bigint NOT NULL DEFAULT 1
    ) WITH (fillfactor = 50)
    """,
    # Every change up to `sequence` is delivered, but for those of the villages below.
    """
    CREATE TABLE notifier.cursors (
        subscription_id uuid NOT NULL
            REFERENCES notifier.subscriptions ON DELETE CASCADE,
        election text NOT NULL,
        sequence bigint NOT NULL,
        PRIMARY KEY (subscription_id, election)
    ) WITH (fillfactor = 50)
    """,
    # A village whose delivery failed: its changes from `sequence` on are not delivered.
    """
    CREATE TABLE notifier.failing (
        subscription_id uuid NOT NULL,
        election text NOT NULL,
        village text NOT NULL,
        sequence bigint NOT NULL,
        attempts integer NOT NULL,
        since timestamptz NOT NULL,
        next_attempt_at timestamptz NOT NULL,
        hastened boolean NOT NULL,
        PRIMARY KEY (subscription_id, election, village),
        FOREIGN KEY (subscription_id, election) REFERENCES notifier.cursors ON DELETE CASCADE
    )
    """,
    # One row an attempt. A test event is of no election, village or sequence.
    """
    CREATE TABLE notifier.deliveries (
        number bigint GENERATED ALWAYS AS IDENTITY,
        subscription_id uuid NOT NULL
            REFERENCES notifier.subscriptions ON DELETE CASCADE,
        election text,
        village text,
        sequence bigint,
        attempt integer NOT NULL,
        time timestamptz NOT NULL,
        status smallint,
        error text,
        duration_ms integer NOT NULL,
        answer text NOT NULL,
        PRIMARY KEY (subscription_id, number)
    )
    """,
    "CREATE INDEX deliveries_by_time ON notifier.deliveries (time)",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    for table in ("deliveries", "failing", "cursors", "subscriptions"):
        op.execute(f"DROP TABLE notifier.{table}")
