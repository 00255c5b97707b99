"""When events were received, and when the changes that they led to passed each station."""

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

STATEMENTS = (
    # Null for what was accepted after it had been parked, and for what came before this version.
    # No part of what is served, published or linked by the chain.
    "ALTER TABLE registry.log ADD COLUMN received_at timestamptz",
    # Of the change's last event; all are null where it did not come straight through.
    """
    ALTER TABLE notifier.changes
        ADD COLUMN received_at timestamptz,
        ADD COLUMN published_at timestamptz,
        ADD COLUMN counted_at timestamptz,
        ADD COLUMN announced_at timestamptz
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    for column in ("received_at", "published_at", "counted_at", "announced_at"):
        op.execute(f"ALTER TABLE notifier.changes DROP COLUMN {column}")
    op.execute("ALTER TABLE registry.log DROP COLUMN received_at")
