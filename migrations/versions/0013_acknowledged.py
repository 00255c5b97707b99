"""How far KPU says that it has taken the feeds over, by each of its tokens."""

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # `token_id` is 0 for the operator's token of the settings, which has no row of its own.
    op.execute("""
        CREATE TABLE notifier.acknowledged (
            election text NOT NULL,
            feed text NOT NULL CHECK (feed IN ('villages', 'voters')),
            token_id bigint NOT NULL,
            sequence bigint NOT NULL CHECK (sequence >= 0),
            acknowledged_at timestamptz NOT NULL,
            PRIMARY KEY (election, feed, token_id)
        ) WITH (fillfactor = 50)
    """)


def downgrade() -> None:
    op.execute("DROP TABLE notifier.acknowledged")
