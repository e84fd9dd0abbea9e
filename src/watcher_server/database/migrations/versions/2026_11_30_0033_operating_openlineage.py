"""When a run of OpenLineage was first heard of, and how many bytes its producers sent."""

import sqlalchemy as sa
from alembic import op

revision = "0033"
down_revision = "0032"


def upgrade() -> None:
    """What was reported before counts as heard of now."""
    op.add_column(
        "openlineage_run",
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
    )
    op.add_column("openlineage_source", sa.Column("bytes", sa.BigInteger, nullable=False, server_default=sa.text("0")))


def downgrade() -> None:
    """Both are only counted."""
    op.drop_column("openlineage_source", "bytes")
    op.drop_column("openlineage_run", "created_at")
