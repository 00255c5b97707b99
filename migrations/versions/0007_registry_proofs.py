"""The registry: the hash chain over its log, what waits, and the audit of look-ups."""

import hashlib
from datetime import UTC
from typing import Any

from alembic import op
from sqlalchemy import Connection, Row, text

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

# Nothing is appended between the last link and the commit of this step.
HOLD_HEAD = "SELECT FROM registry.head FOR UPDATE"

# One link a transaction that appended: the root covers the root before and every column of every
# entry since, up to `position`. How the bytes are made stands in shared/log_chain.py.
CHAIN = """
    CREATE TABLE registry.chain (
        position bigint PRIMARY KEY,
        root bytea NOT NULL CHECK (octet_length(root) = 32)
    )
"""

ENTRIES_A_LINK = 5_000
ENTRIES = text(
    "SELECT position, recorded_at, type, version, time, source, event_id, resident_id,"
    " data::text AS data FROM registry.log WHERE position > :after ORDER BY position LIMIT :limit"
)
LINK = text("INSERT INTO registry.chain (position, root) VALUES (:position, :root)")

STATEMENTS = (
    # When the log last grew, and so when all that is parked was last tried again.
    "ALTER TABLE registry.head ADD COLUMN accepted_at timestamptz NOT NULL DEFAULT 'epoch'",
    # What waits with a clock that runs ahead may be refused when a day has passed.
    """
    CREATE INDEX submissions_ahead ON registry.submissions (subject)
        WHERE outcome = 'parked' AND 'clock-ahead' = ANY(warnings)
    """,
    # What is parked is listed and tried in this order, however much was sent besides.
    """
    CREATE INDEX submissions_parked_in_order ON registry.submissions (arrival)
        WHERE outcome = 'parked'
    """,
    # What an operator gave up while it waited leaves this trace.
    """
    ALTER TABLE registry.submissions
        ADD COLUMN dropped_at timestamptz, ADD COLUMN dropped_by text, ADD COLUMN drop_reason text
    """,
    # KPU's tokens alone, and those that an operator allowed to, may ask who a voter is.
    """
    ALTER TABLE access.tokens ADD COLUMN may_look_up boolean NOT NULL DEFAULT false
        CHECK (NOT may_look_up OR role = 'kpu')
    """,
    # Who asked whom to be named, when and what for. `token_id` is null for the operator's token
    # of the settings, which is in no table.
    """
    CREATE TABLE registry.lookups (
        lookup_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        at timestamptz NOT NULL DEFAULT clock_timestamp(),
        token_id bigint,
        role text NOT NULL,
        name text NOT NULL,
        purpose text NOT NULL,
        resident_ids uuid[] NOT NULL
    )
    """,
    """
    CREATE FUNCTION registry.refuse_change() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION '%.% is appended to alone', tg_table_schema, tg_table_name; END $$
    """,
    """
    CREATE TRIGGER lookups_are_appended_to_alone
        BEFORE UPDATE OR DELETE OR TRUNCATE ON registry.lookups
        FOR EACH STATEMENT EXECUTE FUNCTION registry.refuse_change()
    """,
)


def chain_what_is_there(connection: Connection) -> None:
    """The chain over a log of before the chain begins at its first entry, in even links."""
    after, root = 0, bytes(32)
    while entries := connection.execute(ENTRIES, {"after": after, "limit": ENTRIES_A_LINK}).all():
        batch = hashlib.sha256(root)
        for entry in entries:
            batch.update(digest(entry))
        after, root = entries[-1].position, batch.digest()
        connection.execute(LINK, {"position": after, "root": root})


def digest(entry: Row[Any]) -> bytes:
    columns = (
        str(entry.position),
        entry.recorded_at.astimezone(UTC).isoformat(timespec="microseconds"),
        entry.type,
        str(entry.version),
        entry.time,
        entry.source,
        entry.event_id,
        str(entry.resident_id),
        entry.data,
    )
    written = [column.encode() for column in columns]
    return hashlib.sha256(b"".join(len(w).to_bytes(4, "big") + w for w in written)).digest()


def upgrade() -> None:
    op.execute(HOLD_HEAD)
    op.execute(CHAIN)
    chain_what_is_there(op.get_bind())
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    raise NotImplementedError("the registry's proofs are not thrown away")
