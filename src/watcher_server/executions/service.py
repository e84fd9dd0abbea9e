"""Executions, as lists."""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.executions.models import PipelineExecution
from watcher_server.executions.schemas import ExecutionQuery


async def list_executions(session: AsyncSession, query: ExecutionQuery) -> Sequence[PipelineExecution]:
    """One page of executions, by id, or the newest first."""
    by_id = PipelineExecution.id.desc() if query.newest_first else PipelineExecution.id
    statement = select(PipelineExecution).order_by(by_id).limit(query.limit).offset(query.offset)
    if query.pipeline_id is not None:
        statement = statement.where(PipelineExecution.pipeline_id == query.pipeline_id)
    if query.parent_id is not None:
        statement = statement.where(PipelineExecution.parent_id == query.parent_id)
    if query.completed_successfully is not None:
        statement = statement.where(PipelineExecution.completed_successfully == query.completed_successfully)
    if query.running is not None:
        ended = PipelineExecution.end_date
        statement = statement.where(ended.is_(None) if query.running else ended.is_not(None))
    return (await session.scalars(statement)).all()
