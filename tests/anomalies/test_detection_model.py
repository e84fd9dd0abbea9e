"""The detection statement against the same rules written in plain Python."""

import statistics
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine

from tests.support.rows import add_pipeline, add_rule, add_run, flags
from watcher_server.anomalies.detection import detect_anomalies

JUDGED_END = datetime(2026, 3, 1, 2, 30, tzinfo=UTC)


@dataclass(frozen=True)
class Run:
    hours_before: int
    inserts: int | None
    throughput: float | None
    hour: int
    success: bool
    flags: dict[str, bool]

    def value(self, metric: str) -> float | None:
        return self.inserts if metric == "inserts" else self.throughput


@dataclass(frozen=True)
class Rule:
    metric: str
    z_threshold: float
    lookback_days: int
    minimum_executions: int


counts = st.one_of(st.integers(90, 110), st.integers(90, 110), st.integers(0, 2**63 - 1), st.none())
speeds = st.one_of(st.floats(4, 6), st.floats(4, 6), st.floats(0, 9e18), st.none())
# Mostly runs that belong to the baseline, so that most examples reach a verdict.
runs = st.builds(
    Run,
    hours_before=st.sampled_from([1, 5, 23, 24, 1, 5, 23, 24, 25, 47, 48, 49, 71, 72, 73, 0, -3]),
    inserts=counts,
    throughput=speeds,
    hour=st.sampled_from([2] * 7 + [3]),
    success=st.sampled_from([True] * 7 + [False]),
    flags=st.sampled_from([{}, {}, {}, {}, {"inserts": True}, {"inserts": False, "throughput": True}]),
)
judged_runs = st.builds(
    Run,
    hours_before=st.just(0),
    inserts=st.one_of(st.integers(0, 300), counts),
    throughput=st.one_of(st.floats(0, 20), speeds),
    hour=st.just(2),
    success=st.just(value=True),
    flags=st.sampled_from([{}, {}, {}, {}, {"inserts": False}, {"throughput": True}]),
)


def rule_for(metric: str) -> st.SearchStrategy[Rule]:
    return st.builds(Rule, st.just(metric), st.floats(1, 10), st.integers(1, 3), st.integers(2, 7))


def expect_anomaly(rule: Rule, history: list[Run], judged: Run) -> bool:
    baseline = [
        value
        for run in history
        if run.success and run.hour == judged.hour and run.flags.get(rule.metric) is not True
        if 0 < run.hours_before <= 24 * rule.lookback_days
        if (value := run.value(rule.metric)) is not None
    ]
    value = judged.value(rule.metric)
    if value is None or rule.metric in judged.flags or len(baseline) < rule.minimum_executions:
        return False
    mean = statistics.fmean(baseline)
    std = max(statistics.stdev(map(float, baseline)), 0.01 * mean, 1)
    lower, upper = max(0, mean - rule.z_threshold * std), mean + rule.z_threshold * std
    # At the very edge, the two may round apart.
    assume(all(abs(value - bound) > 1e-6 * upper for bound in (lower, upper) if bound))
    return value < lower or value > upper


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    history=st.lists(runs, min_size=8, max_size=30),
    judged=judged_runs,
    rules=st.tuples(rule_for("inserts"), rule_for("throughput")),
)
def test_it_finds_what_the_model_finds(
    engine: Engine, history: list[Run], judged: Run, rules: tuple[Rule, Rule]
) -> None:
    expected = {rule.metric for rule in rules if expect_anomaly(rule, history, judged)}

    with engine.connect() as connection:
        pipeline_id = add_pipeline(connection)
        for rule in rules:
            add_rule(
                connection,
                pipeline_id,
                rule.metric,
                z_threshold=rule.z_threshold,
                lookback_days=rule.lookback_days,
                minimum_executions=rule.minimum_executions,
            )
        ids = [
            add_run(
                connection,
                pipeline_id,
                end_date=JUDGED_END - timedelta(hours=run.hours_before),
                hour_recorded=run.hour,
                completed_successfully=run.success,
                inserts=run.inserts,
                throughput=run.throughput,
                anomaly_flags=run.flags,
            )
            for run in [*history, judged]
        ]
        found = detect_anomalies(connection, pipeline_id, ids[-1], alert_max_age_hours=1)
        flagged = flags(connection, ids[-1])
        connection.rollback()

    assert {anomaly.metric for anomaly in found} == expected
    assert flagged == judged.flags | dict.fromkeys(expected, True)
