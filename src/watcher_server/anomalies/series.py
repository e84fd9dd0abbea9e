"""The series that the seasonal method learns from: one look at the history for all rules of a pipeline."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, text

from watcher_server.anomalies.collapse import find_unlearnable
from watcher_server.anomalies.expectations import Expectation, Moment, days_before, floored_range, looks_back_to
from watcher_server.anomalies.rules import Rule, Seasonality
from watcher_server.anomalies.seasonal import Observation, expected_band

# Older runs say nothing of the level, and add nothing to what 92 days say of the week.
_LONGEST_DAYS = 92
_MOST_RUNS = 2_500

# By ix_pipeline_execution_pipeline_id_start_date. Flagged runs are in it: the method is robust against them, and
# without them it would never learn a new level. Those whose level must not be learnt are taken out of it afterwards.
_LATEST = """
SELECT id, anomaly_flags, start_date, duration_seconds, inserts, updates, soft_deletes, total_rows, throughput
FROM pipeline_execution
WHERE pipeline_id = :pipeline_id AND completed_successfully AND NOT backfill
    AND start_date >= CAST(:since AS timestamptz) AND start_date < CAST(:started_at AS timestamptz)
    AND end_date < CAST(:ended_at AS timestamptz)
ORDER BY start_date DESC, id DESC LIMIT :most
"""

# For a pipeline with more runs, the last one of each hour: these reach back weeks, the latest runs only days.
_LATEST_OF_HOURS = """
SELECT run.* FROM generate_series(
    date_trunc('hour', CAST(:since AS timestamptz), 'UTC'), CAST(:started_at AS timestamptz), interval '1 hour'
) AS hour (began)
CROSS JOIN LATERAL (
    SELECT id, anomaly_flags, start_date, duration_seconds, inserts, updates, soft_deletes, total_rows, throughput
    FROM pipeline_execution
    WHERE pipeline_id = :pipeline_id AND completed_successfully AND NOT backfill
        AND start_date >= hour.began AND start_date < hour.began + interval '1 hour'
        AND start_date >= CAST(:since AS timestamptz) AND start_date < CAST(:started_at AS timestamptz)
        AND end_date < CAST(:ended_at AS timestamptz)
    ORDER BY start_date DESC, id DESC LIMIT 1
) AS run
ORDER BY run.start_date DESC
"""


def expect_by_series(
    connection: Connection, pipeline_id: int, moment: Moment, rules: Sequence[Rule]
) -> dict[int, Expectation]:
    """What each rule expects from the level, day and week of its metric, by the rule's id."""
    if not rules:
        return {}
    parameters = {
        "pipeline_id": pipeline_id,
        "since": min(_since(rule, moment) for rule in rules),
        "started_at": moment.started_at,
        "ended_at": moment.ended_at,
    }
    runs = connection.execute(text(_LATEST), {**parameters, "most": _MOST_RUNS}).all()
    if len(runs) == _MOST_RUNS:
        runs = connection.execute(text(_LATEST_OF_HOURS), parameters).all()
    left_out = find_unlearnable(connection, rules, runs)
    return {
        rule.id: _expect([run for run in runs if (rule.id, run.id) not in left_out], moment, rule) for rule in rules
    }


def _since(rule: Rule, moment: Moment) -> datetime:
    return max(looks_back_to(rule, moment), days_before(moment.looks_from, _LONGEST_DAYS))


def _expect(runs: Sequence[Row[Any]], moment: Moment, rule: Rule) -> Expectation:
    since = _since(rule, moment)
    history = [
        Observation(run.start_date, float(value))
        for run in reversed(runs)
        if run.start_date >= since and (value := getattr(run, rule.metric)) is not None
    ]
    enough = len(history) >= rule.minimum_executions
    band = expected_band(history, moment.started_at, rule.z_threshold) if enough else None
    within = floored_range(rule, band.center, band.spread, band.lower, band.upper) if band else None
    return Expectation(
        within=within,
        execution_count=len(history),
        bucket=Seasonality.NONE.value,
        sample_std=band.spread if band else None,
    )
