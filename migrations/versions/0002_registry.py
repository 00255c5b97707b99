"""The registry: the log and its head, what stations sent, the vault's keys, the relay's marks."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

STATEMENTS = (
    "CREATE SCHEMA registry",
    # The one row that orders everything: whoever holds its lock decides and appends.
    """
    CREATE TABLE registry.head (
        singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
        position bigint NOT NULL,
        arrival bigint NOT NULL,
        recorded_at timestamptz NOT NULL
    ) WITH (fillfactor = 50)
    """,
    "INSERT INTO registry.head (position, arrival, recorded_at) VALUES (0, 0, 'epoch')",
    # No NIK and no name, ever: data is what was sent less these two.
    """
    CREATE TABLE registry.log (
        position bigint PRIMARY KEY,
        recorded_at timestamptz NOT NULL,
        type text NOT NULL,
        version smallint NOT NULL,
        time text NOT NULL,
        source text NOT NULL,
        event_id text NOT NULL,
        resident_id uuid NOT NULL,
        data json NOT NULL
    )
    """,
    "CREATE INDEX log_by_resident ON registry.log (resident_id)",
    # Everything that arrived with a readable source and id, with its outcome. `content` is what
    # was sent, sealed with the key of `subject`, or with the master key where no NIK was readable.
    """
    CREATE TABLE registry.submissions (
        arrival bigint PRIMARY KEY,
        received_at timestamptz NOT NULL,
        sender text NOT NULL,
        source text NOT NULL,
        event_id text NOT NULL,
        content_hash bytea NOT NULL,
        claims boolean NOT NULL,
        outcome text NOT NULL CHECK (outcome IN ('accepted', 'parked', 'rejected')),
        first_outcome text NOT NULL,
        problem json,
        warnings text[] NOT NULL,
        position bigint,
        subject bytea,
        content bytea NOT NULL
    )
    """,
    """
    CREATE UNIQUE INDEX submissions_by_claim ON registry.submissions (source, event_id)
        WHERE claims
    """,
    """
    CREATE INDEX submissions_parked ON registry.submissions (subject, arrival)
        WHERE outcome = 'parked'
    """,
    # A subject is a NIK, known by its keyed hash; its key seals all that was ever sent of it.
    # Erasing wrapped_key erases the person and leaves the counts.
    """
    CREATE TABLE registry.vault_keys (
        subject bytea PRIMARY KEY,
        wrapped_key bytea
    )
    """,
    """
    CREATE TABLE registry.residents (
        resident_id uuid PRIMARY KEY,
        subject bytea NOT NULL
    )
    """,
    "CREATE INDEX residents_by_subject ON registry.residents (subject)",
    """
    CREATE TABLE registry.stations (
        source text PRIMARY KEY,
        last_contact timestamptz NOT NULL,
        received int8multirange NOT NULL DEFAULT '{}'
    ) WITH (fillfactor = 50)
    """,
    # Per partition of population.events: the last event and the last promise published to it.
    """
    CREATE TABLE registry.relay_marks (
        partition smallint PRIMARY KEY,
        last_event bigint NOT NULL,
        published_up_to bigint NOT NULL
    ) WITH (fillfactor = 50)
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    op.execute("DROP SCHEMA registry CASCADE")
