"""What was found about an execution, and who was told."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncSession

# By ix_anomaly_detection_result_pipeline_execution_id; the rest by primary key.
_ANOMALIES = """
SELECT result.*, rule.method, rule.seasonality, event.execution_count AS event_executions,
    event.direction AS event_direction, event.alerted, event.first_execution_id, event.accepted_at
FROM anomaly_detection_result AS result
JOIN anomaly_detection_rule AS rule ON rule.id = result.rule_id
LEFT JOIN anomaly_event AS event ON event.id = result.event_id
WHERE result.pipeline_execution_id = :id
ORDER BY result.metric_field
"""

# By the unique key (execution, severity).
_OVERDUE = """
SELECT * FROM timeliness_pipeline_execution_log WHERE pipeline_execution_id = :id ORDER BY id
"""

# By the unique key of alerts: one of an anomaly has its execution in its key.
_ANOMALY_ALERTS = """
SELECT * FROM alert WHERE dedupe_key = 'anomaly:' || CAST(:id AS text)
"""

# Asked for overdue executions only, and alerts are few: no index of its own. A check writes its alert in the
# transaction of its log, so both have the same moment; it names the execution, or is over more than it names.
_OVERDUE_ALERTS = """
SELECT alert.*
FROM timeliness_pipeline_execution_log AS log
JOIN alert ON alert.created_at = log.evaluated_at
    AND alert.level = CASE log.severity WHEN 'failure' THEN 'WARNING' ELSE 'INFO' END
WHERE log.pipeline_execution_id = :id AND alert.dedupe_key LIKE 'timeliness:%'
    AND (alert.details::text LIKE '%(execution ' || CAST(:id AS text) || ')"%'
        OR alert.details::text LIKE '%["Others", %')
ORDER BY alert.id
"""


@dataclass(frozen=True)
class Findings:
    """Anomalies by metric, overdue entries as they came, and the alerts about them."""

    anomalies: Sequence[Row[Any]]
    overdue: Sequence[Row[Any]]
    alerts: Sequence[Row[Any]]

    @property
    def anything(self) -> bool:
        """Whether anything was found at all."""
        return bool(self.anomalies or self.overdue or self.alerts)


async def read_findings(session: AsyncSession, execution_id: int) -> Findings:
    """What the checks found about this execution."""
    anomalies = await _read(session, _ANOMALIES, execution_id)
    overdue = await _read(session, _OVERDUE, execution_id)
    alerts = list(await _read(session, _ANOMALY_ALERTS, execution_id))
    if overdue:
        alerts += await _read(session, _OVERDUE_ALERTS, execution_id)
    return Findings(anomalies, overdue, alerts)


async def _read(session: AsyncSession, statement: str, execution_id: int) -> Sequence[Row[Any]]:
    return (await session.execute(text(statement), {"id": execution_id})).all()
