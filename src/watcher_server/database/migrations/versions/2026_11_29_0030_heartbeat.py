"""Whether the heartbeat URL answers."""

import sqlalchemy as sa
from alembic import op

revision = "0030"
down_revision = "0029"


def upgrade() -> None:
    """Add the table of the last call."""
    op.create_table(
        "heartbeat_call",
        sa.Column("only", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("called_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("failing_since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.CheckConstraint('"only"', name="ck_heartbeat_call_only"),
        sa.PrimaryKeyConstraint("only", name="pk_heartbeat_call"),
    )


def downgrade() -> None:
    op.drop_table("heartbeat_call")
