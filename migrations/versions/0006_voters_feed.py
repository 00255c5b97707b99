"""The notifier: the numbered feed of voters, and what it has told of each."""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

STATEMENTS = (
    # Whose area was said last: an older fold's word, come late, is passed over.
    "ALTER TABLE notifier.heads ADD COLUMN fold bigint NOT NULL DEFAULT -1",
    """
    CREATE TABLE notifier.voter_heads (
        election text PRIMARY KEY,
        sequence bigint NOT NULL DEFAULT 0
    ) WITH (fillfactor = 50)
    """,
    "INSERT INTO notifier.voter_heads (election) SELECT election FROM notifier.heads",
    # What KPU has been told of a person: the village whose voter they are, none if of no village;
    # and the place of the record that said so, by which repeats are known.
    """
    CREATE TABLE notifier.voters (
        election text NOT NULL,
        voter uuid NOT NULL,
        fold bigint NOT NULL,
        place bigint NOT NULL,
        village text,
        PRIMARY KEY (election, voter)
    ) WITH (fillfactor = 70)
    """,
    """
    CREATE TABLE notifier.voter_changes (
        election text NOT NULL,
        sequence bigint NOT NULL,
        voter uuid NOT NULL,
        kind text NOT NULL,
        reason text NOT NULL,
        from_village text,
        to_village text,
        position bigint NOT NULL,
        time timestamptz NOT NULL,
        stage text,
        numbered_at timestamptz NOT NULL,
        PRIMARY KEY (election, sequence)
    )
    """,
    # A record of another topic may lie in the same partition at the same offset.
    "ALTER TABLE notifier.unreadable ADD COLUMN topic text NOT NULL DEFAULT 'voter.changes'",
    "DROP INDEX notifier.unreadable_once",
    """
    CREATE UNIQUE INDEX unreadable_once ON notifier.unreadable
        (topic, partition, offset_, sha256(value))
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    raise NotImplementedError("what KPU was told of voters is not thrown away")
