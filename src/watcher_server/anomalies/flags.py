"""What every change of an execution's flags needs: the execution, locked, and an entry in the audit trail."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.audit.service import Change, record_in
from watcher_server.database.rows import find
from watcher_server.executions.models import PipelineExecution
from watcher_server.kit.errors import NotFoundError
from watcher_server.pipelines.models import Pipeline


async def lock_execution(session: AsyncSession, pipeline_id: int, execution_id: int) -> PipelineExecution:
    """The execution, locked; raises NotFoundError if the pipeline has none of that id."""
    statement = (
        select(PipelineExecution)
        .where(PipelineExecution.id == execution_id, PipelineExecution.pipeline_id == pipeline_id)
        .with_for_update(key_share=True)
    )
    execution = await session.scalar(statement)
    if execution is None:
        raise NotFoundError(f"Pipeline {pipeline_id} has no execution with the id {execution_id}.")
    return execution


async def record_change(
    session: AsyncSession, action: str, pipeline_id: int, before: Mapping[str, Any] | None, after: Mapping[str, Any]
) -> None:
    """Tell the audit trail what was changed of a pipeline's rules or flags."""
    pipeline = await find(session, Pipeline, pipeline_id)
    name = pipeline.display_name or pipeline.name
    await record_in(session, Change(action, "pipeline", pipeline.id, name, before, after))
