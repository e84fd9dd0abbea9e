"""What runs that end late, or never, are judged by."""

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"

_WITH_KIND = ("incident", "incident_tally", "alert")


def upgrade() -> None:
    """Find ended runs by their end, keep when a run was heard last, and have room for longer kinds of incidents."""
    op.create_index(
        "ix_pipeline_execution_ended",
        "pipeline_execution",
        ["end_date"],
        postgresql_where=sa.text("completed_successfully"),
    )
    op.add_column("pipeline_execution", sa.Column("heard_at", sa.TIMESTAMP(timezone=True)))
    # A longer limit writes no row anew.
    for table in _WITH_KIND:
        op.alter_column(table, "kind", type_=sa.String(20))


def downgrade() -> None:
    """As it was, without what is of a kind whose name is too long."""
    for table in _WITH_KIND:
        op.execute(f"DELETE FROM {table} WHERE length(kind) > 10")  # noqa: S608 - a constant
        op.alter_column(table, "kind", type_=sa.String(10))
    op.drop_column("pipeline_execution", "heard_at")
    op.drop_index("ix_pipeline_execution_ended", table_name="pipeline_execution")
