"""What is parked at projections can be dropped, and a trace of it stays."""

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    ALTER TABLE projections.parked
        ADD COLUMN dropped_at timestamptz,
        ADD COLUMN dropped_by text,
        ADD COLUMN drop_reason text
    """,
    # What follows a dropped event waits no more.
    "DROP INDEX projections.parked_by_resident",
    """
    CREATE INDEX parked_by_resident ON projections.parked (resident_id)
        WHERE position IS NOT NULL AND dropped_at IS NULL
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    raise NotImplementedError("what was dropped would be forgotten, and who dropped it")
