"""The thresholds and mutes in force for each pipeline, resolved in one view."""

from alembic import op

from watcher_server.database.migrations.pipeline_effective import view

revision = "0016"
down_revision = "0015"

# The deadline as a moment of the calendar; null for one that is never reached.
WATCHER_DUE = """
CREATE FUNCTION watcher_due(moment timestamptz, number bigint, datepart text) RETURNS timestamptz
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN watcher_deadline(moment, number, datepart) < '9999-01-01'
        THEN watcher_deadline(moment, number, datepart) END
$$
"""


def upgrade() -> None:
    """Add the view, and the function that reads a threshold as a moment."""
    op.execute(WATCHER_DUE)
    op.execute(f"CREATE VIEW pipeline_effective AS {view()}")


def downgrade() -> None:
    op.execute("DROP VIEW pipeline_effective")
    op.execute("DROP FUNCTION watcher_due")
