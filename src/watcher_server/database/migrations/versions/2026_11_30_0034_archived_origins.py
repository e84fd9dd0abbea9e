"""Edges in the archive keep where they are known from."""

import sqlalchemy as sa
from alembic import op

revision = "0034"
down_revision = "0033"


def upgrade() -> None:
    """Every edge in the archive was declared: none was read from events before."""
    op.add_column(
        "archived_address_lineage",
        sa.Column("origin", sa.String(11), nullable=False, server_default=sa.text("'declared'")),
    )
    op.add_column("archived_address_lineage", sa.Column("last_seen_at", sa.DateTime(timezone=True)))


def downgrade() -> None:
    """Edges that were seen in events come back as declared ones."""
    op.drop_column("archived_address_lineage", "last_seen_at")
    op.drop_column("archived_address_lineage", "origin")
