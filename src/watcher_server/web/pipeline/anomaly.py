"""One anomaly, with everything that led to it."""

from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.kit.errors import NotFoundError

# By primary keys.
_ANOMALY = """
SELECT result.*, run.pipeline_id, run.start_date, run.end_date, pipeline.name AS pipeline_name,
    rule.method AS rule_method, rule.minimum_executions AS rule_minimum_executions, rule.normal_from,
    rule.pipeline_id = run.pipeline_id AND rule.metric_field = result.metric_field AS rule_stands,
    event.direction AS event_direction, event.execution_count AS event_runs, event.started_at AS event_started_at,
    event.last_at AS event_last_at, event.alerted AS event_alerted, event.accepted_at AS event_accepted_at
FROM anomaly_detection_result AS result
JOIN pipeline_execution AS run ON run.id = result.pipeline_execution_id
JOIN pipeline ON pipeline.id = run.pipeline_id
JOIN anomaly_detection_rule AS rule ON rule.id = result.rule_id
LEFT JOIN anomaly_event AS event ON event.id = result.event_id
WHERE result.id = :result_id AND run.pipeline_id = :pipeline_id
"""


async def read_anomaly(session: AsyncSession, pipeline_id: int, result_id: int) -> Row[Any]:
    """The result, its run, its rule and its event; ``rule_stands`` unless the rule now judges another series.

    Raises:
        NotFoundError: the pipeline has no such anomaly; it may have been unflagged.
    """
    found = await session.execute(text(_ANOMALY), {"result_id": result_id, "pipeline_id": pipeline_id})
    row = found.one_or_none()
    if row is None:
        raise NotFoundError(f"Pipeline {pipeline_id} has no anomaly {result_id}: it may have been unflagged.")
    return row
