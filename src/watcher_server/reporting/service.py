"""What the pipelines did, day by day."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.kit.listing import contains
from watcher_server.pipelines.models import Pipeline, PipelineType
from watcher_server.reporting.schemas import DailyMetrics, DailyMetricsPage, Pagination, ReportQuery

# The window is read by ix_pipeline_execution_start_date; the figures of a month are counted once, then cut to a page.
# date_recorded is the day of start_date in UTC, so whole days of one are whole days of the other.
_DAILY_METRICS = """
WITH chosen AS (
    SELECT pipeline.id, pipeline.name AS pipeline_name, pipeline_type.name AS pipeline_type_name
    FROM pipeline JOIN pipeline_type ON pipeline_type.id = pipeline.pipeline_type_id
    WHERE (CAST(:pipeline AS text) IS NULL OR pipeline.name = :pipeline
            OR pipeline.name LIKE :pipeline_part AND NOT EXISTS (SELECT FROM pipeline WHERE name = :pipeline))
        AND (CAST(:type AS text) IS NULL OR pipeline_type.name = :type
            OR pipeline_type.name LIKE :type_part AND NOT EXISTS (SELECT FROM pipeline_type WHERE name = :type))
), daily AS (
    SELECT date_recorded, pipeline_id,
        count(*) AS total_executions,
        count(end_date) AS ended_executions,
        count(*) FILTER (WHERE end_date IS NOT NULL AND NOT completed_successfully) AS failed_executions,
        coalesce(sum(inserts), 0) AS daily_inserts,
        coalesce(sum(updates), 0) AS daily_updates,
        coalesce(sum(soft_deletes), 0) AS daily_soft_deletes,
        sum(total_rows) AS daily_total_rows,
        sum(duration_seconds) AS seconds,
        round(avg(duration_seconds), 2) AS avg_duration_seconds
    FROM pipeline_execution
    WHERE start_date >= date_trunc('day', now(), 'UTC') - make_interval(days => :days - 1)
        AND start_date < date_trunc('day', now(), 'UTC') + interval '1 day'
        AND pipeline_id IN (SELECT id FROM chosen)
    GROUP BY date_recorded, pipeline_id
), wanted AS (
    SELECT * FROM daily JOIN chosen ON chosen.id = daily.pipeline_id
    ORDER BY date_recorded DESC, pipeline_name
    LIMIT :limit OFFSET :offset
)
SELECT (SELECT count(*) FROM daily) AS total_records,
    date_recorded, pipeline_name, pipeline_type_name, total_executions, failed_executions,
    coalesce(round(100.0 * failed_executions / nullif(ended_executions, 0), 2), 0) AS error_percentage,
    daily_inserts, daily_updates, daily_soft_deletes, coalesce(daily_total_rows, 0) AS daily_total_rows,
    avg_duration_seconds,
    CASE WHEN seconds = 0 AND daily_total_rows IS NOT NULL THEN 0
        ELSE round(daily_total_rows / nullif(seconds, 0), 4) END AS daily_throughput
FROM (SELECT) AS always LEFT JOIN wanted ON true
ORDER BY date_recorded DESC, pipeline_name
"""


async def report_daily_metrics(session: AsyncSession, query: ReportQuery) -> DailyMetricsPage:
    """One page of the figures, computed from the executions as they are now."""
    parameters: dict[str, Any] = {
        "pipeline": query.pipeline_name or None,
        "pipeline_part": contains(query.pipeline_name or ""),
        "type": query.pipeline_type_name or None,
        "type_part": contains(query.pipeline_type_name or ""),
        "days": query.days,
        "limit": query.page_size,
        "offset": (query.page - 1) * query.page_size,
    }
    rows = (await session.execute(text(_DAILY_METRICS), parameters)).all()
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
