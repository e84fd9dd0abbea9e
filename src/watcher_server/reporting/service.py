"""The daily figures of the pipelines, page by page."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.kit.listing import contains
from watcher_server.pipelines.models import Pipeline, PipelineType
from watcher_server.reporting.schemas import DailyMetrics, DailyMetricsPage, Pagination, ReportQuery
from watcher_server.reporting.statements import CHOSEN, DAILY, DAYS_UP_TO_TODAY, FIGURES_OF_WANTED, ROW
from watcher_server.tasking.sending.outbox import enqueue_async
from watcher_server.tasking.wire import SCHEDULED_QUEUE


def matching(pipeline_name: str | None, pipeline_type_name: str | None) -> dict[str, Any]:
    """The parameters of ``MATCHES``: no name, or an empty one, matches all."""
    return {
        "pipeline": pipeline_name or None,
        "pipeline_part": contains(pipeline_name or ""),
        "type": pipeline_type_name or None,
        "type_part": contains(pipeline_type_name or ""),
    }


async def report_daily_metrics(session: AsyncSession, query: ReportQuery) -> DailyMetricsPage:
    """One page of the figures, as the executions are now."""
    parameters = matching(query.pipeline_name, query.pipeline_type_name) | {
        "days": query.days,
        "limit": query.page_size,
        "offset": (query.page - 1) * query.page_size,
    }
    # First which pipelines ran on which days, then the figures of those on the page. One statement has one snapshot.
    statement = text(f"""
        WITH {CHOSEN}, {DAYS_UP_TO_TODAY}, {DAILY}, wanted AS (
            SELECT date_recorded, pipeline_id, place FROM daily
            ORDER BY date_recorded DESC, place
            LIMIT :limit OFFSET :offset
        ), {FIGURES_OF_WANTED}
        SELECT (SELECT count(*) FROM daily) AS total_records, {ROW}
        FROM (SELECT) AS always LEFT JOIN (figures JOIN chosen ON chosen.id = figures.pipeline_id) ON true
        ORDER BY date_recorded DESC, figures.place
    """)  # noqa: S608 - parts of statements, which are code
    rows = (await session.execute(statement, parameters)).all()
    data = [DailyMetrics.model_validate(row) for row in rows if row.date_recorded is not None]
    total_records = rows[0].total_records
    total_pages = -(-total_records // query.page_size)
    pagination = Pagination(
        page=query.page,
        page_size=query.page_size,
        total_records=total_records,
        total_pages=total_pages,
        has_next=query.page < total_pages,
        has_prev=query.page > 1,
    )
    return DailyMetricsPage(data=data, pagination=pagination)


async def list_pipeline_names(session: AsyncSession) -> Sequence[str]:
    """Every pipeline's name, in alphabetical order."""
    names = select(Pipeline.name).where(Pipeline.archived_at.is_(None)).order_by(Pipeline.name)
    return (await session.scalars(names)).all()


async def list_pipeline_type_names(session: AsyncSession) -> Sequence[str]:
    """Every pipeline type's name, in alphabetical order."""
    return (await session.scalars(select(PipelineType.name).order_by(PipelineType.name))).all()


async def complete_pipeline_name(session: AsyncSession, part: str) -> Sequence[str]:
    """The first 20 names of pipelines that contain this, in alphabetical order, by the unique index of names."""
    named = select(Pipeline.name).where(Pipeline.archived_at.is_(None), Pipeline.name.like(contains(part)))
    return (await session.scalars(named.order_by(Pipeline.name).limit(20))).all()


async def has_pipelines(session: AsyncSession) -> bool:
    """Whether there is any pipeline at all."""
    return await session.scalar(select(Pipeline.id).where(Pipeline.archived_at.is_(None)).limit(1)) is not None


async def queue_daily_metrics(session: AsyncSession) -> None:
    """Queue the sums of past days. The figures are the same before and after, but quicker to read after."""
    await enqueue_async(session, "daily_metrics_task", SCHEDULED_QUEUE)
