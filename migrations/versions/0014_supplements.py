"""The notifier: numbered supplements of the voters' feed. The registry: look-ups by NIK."""

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

STATEMENTS = (
    # Each closes the voters' feed from the end of the one before it. The changes stand in the feed,
    # which never changes; the hash covers them. `totals` are the voters of each village before and
    # after. The sequences of the villages' feed are where it stood beside them.
    """
    CREATE TABLE notifier.supplements (
        election text NOT NULL,
        number integer NOT NULL CHECK (number > 0),
        from_sequence bigint NOT NULL,
        to_sequence bigint NOT NULL,
        villages_from bigint NOT NULL,
        villages_to bigint NOT NULL,
        made_at timestamptz NOT NULL,
        totals json NOT NULL,
        previous_hash bytea,
        hash bytea NOT NULL CHECK (octet_length(hash) = 32),
        PRIMARY KEY (election, number),
        UNIQUE (election, to_sequence),
        CHECK (from_sequence < to_sequence),
        CHECK ((number = 1) = (previous_hash IS NULL))
    )
    """,
    """
    CREATE FUNCTION notifier.refuse_change() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION '%.% is appended to alone', tg_table_schema, tg_table_name; END $$
    """,
    """
    CREATE TRIGGER supplements_are_appended_to_alone
        BEFORE UPDATE OR DELETE OR TRUNCATE ON notifier.supplements
        FOR EACH STATEMENT EXECUTE FUNCTION notifier.refuse_change()
    """,
    # What was asked for of whom: the name of a resident, or the resident of a NIK. Of a NIK that
    # nobody has, `resident_ids` is empty.
    """
    ALTER TABLE registry.lookups ADD COLUMN asked_for text NOT NULL DEFAULT 'name'
        CHECK (asked_for IN ('name', 'resident_id'))
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    raise NotImplementedError("supplements that KPU holds are not thrown away")
