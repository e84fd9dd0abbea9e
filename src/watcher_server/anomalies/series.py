"""The series that the seasonal method learns from: one look at the history for all rules of a pipeline."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, text

from watcher_server.anomalies.collapse import find_unlearnable, read_unaccepted
from watcher_server.anomalies.expectations import Expectation, Moment, days_before, floored_range, looks_back_to
from watcher_server.anomalies.forecasting import forecast
from watcher_server.anomalies.holidays import holidays_around
from watcher_server.anomalies.rules import Rule, Seasonality
from watcher_server.anomalies.seasonal import Observation

# Older runs say nothing of the level, and add nothing to what 92 days say of the week.
LONGEST_DAYS = 92
MOST_RUNS = 2_500

# By ix_pipeline_execution_pipeline_id_start_date. Flagged runs are in it: the method is robust against them, and
# without them it would never learn a new level. Those whose level must not be learnt are taken out of it afterwards.
_LATEST = """
SELECT id, anomaly_flags, start_date, end_date, duration_seconds, inserts, updates, soft_deletes, total_rows, throughput
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
    runs = connection.execute(text(_LATEST), {**parameters, "most": MOST_RUNS}).all()
    if len(runs) == MOST_RUNS:
        runs = connection.execute(text(_LATEST_OF_HOURS), parameters).all()
    left_out = find_unlearnable(read_unaccepted(connection, rules, runs), rules, runs)
    oldest_first = runs[::-1]
    expected = {}
    for rule in rules:
        since = _since(rule, moment)
        learnt = [run for run in oldest_first if run.start_date >= since and (rule.id, run.id) not in left_out]
        expected[rule.id] = _expect([seen for seen in _observe(learnt, rule) if seen is not None], moment, rule)
    return expected


def expect_at_moments(
    connection: Connection, pipeline_id: int, moments: Sequence[Moment], rule: Rule
) -> Iterator[Expectation]:
    """What one rule expected at each of several moments, by one look at the history for all of them."""
    if not moments:
        return
    parameters = {
        "pipeline_id": pipeline_id,
        "since": min(_since(rule, moment) for moment in moments),
        "started_at": max(moment.started_at for moment in moments),
        "ended_at": max(moment.ended_at for moment in moments),
    }
    most = MOST_RUNS + len(moments)
    newest_first = connection.execute(text(_LATEST), {**parameters, "most": most}).all()
    unaccepted = read_unaccepted(connection, [rule], newest_first)
    runs = newest_first[::-1]
    starts, ends, observed = [run.start_date for run in runs], [run.end_date for run in runs], _observe(runs, rule)
    for moment in moments:
        first, last = bisect_left(starts, _since(rule, moment)), bisect_left(starts, moment.started_at)
        places = [place for place, end in enumerate(ends[first:last], first) if end < moment.ended_at]
        if len(places) >= MOST_RUNS or (first == 0 and len(runs) == most):
            # There are more runs than were read.
            yield expect_by_series(connection, pipeline_id, moment, [rule])[rule.id]
            continue
        if unaccepted:
            left_out = find_unlearnable(unaccepted, [rule], [runs[place] for place in reversed(places)])
            places = [place for place in places if (rule.id, runs[place].id) not in left_out]
        history = [seen for place in places if (seen := observed[place]) is not None]
        yield _expect(history, moment, rule)


def _since(rule: Rule, moment: Moment) -> datetime:
    return max(looks_back_to(rule, moment), days_before(moment.looks_from, LONGEST_DAYS))


def _observe(runs: Sequence[Row[Any]], rule: Rule) -> list[Observation | None]:
    """Each run as the rule sees it; None for one without its metric."""
    return [
        None if (value := getattr(run, rule.metric)) is None else Observation(run.start_date, float(value))
        for run in runs
    ]


def _expect(history: Sequence[Observation], moment: Moment, rule: Rule) -> Expectation:
    """What the rule expects after these runs, the oldest first."""
    found = None
    if len(history) >= rule.minimum_executions:
        holidays = holidays_around(rule.holidays, moment.started_at.date())
        # Where a level has collapsed, the runs before it count, and they remain the same ones.
        lookback_days = None if moment.collapsed_at else min(rule.lookback_days, LONGEST_DAYS)
        found = forecast(history, moment.started_at, holidays, lookback_days)
    band = found.band(rule.z_threshold) if found else None
    return Expectation(
        within=floored_range(rule, band.center, band.spread, band.lower, band.upper) if band else None,
        execution_count=len(history),
        bucket=Seasonality.NONE.value,
        sample_std=band.spread if band else None,
    )
