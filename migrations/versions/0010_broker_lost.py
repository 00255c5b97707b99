"""What is known of the topics' ends, so that a broker that lost them is noticed; republishing."""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

STATEMENTS = (
    # The offset behind the last record that the broker acknowledged: a partition that ends
    # before it has lost records.
    "ALTER TABLE registry.relay_marks ADD COLUMN end_offset bigint NOT NULL DEFAULT 0",
    # Each time that the log is published again: from where, up to where, and how far it is.
    """
    CREATE TABLE registry.republications (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        reason text NOT NULL,
        from_position bigint NOT NULL,
        up_to bigint NOT NULL,
        reached bigint NOT NULL,
        asked_at timestamptz NOT NULL DEFAULT now(),
        finished_at timestamptz
    )
    """,
    # The same of the topics that projections write.
    """
    CREATE TABLE projections.announced (
        topic text NOT NULL,
        partition smallint NOT NULL,
        end_offset bigint NOT NULL,
        PRIMARY KEY (topic, partition)
    ) WITH (fillfactor = 50)
    """,
    # How often everybody's present state was to be told again to voter.persons, and was.
    """
    CREATE TABLE projections.retelling (
        singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
        asked bigint NOT NULL DEFAULT 0,
        told bigint NOT NULL DEFAULT 0
    )
    """,
    "INSERT INTO projections.retelling DEFAULT VALUES",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    raise NotImplementedError("without the topics' ends a lost broker would not be noticed")
