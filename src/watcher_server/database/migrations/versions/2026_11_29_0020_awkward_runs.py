"""Runs whose clock is wrong, that load the past, had nothing to do or never ended, and what a pipeline says of such."""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    """Add columns that are empty or have a constant at first, so that no table is written anew."""
    op.add_column("pipeline", sa.Column("max_concurrent", sa.Integer))
    op.add_column("pipeline", sa.Column("overlap", sa.String(8), nullable=False, server_default=sa.text("'skip'")))
    op.add_column("pipeline", sa.Column("lost_after_hours", sa.Float))
    op.add_column(
        "pipeline", sa.Column("monotonic_watermark", sa.Boolean, nullable=False, server_default=sa.text("false"))
    )
    op.create_check_constraint("max_concurrent", "pipeline", "max_concurrent >= 1")
    op.create_check_constraint("overlap", "pipeline", "overlap IN ('skip', 'expected')")
    op.create_check_constraint("lost_after_hours", "pipeline", "lost_after_hours > 0")
    op.add_column("pipeline_execution", sa.Column("outcome", sa.String(10)))
    op.add_column("pipeline_execution", sa.Column("start_skew", sa.Interval))
    op.add_column("pipeline_execution", sa.Column("end_skew", sa.Interval))
    for name in ("backfill", "nothing_to_do"):
        op.add_column(
            "pipeline_execution", sa.Column(name, sa.Boolean, nullable=False, server_default=sa.text("false"))
        )


def downgrade() -> None:
    """As it was: runs of wrong clocks keep the dates that they count by."""
    for name in ("nothing_to_do", "backfill", "end_skew", "start_skew", "outcome"):
        op.drop_column("pipeline_execution", name)
    for name in ("lost_after_hours", "overlap", "max_concurrent"):
        op.drop_constraint(name, "pipeline", type_="check")
    for name in ("monotonic_watermark", "lost_after_hours", "overlap", "max_concurrent"):
        op.drop_column("pipeline", name)
