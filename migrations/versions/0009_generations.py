"""Projections: each folding's history is a table of its own, and a folding says what caused it."""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

# Written out: a migration must stay what it was when the code moves on.
COLUMNS = """
    election text NOT NULL,
    village text NOT NULL,
    position bigint NOT NULL,
    recorded_at timestamptz NOT NULL,
    residents integer NOT NULL DEFAULT 0,
    eligible integer NOT NULL DEFAULT 0,
    eligible_male integer NOT NULL DEFAULT 0,
    eligible_female integer NOT NULL DEFAULT 0,
    eligible_recorded integer NOT NULL DEFAULT 0,
    eligible_unrecorded integer NOT NULL DEFAULT 0,
    first_time integer NOT NULL DEFAULT 0,
    first_time_unrecorded integer NOT NULL DEFAULT 0,
    ikd_active integer NOT NULL DEFAULT 0,
    relocating integer NOT NULL DEFAULT 0,
    under_age integer NOT NULL DEFAULT 0,
    tni integer NOT NULL DEFAULT 0,
    polri integer NOT NULL DEFAULT 0,
    rights_revoked integer NOT NULL DEFAULT 0,
    fold bigint NOT NULL
"""

STATEMENTS = (
    # What made a folding: a new definition of the election, a replay, or its undoing. The history
    # of one that is `kept` stays when it serves no more: a replay is undone from it.
    """
    ALTER TABLE projections.folds
        ADD COLUMN cause text NOT NULL DEFAULT 'election.changed',
        ADD COLUMN kept boolean NOT NULL DEFAULT false
    """,
    # A folding's history is filled bare and indexed after, and goes by DROP TABLE.
    "ALTER TABLE projections.history RENAME TO history_of_all",
    "ALTER TABLE projections.history_of_all RENAME CONSTRAINT history_pkey TO history_of_all_pkey",
    "ALTER INDEX projections.history_by_position RENAME TO history_of_all_by_position",
    f"CREATE TABLE projections.history ({COLUMNS}) PARTITION BY LIST (fold)",
    "ALTER TABLE projections.history ADD PRIMARY KEY (election, fold, village, position)",
    "CREATE INDEX history_by_position ON projections.history (election, fold, position)",
    """
    DO $$
    DECLARE known bigint;
    BEGIN
        FOR known IN
            SELECT fold FROM projections.folds UNION SELECT fold FROM projections.history_of_all
        LOOP
            EXECUTE format('CREATE TABLE projections.history_%s PARTITION OF projections.history'
                ' FOR VALUES IN (%s)', known, known);
        END LOOP;
    END $$
    """,
    "INSERT INTO projections.history SELECT * FROM projections.history_of_all",
    "DROP TABLE projections.history_of_all",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    raise NotImplementedError("the generation before would be lost: undo or replay first")
