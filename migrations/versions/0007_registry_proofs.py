"""The registry: what waits and may be overtaken by time."""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

STATEMENTS = (
    # When the log last grew, and so when all that is parked was last tried again.
    "ALTER TABLE registry.head ADD COLUMN accepted_at timestamptz NOT NULL DEFAULT 'epoch'",
    # What waits with a clock that runs ahead may be refused when a day has passed.
    """
    CREATE INDEX submissions_ahead ON registry.submissions (subject)
        WHERE outcome = 'parked' AND 'clock-ahead' = ANY(warnings)
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    raise NotImplementedError("the registry's proofs are not thrown away")
