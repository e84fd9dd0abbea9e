"""Rebuild the lineage closure around the edges that changed, in parts that are committed one by one."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

CLOSURE = "address_lineage_closure"
IS_EDGE = sa.text("depth = 1")


def upgrade() -> None:
    """Let the closure's edges be found in both directions, and keep what is still to be walked."""
    columns = ["source_address_id", "target_address_id"]
    op.create_index(f"ix_{CLOSURE}_edge_downstream", CLOSURE, columns, postgresql_where=IS_EDGE)
    op.create_index(f"ix_{CLOSURE}_edge_upstream", CLOSURE, columns[::-1], postgresql_where=IS_EDGE)
    op.create_table(
        "address_lineage_pending",
        sa.Column("source_address_id", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("source_address_id", name="pk_address_lineage_pending"),
    )
