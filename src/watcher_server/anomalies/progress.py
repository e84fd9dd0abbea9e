"""How far rules are with learning: the runs that each knows, and how many it needs."""

from collections.abc import Mapping, Sequence

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.anomalies.models import AnomalyDetectionRule
from watcher_server.anomalies.schemas import RuleResponse

# At most as many runs as the rule needs are read, by ix_pipeline_execution_pipeline_id_start_date.
_KNOWN = """
SELECT rule.id, (
    SELECT count(*) FROM (
        SELECT FROM pipeline_execution AS run
        WHERE run.pipeline_id = rule.pipeline_id AND run.completed_successfully AND NOT run.backfill
            AND run.start_date >= now() - make_interval(days => rule.lookback_days)
            AND run.end_date >= coalesce(rule.normal_from, '-infinity')
            AND CASE rule.metric_field
                WHEN 'duration_seconds' THEN run.duration_seconds
                WHEN 'inserts' THEN run.inserts
                WHEN 'updates' THEN run.updates
                WHEN 'soft_deletes' THEN run.soft_deletes
                WHEN 'total_rows' THEN run.total_rows
                ELSE run.throughput
            END IS NOT NULL
            AND (run.anomaly_flags ->> rule.metric_field IS DISTINCT FROM 'true' OR run.end_date <= rule.normal_until)
        ORDER BY run.start_date DESC LIMIT rule.minimum_executions
    ) AS known
)
FROM anomaly_detection_rule AS rule WHERE rule.id = ANY(CAST(:ids AS bigint[]))
"""


async def read_known(session: AsyncSession, rule_ids: Sequence[int]) -> Mapping[int, int]:
    """How many runs each of these rules knows now, by its id; no more than it needs."""
    if not rule_ids:
        return {}
    rows = await session.execute(text(_KNOWN), {"ids": list(rule_ids)})
    return {row[0]: row[1] for row in rows}


async def show_rules(session: AsyncSession, rules: Sequence[AnomalyDetectionRule]) -> list[RuleResponse]:
    """The rules with how far each is."""
    computed = {"known_executions", "state"}
    known = await read_known(session, [rule.id for rule in rules])
    return [
        RuleResponse.model_validate(
            {
                **{name: getattr(rule, name) for name in RuleResponse.model_fields if name not in computed},
                "known_executions": known.get(rule.id, 0),
                "state": "inactive" if not rule.active else "learning" if rule.learning else "ready",
            }
        )
        for rule in rules
    ]
