"""What the pipelines did, day by day."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.kit.listing import contains
from watcher_server.pipelines.models import Pipeline, PipelineType
from watcher_server.queueing.configuration import SCHEDULED_QUEUE
from watcher_server.queueing.outbox import enqueue_async
from watcher_server.reporting.figures import FIGURE_COLUMNS, FIGURES
from watcher_server.reporting.schemas import DailyMetrics, DailyMetricsPage, Pagination, ReportQuery

# First which pipelines ran on which days, then the figures of those on the page alone. Which: of summed days by the
# primary keys of the sums and the changes; of later ones by ix_pipeline_execution_pipeline_id_start_date, one seek for
# each day and pipeline, so that it costs the same however many executions there are. The figures: by the primary key,
# or where they are not summed or have changed since, from the executions by that index. One statement, one snapshot.
# LIMIT 1 keeps both seeks from becoming joins, which would read the whole of what was ever summed, or ever ran.
_DAILY_METRICS = """
WITH chosen AS MATERIALIZED (
    SELECT pipeline.id, pipeline.name AS pipeline_name, pipeline_type.name AS pipeline_type_name,
        row_number() OVER (ORDER BY pipeline.name) AS place
    FROM pipeline JOIN pipeline_type ON pipeline_type.id = pipeline.pipeline_type_id
    WHERE (CAST(:pipeline AS text) IS NULL OR pipeline.name = :pipeline
            OR pipeline.name LIKE :pipeline_part AND NOT EXISTS (SELECT FROM pipeline WHERE name = :pipeline))
        AND (CAST(:type AS text) IS NULL OR pipeline_type.name = :type
            OR pipeline_type.name LIKE :type_part AND NOT EXISTS (SELECT FROM pipeline_type WHERE name = :type))
), period AS MATERIALIZED (
    SELECT today - CAST(:days AS integer) + 1 AS first_day, today,
        least(today, coalesce((SELECT summed_before FROM daily_pipeline_metric_progress), '-infinity')) AS summed_before
    FROM (SELECT (now() AT TIME ZONE 'UTC')::date) AS clock (today)
), daily AS MATERIALIZED (
    SELECT metric.date_recorded, metric.pipeline_id, chosen.place
    FROM daily_pipeline_metric AS metric JOIN chosen ON chosen.id = metric.pipeline_id
    WHERE metric.date_recorded >= (SELECT first_day FROM period)
        AND metric.date_recorded < (SELECT summed_before FROM period)
    UNION ALL
    SELECT change.date_recorded, change.pipeline_id, chosen.place
    FROM daily_pipeline_metric_change AS change JOIN chosen ON chosen.id = change.pipeline_id
    WHERE change.date_recorded >= (SELECT first_day FROM period)
        AND change.date_recorded < (SELECT summed_before FROM period)
        AND NOT EXISTS (
            SELECT FROM daily_pipeline_metric AS metric
            WHERE metric.date_recorded = change.date_recorded AND metric.pipeline_id = change.pipeline_id)
    UNION ALL
    SELECT day::date, chosen.id, chosen.place
    FROM period
    CROSS JOIN generate_series(greatest(first_day, summed_before)::timestamp, today, interval '1 day') AS day
    CROSS JOIN chosen
    CROSS JOIN LATERAL (
        SELECT FROM pipeline_execution
        WHERE pipeline_id = chosen.id
            AND start_date >= day AT TIME ZONE 'UTC' AND start_date < (day + interval '1 day') AT TIME ZONE 'UTC'
        LIMIT 1
    ) AS ran
), wanted AS (
    SELECT date_recorded, pipeline_id, place FROM daily
    ORDER BY date_recorded DESC, place
    LIMIT :limit OFFSET :offset
), figures AS (
    SELECT wanted.*, counted.*
    FROM wanted
    LEFT JOIN LATERAL (
        SELECT metric.* FROM daily_pipeline_metric AS metric
        WHERE metric.date_recorded = wanted.date_recorded AND metric.pipeline_id = wanted.pipeline_id
            AND wanted.date_recorded < (SELECT summed_before FROM period)
            AND NOT EXISTS (
                SELECT FROM daily_pipeline_metric_change AS change
                WHERE change.date_recorded = wanted.date_recorded AND change.pipeline_id = wanted.pipeline_id)
        LIMIT 1
    ) AS metric ON true
    CROSS JOIN LATERAL (
        SELECT {columns} FROM (SELECT metric.*) AS summed WHERE pipeline_id IS NOT NULL
        UNION ALL
        SELECT {figures} FROM pipeline_execution AS execution
        WHERE metric.pipeline_id IS NULL AND execution.pipeline_id = wanted.pipeline_id
            AND start_date >= wanted.date_recorded::timestamp AT TIME ZONE 'UTC'
            AND start_date < (wanted.date_recorded + 1)::timestamp AT TIME ZONE 'UTC'
        GROUP BY execution.pipeline_id
    ) AS counted
)
SELECT (SELECT count(*) FROM daily) AS total_records,
    date_recorded, pipeline_name, pipeline_type_name, total_executions, failed_executions,
    coalesce(round(100.0 * failed_executions / nullif(ended_executions, 0), 2), 0) AS error_percentage,
    coalesce(inserts, 0) AS daily_inserts, coalesce(updates, 0) AS daily_updates,
    coalesce(soft_deletes, 0) AS daily_soft_deletes, coalesce(total_rows, 0) AS daily_total_rows,
    round(duration_seconds / nullif(measured_durations, 0), 2) AS avg_duration_seconds,
    CASE WHEN duration_seconds = 0 AND total_rows IS NOT NULL THEN 0
        ELSE round(total_rows / nullif(duration_seconds, 0), 4) END AS daily_throughput
FROM (SELECT) AS always LEFT JOIN (figures JOIN chosen ON chosen.id = figures.pipeline_id) ON true
ORDER BY date_recorded DESC, figures.place
"""
_DAILY_METRICS_TEXT = text(_DAILY_METRICS.format(columns=FIGURE_COLUMNS, figures=FIGURES))


async def report_daily_metrics(session: AsyncSession, query: ReportQuery) -> DailyMetricsPage:
    """One page of the figures, as the executions are now."""
    parameters: dict[str, Any] = {
        "pipeline": query.pipeline_name or None,
        "pipeline_part": contains(query.pipeline_name or ""),
        "type": query.pipeline_type_name or None,
        "type_part": contains(query.pipeline_type_name or ""),
        "days": query.days,
        "limit": query.page_size,
        "offset": (query.page - 1) * query.page_size,
    }
    rows = (await session.execute(_DAILY_METRICS_TEXT, parameters)).all()
    data = [DailyMetrics.model_validate(row) for row in rows if row.date_recorded is not None]
    return DailyMetricsPage(data=data, pagination=_paginate(query, rows[0].total_records))


def _paginate(query: ReportQuery, total_records: int) -> Pagination:
    total_pages = -(-total_records // query.page_size)
    return Pagination(
        page=query.page,
        page_size=query.page_size,
        total_records=total_records,
        total_pages=total_pages,
        has_next=query.page < total_pages,
        has_prev=query.page > 1,
    )


async def list_pipeline_names(session: AsyncSession) -> Sequence[str]:
    """Every pipeline's name, in alphabetical order."""
    return (await session.scalars(select(Pipeline.name).order_by(Pipeline.name))).all()


async def list_pipeline_type_names(session: AsyncSession) -> Sequence[str]:
    """Every pipeline type's name, in alphabetical order."""
    return (await session.scalars(select(PipelineType.name).order_by(PipelineType.name))).all()


async def queue_daily_metrics(session: AsyncSession) -> None:
    """Have the days summed that are over; the figures are the same before and after, and sooner read."""
    await enqueue_async(session, "daily_metrics_task", SCHEDULED_QUEUE)
