"""The series that the seasonal method learns from: one look at the history for all rules of a pipeline."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, text

from watcher_server.anomalies.baseline import Moment, days_before, looks_back_to
from watcher_server.anomalies.bounds import Expectation, ExpectedRange, floor_of
from watcher_server.anomalies.rules import Rule, Seasonality
from watcher_server.anomalies.seasonal import Band, Observation, expected_band

# What lies further back tells nothing of the level, and no more of the week.
_LONGEST_DAYS = 92
_MOST_RUNS = 2_500

_COLUMNS = "start_date, duration_seconds, inserts, updates, soft_deletes, total_rows, throughput"

# By ix_pipeline_execution_pipeline_id_start_date. Flagged runs are in it: the method is robust against them, and
# without them it would never learn a new level.
_LATEST = f"""
SELECT {_COLUMNS} FROM pipeline_execution
WHERE pipeline_id = :pipeline_id AND completed_successfully
    AND start_date >= CAST(:since AS timestamptz) AND start_date < CAST(:started_at AS timestamptz)
    AND end_date < CAST(:ended_at AS timestamptz)
ORDER BY start_date DESC, id DESC LIMIT :most
"""  # noqa: S608 - the names of the columns are code

# Of a pipeline that has more runs than that, the last one of each hour: they show weeks where the others show days.
_LATEST_OF_HOURS = f"""
SELECT run.* FROM generate_series(
    date_trunc('hour', CAST(:since AS timestamptz), 'UTC'), CAST(:started_at AS timestamptz), interval '1 hour'
) AS hour (began)
CROSS JOIN LATERAL (
    SELECT {_COLUMNS} FROM pipeline_execution
    WHERE pipeline_id = :pipeline_id AND completed_successfully
        AND start_date >= hour.began AND start_date < hour.began + interval '1 hour'
        AND start_date >= CAST(:since AS timestamptz) AND start_date < CAST(:started_at AS timestamptz)
        AND end_date < CAST(:ended_at AS timestamptz)
    ORDER BY start_date DESC, id DESC LIMIT 1
) AS run
ORDER BY run.start_date DESC
"""  # noqa: S608 - as above


def expect_by_series(
    connection: Connection, pipeline_id: int, moment: Moment, rules: Sequence[Rule]
) -> dict[int, Expectation]:
    """What each rule expects from the level, day and week of its metric, by the rule's id."""
    if not rules:
        return {}
    runs = _read_runs(connection, pipeline_id, moment, min(_since(rule, moment) for rule in rules))
    return {rule.id: _expect(runs, moment, rule) for rule in rules}


def _since(rule: Rule, moment: Moment) -> datetime:
    return max(looks_back_to(rule, moment.ended_at), days_before(moment.ended_at, _LONGEST_DAYS))


def _read_runs(connection: Connection, pipeline_id: int, moment: Moment, since: datetime) -> Sequence[Row[Any]]:
    parameters = {
        "pipeline_id": pipeline_id,
        "since": since,
        "started_at": moment.started_at,
        "ended_at": moment.ended_at,
    }
    runs = connection.execute(text(_LATEST), {**parameters, "most": _MOST_RUNS}).all()
    return connection.execute(text(_LATEST_OF_HOURS), parameters).all() if len(runs) == _MOST_RUNS else runs


def _expect(runs: Sequence[Row[Any]], moment: Moment, rule: Rule) -> Expectation:
    since = _since(rule, moment)
    history = [
        Observation(run.start_date, float(value))
        for run in reversed(runs)
        if run.start_date >= since and (value := getattr(run, rule.metric)) is not None
    ]
    enough = len(history) >= rule.minimum_executions
    band = expected_band(history, moment.started_at, rule.z_threshold) if enough else None
    return Expectation(
        within=None if band is None else _within(rule, band),
        execution_count=len(history),
        bucket=Seasonality.NONE.value,
        sample_std=None if band is None else band.spread,
    )


def _within(rule: Rule, band: Band) -> ExpectedRange:
    floor = floor_of(rule, band.center)
    return ExpectedRange(
        mean=band.center,
        std=max(band.spread, floor),
        lower=max(0.0, min(band.lower, band.center - rule.z_threshold * floor)),
        upper=max(band.upper, band.center + rule.z_threshold * floor),
    )
