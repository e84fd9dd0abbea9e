"""Sessions, people, and tokens that end."""

import sqlalchemy as sa
from alembic import op

revision = "0036"
down_revision = "0035"

_MOMENT = sa.DateTime(timezone=True)
_NOW = sa.func.now()


def upgrade() -> None:
    """Tokens go on as they are, without an end. Browsers that were logged in log in again."""
    op.add_column("api_token", sa.Column("purpose", sa.String(300)))
    op.add_column("api_token", sa.Column("expires_at", _MOMENT))
    op.add_column("api_token", sa.Column("previous_hash", sa.LargeBinary))
    op.add_column("api_token", sa.Column("previous_until", _MOMENT))
    op.create_unique_constraint("uq_api_token_previous_hash", "api_token", ["previous_hash"])
    op.create_table(
        "person",
        sa.Column("id", sa.BigInteger, sa.Identity(), nullable=False),
        sa.Column("issuer", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("name", sa.String(150), nullable=False),
        sa.Column("scope", sa.String(10), nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False, server_default=_NOW),
        sa.Column("last_login_at", _MOMENT, nullable=False, server_default=_NOW),
        sa.Column("blocked_at", _MOMENT),
        sa.PrimaryKeyConstraint("id", name="pk_person"),
        sa.UniqueConstraint("issuer", "subject", name="uq_person_issuer"),
    )
    op.create_table(
        "login_session",
        sa.Column("id", sa.BigInteger, sa.Identity(), nullable=False),
        sa.Column("session_hash", sa.LargeBinary, nullable=False),
        sa.Column(
            "token_id",
            sa.BigInteger,
            sa.ForeignKey("api_token.id", name="fk_login_session_token_id", ondelete="SET NULL"),
        ),
        sa.Column(
            "person_id",
            sa.BigInteger,
            sa.ForeignKey("person.id", name="fk_login_session_person_id", ondelete="SET NULL"),
        ),
        sa.Column("created_at", _MOMENT, nullable=False, server_default=_NOW),
        sa.Column("last_used_at", _MOMENT, nullable=False, server_default=_NOW),
        sa.Column("address", sa.String(100), nullable=False),
        sa.Column("browser", sa.String(200), nullable=False),
        sa.Column("ended_at", _MOMENT),
        sa.Column("ended_why", sa.String(10)),
        sa.PrimaryKeyConstraint("id", name="pk_login_session"),
        sa.UniqueConstraint("session_hash", name="uq_login_session_session_hash"),
    )
    for column in ("token_id", "person_id"):
        op.create_index(f"ix_login_session_{column}", "login_session", [column])


def downgrade() -> None:
    """Tokens of before the last rotation end; those that report only may write, which is the least that reports."""
    op.drop_table("login_session")
    op.drop_table("person")
    op.drop_constraint("uq_api_token_previous_hash", "api_token")
    # They do not come back to life.
    op.execute("DELETE FROM api_token WHERE expires_at <= now()")
    op.execute("UPDATE api_token SET scope = 'write' WHERE scope = 'ingest'")
    for column in ("previous_until", "previous_hash", "expires_at", "purpose"):
        op.drop_column("api_token", column)
