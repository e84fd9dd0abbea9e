"""Levels that nobody may get used to: nothing at all, or less than a tenth of what is usual.

Ten empty loads are no new normal. A rule that forgot that its pipeline once loaded something would stop saying so: such
a level is learnt only once somebody accepts it, by whatever method the rule judges.
"""

from collections.abc import Sequence
from datetime import datetime
from statistics import median
from typing import Any, Final

from sqlalchemy import Connection, Row, text

from watcher_server.anomalies.expectations import Moment
from watcher_server.anomalies.rules import Rule

LEAST_SHARE: Final = 0.1
# So many runs of a level are enough to move what the seasonal method expects.
LONG_EVENT: Final = 10


def has_collapsed(values: Sequence[float], mean: float) -> bool:
    """Whether the middle of these values has fallen by more than nine tenths of what was expected."""
    return median(values) < LEAST_SHARE * mean


# Results by their unique key (rule, execution).
_UNACCEPTED = """
SELECT result.rule_id, result.pipeline_execution_id, event.id AS event_id, event.execution_count
FROM anomaly_detection_result AS result JOIN anomaly_event AS event ON event.id = result.event_id
WHERE result.rule_id = ANY(CAST(:rule_ids AS bigint[]))
    AND result.pipeline_execution_id = ANY(CAST(:execution_ids AS bigint[]))
    AND result.violation_value < :share * result.historical_mean AND event.accepted_at IS NULL
"""


def read_unaccepted(connection: Connection, rules: Sequence[Rule], runs: Sequence[Row[Any]]) -> Sequence[Row[Any]]:
    """The results of these rules and runs that say of a level that it has collapsed, and that were not accepted."""
    flagged = [run.id for run in runs if True in run.anomaly_flags.values()]
    if not flagged:
        return []
    parameters = {"rule_ids": [rule.id for rule in rules], "execution_ids": flagged, "share": LEAST_SHARE}
    return connection.execute(text(_UNACCEPTED), parameters).all()


def find_unlearnable(
    unaccepted: Sequence[Row[Any]], rules: Sequence[Rule], runs: Sequence[Row[Any]]
) -> set[tuple[int, int]]:
    """Those of these runs, newest first, from which a rule must not learn: pairs of rule and execution.

    Nobody accepted that they had collapsed, and they are of the event that goes on, or of one that was long. The few
    runs of a short one that is over are outliers, against which the method is robust: without them it would expect
    less noise than there is. ``unaccepted`` may be about other runs too.
    """
    if not unaccepted:
        return set()
    ids = {run.id for run in runs}
    found = [row for row in unaccepted if row.pipeline_execution_id in ids]
    latest = {rule.id: next((run.id for run in runs if getattr(run, rule.metric) is not None), None) for rule in rules}
    going_on = {row.event_id for row in found if row.pipeline_execution_id == latest[row.rule_id]}
    return {
        (row.rule_id, row.pipeline_execution_id)
        for row in found
        if row.event_id in going_on or row.execution_count >= LONG_EVENT
    }


# The newest event by ix_anomaly_event_rule_id_last_at, its last result by the unique key of results.
_LATEST_COLLAPSE = """
SELECT rule.id, event.started_at
FROM unnest(CAST(:rule_ids AS bigint[])) AS rule (id) CROSS JOIN LATERAL (
    SELECT started_at, last_execution_id, accepted_at FROM anomaly_event
    WHERE rule_id = rule.id AND last_at < CAST(:ended_at AS timestamptz) ORDER BY last_at DESC LIMIT 1
) AS event
JOIN anomaly_detection_result AS result
    ON result.rule_id = rule.id AND result.pipeline_execution_id = event.last_execution_id
WHERE event.accepted_at IS NULL AND result.violation_value < :share * result.historical_mean
"""


def find_collapses(connection: Connection, moment: Moment, rules: Sequence[Rule]) -> dict[int, datetime]:
    """When the last event of each rule began, by the rule's id, for those of which it is an unaccepted collapse."""
    if not rules:
        return {}
    parameters = {"rule_ids": [rule.id for rule in rules], "ended_at": moment.ended_at, "share": LEAST_SHARE}
    return {row.id: row.started_at for row in connection.execute(text(_LATEST_COLLAPSE), parameters)}
