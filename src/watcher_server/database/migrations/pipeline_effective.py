"""The view ``pipeline_effective``, as revisions 0016 to 0023 make it; later ones change the text that the database has.

PostgreSQL inlines the view into the statement that reads it, and computes only the columns that are asked for.
CREATE OR REPLACE VIEW adds another column at the end. A column of ``pipeline`` that the view reads can only be dropped
or change its type once the view is dropped. Of ``tags`` the texts among the first 20 entries count, each cut to 50
characters.
"""

from alembic import op
from sqlalchemy import text

_VIEW = """
SELECT pipeline.id, pipeline.name, pipeline_type.name AS type_name, pipeline.active, pipeline.created_at,
    pipeline.pipeline_metadata,
    ARRAY(
        SELECT left(tag #>> '{{}}', 50)
        FROM jsonb_path_query(pipeline.pipeline_metadata, '$.tags[0 to 19] ? (@.type() == "string")') AS tag
    ) AS tags,
    pipeline.schedule, pipeline.schedule_timezone, pipeline.schedule_grace_minutes,
    pipeline.expected_next_run, pipeline.last_missed_run,
    written.last_write, {counted_from} AS counted_from, threshold.*,
    {stale_at} AS stale_at,
    {stale_warning_at} AS stale_warning_at,
    pipeline.mute_freshness_check OR pipeline_type.mute_freshness_check AS freshness_muted,
    pipeline.mute_timeliness_check OR pipeline_type.mute_timeliness_check AS timeliness_muted,
    CASE WHEN pipeline.mute_freshness_check THEN 'pipeline' WHEN pipeline_type.mute_freshness_check THEN 'type' END
        AS freshness_muted_by,
    CASE WHEN pipeline.mute_timeliness_check THEN 'pipeline' WHEN pipeline_type.mute_timeliness_check THEN 'type' END
        AS timeliness_muted_by{further}
FROM pipeline
JOIN pipeline_type ON pipeline_type.id = pipeline.pipeline_type_id
CROSS JOIN LATERAL {written}
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

# How important a pipeline is, at the end of the columns. Its own owner comes before that in its metadata, where dbt
# keeps one, and both before that of its type.
IMPORTANCE = """,
    left(coalesce(
        pipeline.owner,
        pipeline.pipeline_metadata #>> '{owner,name}', pipeline.pipeline_metadata #>> '{owner,email}',
        CASE WHEN jsonb_typeof(pipeline.pipeline_metadata -> 'owner') = 'string'
            THEN pipeline.pipeline_metadata ->> 'owner' END,
        CASE WHEN jsonb_typeof(pipeline.pipeline_metadata #> '{owners,0}') = 'string'
            THEN pipeline.pipeline_metadata #>> '{owners,0}' END,
        pipeline_type.owner
    ), 150) AS owner,
    coalesce(pipeline.criticality, pipeline_type.criticality, 'normal') AS criticality,
    coalesce(pipeline.runbook_url, pipeline_type.runbook_url) AS runbook_url,
    pipeline.fail_after"""

_WRITTEN = """(
    SELECT greatest(pipeline.last_target_insert, pipeline.last_target_update, pipeline.last_target_soft_delete),
        coalesce(
            greatest(pipeline.last_target_insert, pipeline.last_target_update, pipeline.last_target_soft_delete),
            pipeline.created_at
        )
) AS written (last_write, counted_from)"""


def due_by_the_clock(threshold: str) -> str:
    """When data gets too old by this threshold."""
    return f"watcher_due(written.counted_from, threshold.{threshold}_number, threshold.{threshold}_datepart)"


def view(
    further: str = "",
    *,
    written: str = _WRITTEN,
    counted_from: str = "written.counted_from",
    stale_at: str = due_by_the_clock("freshness"),
    stale_warning_at: str = due_by_the_clock("freshness_warning"),
) -> str:
    """The query of the view, with further columns at the end."""
    return _VIEW.format(
        further=further,
        written=written,
        counted_from=counted_from,
        stale_at=stale_at,
        stale_warning_at=stale_warning_at,
    )


def read_view() -> str:
    """The query of the view as the database has it, so that nothing depends on what earlier revisions put into it."""
    query: str = op.get_bind().scalar(text("SELECT pg_get_viewdef('pipeline_effective'::regclass)"))
    return query


def replace_in_view(before: str, now: str) -> None:
    """Make the view anew with another text in place of one that it has; raises ValueError if it has it not."""
    query = read_view()
    if before not in query:
        raise ValueError(f"The view pipeline_effective has no {before!r}")
    op.execute("DROP VIEW pipeline_effective")
    op.get_bind().exec_driver_sql(f"CREATE VIEW pipeline_effective AS {query.replace(before, now)}")
