"""The past of one metric of a pipeline, read for a replay, and the threshold that an alarm budget has after it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from sqlalchemy import Connection, select, text

from watcher_server.anomalies.expectations import Moment, days_before
from watcher_server.anomalies.learners import PastRun
from watcher_server.anomalies.replay import replay
from watcher_server.anomalies.rules import Rule
from watcher_server.executions.models import PipelineExecution

PAST_DAYS = 365
# A year of hourly runs, and some.
MOST_PAST_RUNS = 10_000
# Seven months of hourly runs: a longer past moves a threshold by less than it knows.
_MOST_RUNS_OF_BUDGET = 5_000


def read_past(
    connection: Connection, pipeline_id: int, metric: str, *, since: datetime, until: datetime, most: int
) -> list[PastRun]:
    """The latest successful runs with the metric that lie between these moments, the oldest first; no backfills.

    By ix_pipeline_execution_pipeline_id_start_date.
    """
    run = PipelineExecution
    value = getattr(run, metric)
    statement = (
        select(run.id, run.start_date, run.end_date, value)
        .where(
            run.pipeline_id == pipeline_id,
            run.completed_successfully.is_(True),
            run.backfill.is_(False),
            value.is_not(None),
            run.start_date >= since,
            run.start_date < until,
            run.end_date < until,
        )
        .order_by(run.start_date.desc(), run.id.desc())
        .limit(most)
    )
    return [PastRun(row[0], row[1], row[2], float(row[3])) for row in reversed(connection.execute(statement).all())]


_KEEP = """
UPDATE anomaly_detection_rule AS rule SET alarm_threshold = found.threshold, alarm_threshold_due = found.due
FROM unnest(CAST(:ids AS bigint[]), CAST(:thresholds AS float8[]), CAST(:dues AS timestamptz[]))
    AS found (id, threshold, due)
WHERE rule.id = found.id
"""


def find_thresholds(
    connection: Connection, pipeline_id: int, moment: Moment, rules: Sequence[Rule]
) -> Mapping[int, Rule]:
    """Find the thresholds of these rules anew, from the runs before the moment, and keep them; the rules, by their id.

    The rows of the rules are locked. A replay takes some tenths of a second; the next one is due when the history has
    grown by a tenth.
    """
    found = {}
    for rule in rules:
        since = days_before(moment.ended_at, PAST_DAYS)
        if rule.normal_from and rule.normal_from < moment.ended_at:
            since = max(since, rule.normal_from)
        runs = read_past(
            connection, pipeline_id, rule.metric, since=since, until=moment.ended_at, most=_MOST_RUNS_OF_BUDGET
        )
        past = replay(rule, runs)
        due = moment.ended_at + timedelta(seconds=past.seconds)
        found[rule.id] = replace(rule, z_threshold=past.threshold, alarm_threshold_due=due)
    parameters = {
        "ids": list(found),
        "thresholds": [rule.z_threshold for rule in found.values()],
        "dues": [rule.alarm_threshold_due for rule in found.values()],
    }
    connection.execute(text(_KEEP), parameters)
    return found
