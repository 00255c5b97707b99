"""As-of: checkpoints of the tallies, and the feed's prefixes by time and by position."""

from alembic import op

revision = "0008"
down_revision = "0007"
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
COUNT_COLUMNS = ", ".join(f"{name} integer NOT NULL" for name in COUNTS)

STATEMENTS = (
    "ALTER TABLE projections.folds ADD UNIQUE (election, fold)",
    # What the history of a folding adds up to at a position, for each village that it names; the
    # rows of one position are there together or not at all, and go when the folding is forgotten.
    f"""
    CREATE TABLE projections.checkpoints (
        election text NOT NULL,
        fold bigint NOT NULL,
        position bigint NOT NULL,
        village text NOT NULL,
        {COUNT_COLUMNS},
        PRIMARY KEY (election, fold, position, village),
        FOREIGN KEY (election, fold) REFERENCES projections.folds (election, fold)
            ON DELETE CASCADE
    )
    """,
    # The highest position that the feed had told with this change: it only rises with the
    # sequence, as `numbered_at` does, so both can be searched by halves.
    "ALTER TABLE notifier.changes ADD COLUMN told_position bigint",
    """
    UPDATE notifier.changes SET told_position = risen.position, numbered_at = risen.numbered_at
    FROM (
        SELECT election, sequence,
            max(position) OVER (PARTITION BY election ORDER BY sequence) AS position,
            max(numbered_at) OVER (PARTITION BY election ORDER BY sequence) AS numbered_at
        FROM notifier.changes
    ) AS risen
    WHERE changes.election = risen.election AND changes.sequence = risen.sequence
    """,
    "ALTER TABLE notifier.changes ALTER COLUMN told_position SET NOT NULL",
    # What a village had been told at a sequence: its last change up to there.
    "CREATE INDEX changes_by_village ON notifier.changes (election, village, sequence)",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    for statement in (
        "DROP INDEX notifier.changes_by_village",
        "ALTER TABLE notifier.changes DROP COLUMN told_position",
        "DROP TABLE projections.checkpoints",
        "ALTER TABLE projections.folds DROP CONSTRAINT folds_election_fold_key",
    ):
        op.execute(statement)
