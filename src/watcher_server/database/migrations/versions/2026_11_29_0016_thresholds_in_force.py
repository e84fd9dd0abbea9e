"""The thresholds and mutes in force for each pipeline, resolved in one view.

Revision ID: 0016
Revises: 0015
"""

from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

# PostgreSQL inlines the view into the statement that reads it, and computes only the columns that are asked for.
# CREATE OR REPLACE VIEW adds another column at the end. A column of ``pipeline`` that the view reads can only be
# dropped or change its type once the view is dropped. Of ``tags`` the texts among the
# first 20 entries count, each cut to 50 characters.
PIPELINE_EFFECTIVE = """
CREATE VIEW pipeline_effective AS
SELECT pipeline.id, pipeline.name, pipeline_type.name AS type_name, pipeline.active, pipeline.created_at,
    pipeline.pipeline_metadata,
    ARRAY(
        SELECT left(tag #>> '{}', 50)
        FROM jsonb_path_query(pipeline.pipeline_metadata, '$.tags[0 to 19] ? (@.type() == "string")') AS tag
    ) AS tags,
    pipeline.schedule, pipeline.schedule_timezone, pipeline.schedule_grace_minutes,
    pipeline.expected_next_run, pipeline.last_missed_run,
    written.last_write, written.counted_from, threshold.*,
    watcher_due(written.counted_from, threshold.freshness_number, threshold.freshness_datepart) AS stale_at,
    watcher_due(written.counted_from, threshold.freshness_warning_number, threshold.freshness_warning_datepart)
        AS stale_warning_at,
    pipeline.mute_freshness_check OR pipeline_type.mute_freshness_check AS freshness_muted,
    pipeline.mute_timeliness_check OR pipeline_type.mute_timeliness_check AS timeliness_muted,
    CASE WHEN pipeline.mute_freshness_check THEN 'pipeline' WHEN pipeline_type.mute_freshness_check THEN 'type' END
        AS freshness_muted_by,
    CASE WHEN pipeline.mute_timeliness_check THEN 'pipeline' WHEN pipeline_type.mute_timeliness_check THEN 'type' END
        AS timeliness_muted_by
FROM pipeline
JOIN pipeline_type ON pipeline_type.id = pipeline.pipeline_type_id
CROSS JOIN LATERAL (
    SELECT greatest(pipeline.last_target_insert, pipeline.last_target_update, pipeline.last_target_soft_delete),
        coalesce(
            greatest(pipeline.last_target_insert, pipeline.last_target_update, pipeline.last_target_soft_delete),
            pipeline.created_at
        )
) AS written (last_write, counted_from)
CROSS JOIN LATERAL (
    SELECT coalesce(pipeline.freshness_number, pipeline_type.freshness_number),
        coalesce(pipeline.freshness_datepart, pipeline_type.freshness_datepart),
        pipeline.freshness_number IS NOT NULL,
        coalesce(pipeline.freshness_warning_number, pipeline_type.freshness_warning_number),
        coalesce(pipeline.freshness_warning_datepart, pipeline_type.freshness_warning_datepart),
        pipeline.freshness_warning_number IS NOT NULL,
        coalesce(pipeline.timeliness_number, pipeline_type.timeliness_number),
        coalesce(pipeline.timeliness_datepart, pipeline_type.timeliness_datepart),
        pipeline.timeliness_number IS NOT NULL,
        coalesce(pipeline.timeliness_warning_number, pipeline_type.timeliness_warning_number),
        coalesce(pipeline.timeliness_warning_datepart, pipeline_type.timeliness_warning_datepart),
        pipeline.timeliness_warning_number IS NOT NULL
) AS threshold (
    freshness_number, freshness_datepart, freshness_own,
    freshness_warning_number, freshness_warning_datepart, freshness_warning_own,
    timeliness_number, timeliness_datepart, timeliness_own,
    timeliness_warning_number, timeliness_warning_datepart, timeliness_warning_own
)
"""

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
    op.execute(PIPELINE_EFFECTIVE)


def downgrade() -> None:
    """As it was."""
    op.execute("DROP VIEW pipeline_effective")
    op.execute("DROP FUNCTION watcher_due")
