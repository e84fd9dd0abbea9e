"""What is expected of a run, by whatever method its rules have."""

from collections.abc import Sequence

from sqlalchemy import Connection

from watcher_server.anomalies.baseline import Moment, learn_baselines
from watcher_server.anomalies.bounds import Baseline, Expectation, expected_range
from watcher_server.anomalies.rules import Method, Rule
from watcher_server.anomalies.series import expect_by_series


def find_expectations(
    connection: Connection, pipeline_id: int, moment: Moment, rules: Sequence[Rule]
) -> dict[int, Expectation]:
    """What each rule expects of a run at that moment, by the rule's id."""
    by_series = [rule for rule in rules if rule.method == Method.SEASONAL]
    by_baseline = [rule for rule in rules if rule.method != Method.SEASONAL]
    baselines = learn_baselines(connection, pipeline_id, moment, by_baseline)
    return {
        **{rule.id: _from_baseline(rule, baselines[rule.id]) for rule in by_baseline},
        **expect_by_series(connection, pipeline_id, moment, by_series),
    }


def _from_baseline(rule: Rule, baseline: Baseline) -> Expectation:
    return Expectation(
        within=expected_range(rule, baseline),
        execution_count=baseline.count,
        bucket=baseline.bucket,
        sample_std=baseline.spread,
    )
