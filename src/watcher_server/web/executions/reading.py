"""What the checks found about an execution, and the alerts and tasks that came of it."""

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.alerts.reading import Told, read_alerts_of_executions
from watcher_server.anomalies.models import AnomalyDetectionResult, AnomalyEvent
from watcher_server.anomalies.service import list_findings
from watcher_server.tasking.history.schemas import TaskQuery, TaskSummary
from watcher_server.tasking.history.service import list_tasks
from watcher_server.timeliness.models import TimelinessExecutionLog


class Findings(NamedTuple):
    """Anomalies by metric with their events, overdue entries in the order of the checks, and the alerts about it."""

    anomalies: Sequence[tuple[AnomalyDetectionResult, AnomalyEvent | None]]
    overdue: Sequence[TimelinessExecutionLog]
    told: Sequence[Told]


async def read_findings(session: AsyncSession, execution_id: int) -> Findings:
    """What the checks found about this execution."""
    log = TimelinessExecutionLog
    # By the unique key (execution, severity).
    overdue = select(log).where(log.pipeline_execution_id == execution_id).order_by(log.id)
    entries = (await session.scalars(overdue)).all()
    told = [each.told for each in await read_alerts_of_executions(session, [execution_id])]
    return Findings(await list_findings(session, execution_id), entries, told)


async def read_tasks(session: AsyncSession, execution_id: int) -> list[TaskSummary]:
    """The latest tasks that name the execution."""
    connection = await session.connection()
    query = TaskQuery(pipeline_execution_id=execution_id, limit=50)
    return (await connection.run_sync(list_tasks, query)).tasks
