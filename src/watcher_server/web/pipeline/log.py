"""What the checks found of a pipeline, and whether anybody was told."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.web.paging import PAGE_SIZE

# Among how many runs before a moment overdue ones are looked for.
_RUNS_LOOKED_AT = 1_000


@dataclass(frozen=True, slots=True)
class Entry:
    """One finding: ``kind`` is freshness, timeliness, missed or anomaly, ``row`` has what its log keeps.

    ``alerted`` says whether an alert was raised; ``alert`` is that alert with its delivery, None when it is gone.
    """

    at: datetime
    kind: str
    row: Row[Any]
    alerted: bool
    alert: Row[Any] | None = None


# By the unique key of freshness_pipeline_log.
_STALE = """
SELECT evaluated_at AS at, severity, last_dml_timestamp, freshness_number AS number, freshness_datepart AS datepart,
    used_child_config AS own, true AS alerted, 'Freshness Check - Pipeline DML' AS title
FROM freshness_pipeline_log
WHERE pipeline_id = :pipeline_id AND evaluated_at < :before
ORDER BY evaluated_at DESC, id DESC LIMIT :limit
"""

# The runs by ix_pipeline_execution_pipeline_id_start_date, each in the log by its unique key. What ended long before it
# was judged was not alerted.
_OVERDUE = """
SELECT log.evaluated_at AS at, log.severity, log.pipeline_execution_id AS execution_id, log.execution_status,
    log.duration_seconds, log.seconds_threshold, log.timely_number AS number, log.timely_datepart AS datepart,
    log.used_child_config AS own,
    log.execution_status = 'running'
        OR log.evaluated_at - run.end_date <= make_interval(hours => :alert_max_age_hours) AS alerted,
    'Timeliness Check - Pipeline Execution' AS title
FROM (
    SELECT id, end_date FROM pipeline_execution
    WHERE pipeline_id = :pipeline_id AND start_date < :before ORDER BY start_date DESC LIMIT :runs
) AS run
JOIN timeliness_pipeline_execution_log AS log ON log.pipeline_execution_id = run.id
WHERE log.evaluated_at < :before
ORDER BY log.evaluated_at DESC, log.id DESC LIMIT :limit
"""

# By the unique key of missed_run_log.
_MISSED = """
SELECT evaluated_at AS at, expected_at, schedule, schedule_timezone, schedule_grace_minutes, true AS alerted,
    'Schedule Check - Missed Runs' AS title
FROM missed_run_log
WHERE pipeline_id = :pipeline_id AND evaluated_at < :before
ORDER BY evaluated_at DESC, expected_at DESC LIMIT :limit
"""

# The rules by their unique key, their events by ix_anomaly_event_rule_id_last_at, an alert by its unique key.
_ANOMALOUS = """
SELECT event.last_at AS at, event.metric_field, event.direction, event.execution_count, event.first_execution_id,
    event.last_execution_id, event.started_at, event.accepted_at, event.alerted, result.id AS result_id,
    result.violation_value, result.lower_bound, result.upper_bound, 'Anomaly Detection' AS title,
    alert.id AS alert_id, alert.created_at AS alert_at, alert.delivered_at, alert.delivered_to, alert.last_error
FROM anomaly_detection_rule AS rule
JOIN anomaly_event AS event ON event.rule_id = rule.id AND event.pipeline_id = rule.pipeline_id
LEFT JOIN anomaly_detection_result AS result
    ON result.rule_id = rule.id AND result.pipeline_execution_id = event.last_execution_id
LEFT JOIN alert ON event.alerted AND alert.dedupe_key = 'anomaly:' || event.first_execution_id
WHERE rule.pipeline_id = :pipeline_id AND event.last_at < :before
ORDER BY event.last_at DESC, event.id DESC LIMIT :limit
"""

# Who finds raises the alert in the same transaction, so both have the same moment.
_ALERTS = """
SELECT alert.id AS alert_id, title, created_at AS alert_at, delivered_at, delivered_to, last_error
FROM alert JOIN unnest(CAST(:moments AS timestamptz[])) AS wanted (moment) ON alert.created_at = wanted.moment
ORDER BY alert.id
"""

_SOURCES = (("freshness", _STALE), ("timeliness", _OVERDUE), ("missed", _MISSED), ("anomaly", _ANOMALOUS))


async def read_log(
    session: AsyncSession, pipeline_id: int, *, before: datetime | None, alert_max_age_hours: int
) -> tuple[list[Entry], datetime | None]:
    """A page of findings before a moment, the newest first, and the moment to go on from, if there are more."""
    parameters = {
        "pipeline_id": pipeline_id,
        # Later than any: an anomaly is as late as its run, which may have ended a little ahead of this clock.
        "before": before or datetime.now(UTC) + timedelta(days=3_650),
        "limit": PAGE_SIZE + 1,
        "runs": _RUNS_LOOKED_AT,
        "alert_max_age_hours": alert_max_age_hours,
    }
    found = [
        Entry(row.at, kind, row, row.alerted)
        for kind, statement in _SOURCES
        for row in await session.execute(text(statement), parameters)
    ]
    found.sort(key=lambda entry: entry.at, reverse=True)
    shown = _whole_moments(found)
    return await _with_alerts(session, shown), shown[-1].at if len(shown) < len(found) else None


def _whole_moments(found: Sequence[Entry]) -> list[Entry]:
    """A page of them, and what was found at the same moment as its last: the next page begins before that."""
    page = list(islice(found, PAGE_SIZE))
    return page + [entry for entry in found[PAGE_SIZE:] if entry.at == page[-1].at]


async def _with_alerts(session: AsyncSession, entries: Sequence[Entry]) -> list[Entry]:
    moments = sorted({entry.at for entry in entries if entry.alerted and entry.kind != "anomaly"})
    alerts: dict[tuple[datetime, str], Row[Any]] = {}
    if moments:
        for row in await session.execute(text(_ALERTS), {"moments": moments}):
            alerts.setdefault((row.alert_at, row.title), row)
    return [Entry(entry.at, entry.kind, entry.row, entry.alerted, _alert_of(entry, alerts)) for entry in entries]


def _alert_of(entry: Entry, alerts: dict[tuple[datetime, str], Row[Any]]) -> Row[Any] | None:
    if entry.kind == "anomaly":
        return entry.row if entry.row.alert_id is not None else None
    return alerts.get((entry.at, entry.row.title)) if entry.alerted else None
