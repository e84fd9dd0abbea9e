"""Reports of days that lie further back than the sums."""

import sqlalchemy as sa
from alembic import op

revision = "0038"
down_revision = "0037"


def upgrade() -> None:
    """The last 31 days that are over were summed without a gap; what lies before is read from its executions."""
    op.add_column("daily_pipeline_metric_progress", sa.Column("summed_since", sa.Date()))
    op.execute(
        "UPDATE daily_pipeline_metric_progress SET summed_since = watched_before - 31 "
        "WHERE isfinite(watched_before) AND isfinite(summed_before)"
    )


def downgrade() -> None:
    """Reports then end 30 days ago again."""
    op.drop_column("daily_pipeline_metric_progress", "summed_since")
