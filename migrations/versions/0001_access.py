"""Tokens: who may do what, shared by the three services."""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("CREATE SCHEMA access")
    op.execute("""
        CREATE TABLE access.tokens (
            token_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            hash bytea NOT NULL UNIQUE,
            role text NOT NULL CHECK (role IN ('station', 'kpu', 'operator')),
            name text NOT NULL,
            created_at timestamptz NOT NULL DEFAULT now(),
            revoked_at timestamptz
        )
    """)


def downgrade() -> None:
    op.execute("DROP SCHEMA access CASCADE")
