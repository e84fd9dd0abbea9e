"""Judging executions: what is in the baseline, what is an anomaly, and what is written."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, text, update

from tests.anomalies.conftest import JUDGED_END, Judge, judged_after
from tests.support.rows import add_history, add_pipeline, add_rule, add_run, ago, alerts, flags, now, rows
from tests.support.statements import watched_statements
from watcher_server.anomalies import detection
from watcher_server.anomalies.detection import detect_anomalies
from watcher_server.anomalies.models import AnomalyDetectionResult, AnomalyDetectionRule
from watcher_server.celery_tasks import detect_anomalies_task
from watcher_server.executions.models import PipelineExecution
from watcher_server.tasking.models import OutboxMessage

FLAGGED = {"total_rows": True}
# Student's t for four degrees of freedom, at the probability of two standard deviations, of three, and of one.
T_OF_FIVE_VALUES = {2: 2.8693, 3: 6.6201, 1: 1.1417}
PREDICTION = (1 + 1 / 5) ** 0.5


@pytest.mark.parametrize(
    ("value", "anomalous"), [(0, True), (969, True), (970, False), (1001, False), (1030, False), (1031, True)]
)
def test_without_any_variance_the_floor_is_one_percent_of_the_mean(
    engine: Engine, judge: Judge, value: int, anomalous: bool
) -> None:
    pipeline_id, run = judged_after(engine, [1000] * 100, value, lookback_days=365)

    assert bool(judge(pipeline_id, run)) is anomalous


@pytest.mark.parametrize(("value", "anomalous"), [(0, False), (6, False), (7, True)])
def test_around_small_means_the_floor_is_one_row_and_nothing_lies_below_zero(
    engine: Engine, judge: Judge, value: int, anomalous: bool
) -> None:
    pipeline_id, run = judged_after(engine, [3, 3, 3, 3, 3], value)

    assert bool(judge(pipeline_id, run)) is anomalous


def test_the_lower_bound_is_never_below_zero(engine: Engine, judge: Judge) -> None:
    pipeline_id, run = judged_after(engine, [2, 2, 2, 2, 2], 9)

    (anomaly,) = judge(pipeline_id, run)

    assert (anomaly.within.lower, anomaly.within.upper) == (0, 5)
    with engine.connect() as connection:
        assert rows(connection, AnomalyDetectionResult)[0]["lower_bound"] == 0


def test_a_result_says_what_was_expected_and_why(engine: Engine, judge: Judge) -> None:
    pipeline_id, run = judged_after(engine, [900, 950, 1000, 1050, 1100], 2000, lookback_days=20, z_threshold=2)

    (anomaly,) = judge(pipeline_id, run)

    with engine.connect() as connection:
        (result,) = rows(connection, AnomalyDetectionResult)
        assert flags(connection, run) == FLAGGED
    std = 79.05694150420949
    assert result["historical_std"] == pytest.approx(std)
    assert result["historical_mean"] == 1000
    assert result["z_score"] == pytest.approx(1000 / std)
    half_width = T_OF_FIVE_VALUES[2] * PREDICTION * std
    assert result["lower_bound"] == pytest.approx(1000 - half_width, rel=1e-5)
    assert result["upper_bound"] == pytest.approx(1000 + half_width, rel=1e-5)
    assert (result["violation_value"], result["z_threshold"], result["execution_count"]) == (2000, 2, 5)
    assert result["context"] == {
        "hour_recorded": 2,
        "lookback_days": 20,
        "minimum_executions": 5,
        "sample_std": pytest.approx(std),
        "method": "zscore",
        "seasonality": "hour",
    }
    assert anomaly.metric == "total_rows"


def test_the_judged_value_is_no_part_of_its_baseline(engine: Engine, judge: Judge) -> None:
    pipeline_id, run = judged_after(engine, [10, 12, 14, 16, 18], 40)

    (anomaly,) = judge(pipeline_id, run)

    assert anomaly.expectation.execution_count == 5
    assert anomaly.within.upper == pytest.approx(14 + T_OF_FIVE_VALUES[3] * PREDICTION * 10**0.5, rel=1e-4)


def test_one_value_too_few_gives_no_verdict(engine: Engine, judge: Judge) -> None:
    pipeline_id, run = judged_after(engine, [1000] * 4, 0)

    assert judge(pipeline_id, run) == []


def test_runs_without_the_metric_do_not_count(engine: Engine, judge: Judge) -> None:
    pipeline_id, run = judged_after(engine, [1000] * 4, 0)
    with engine.begin() as connection:
        add_history(connection, pipeline_id, [None] * 3)  # type: ignore[list-item]

    assert judge(pipeline_id, run) == []


def test_a_run_without_the_metric_is_not_judged(engine: Engine, judge: Judge) -> None:
    pipeline_id, run = judged_after(engine, [1000] * 5, None)

    assert judge(pipeline_id, run) == []


@pytest.mark.parametrize(
    "odd",
    [
        {"hour_recorded": 3},
        {"completed_successfully": False},
        {"anomaly_flags": FLAGGED},
        {"end_date": None},
        {"end_date": ago(minutes=30)},
        {"end_date": JUDGED_END},
        {"end_date": ago(days=31)},
    ],
    ids=["another hour", "failed", "flagged", "running", "ended later", "ended with it", "before the lookback"],
)
def test_the_baseline_leaves_out(engine: Engine, judge: Judge, odd: dict[str, Any]) -> None:
    pipeline_id, run = judged_after(engine, [1000] * 5, 1500)
    with engine.begin() as connection:
        for _ in range(5):
            add_run(connection, pipeline_id, total_rows=2000, **{"end_date": ago(hours=2), **odd})

    (anomaly,) = judge(pipeline_id, run)

    assert anomaly.expectation.execution_count == 5


@pytest.mark.parametrize("cleared", [{"total_rows": False}, {"inserts": True}])
def test_the_baseline_keeps_runs_unflagged_by_hand_or_flagged_for_another_metric(
    engine: Engine, judge: Judge, cleared: dict[str, bool]
) -> None:
    pipeline_id, run = judged_after(engine, [1000] * 5, 3000)
    with engine.begin() as connection:
        add_run(connection, pipeline_id, total_rows=1000, anomaly_flags=cleared, end_date=ago(hours=2))

    (anomaly,) = judge(pipeline_id, run)

    assert anomaly.expectation.execution_count == 6


def test_other_pipelines_are_left_out(engine: Engine, judge: Judge) -> None:
    pipeline_id, run = judged_after(engine, [1000] * 4, 0)
    with engine.begin() as connection:
        add_history(connection, add_pipeline(connection, "customers"), [1000] * 9)

    assert judge(pipeline_id, run) == []


def test_the_lookback_counts_from_the_end_of_the_judged_run(engine: Engine, judge: Judge) -> None:
    then = ago(days=400)
    with engine.begin() as connection:
        pipeline_id = add_pipeline(connection)
        add_rule(connection, pipeline_id, lookback_days=5)
        add_history(connection, pipeline_id, [1000] * 10, before=then)
        add_history(connection, pipeline_id, [5] * 10)
        run = add_run(connection, pipeline_id, total_rows=5, end_date=then)

    (anomaly,) = judge(pipeline_id, run)

    assert anomaly.expectation.execution_count == 5


def test_each_rule_has_its_own_window_metric_and_threshold(engine: Engine, judge: Judge) -> None:
    with engine.begin() as connection:
        pipeline_id = add_pipeline(connection)
        add_rule(connection, pipeline_id, "inserts", lookback_days=6)
        add_rule(connection, pipeline_id, "updates", lookback_days=20)
        add_rule(connection, pipeline_id, "soft_deletes", active=False)
        add_rule(connection, pipeline_id, "throughput", z_threshold=10)
        add_rule(connection, pipeline_id, "duration_seconds", minimum_executions=11)
        metrics = {"updates": 50, "soft_deletes": 1, "throughput": 100.5, "duration_seconds": 60}
        add_history(connection, pipeline_id, [100] * 10, metric="inserts", **metrics)
        far = {"updates": 500, "soft_deletes": 99, "throughput": 107.5, "duration_seconds": 6000}
        run = add_run(connection, pipeline_id, inserts=1, **far)

    found = {anomaly.metric: anomaly.expectation.execution_count for anomaly in judge(pipeline_id, run)}

    assert found == {"inserts": 6, "updates": 10}


def test_the_largest_counts_are_judged(engine: Engine, judge: Judge) -> None:
    largest = 2**63 - 1
    pipeline_id, run = judged_after(engine, [largest, largest - 9, largest, largest // 2, largest], 0, z_threshold=1)

    (anomaly,) = judge(pipeline_id, run)

    half_width = T_OF_FIVE_VALUES[1] * PREDICTION * 0.2236 * largest
    assert anomaly.within.lower == pytest.approx(0.9 * largest - half_width, rel=1e-3)


@pytest.mark.parametrize("fields", [{"completed_successfully": False}, {"end_date": None}], ids=["failed", "running"])
def test_only_successful_runs_are_judged(engine: Engine, judge: Judge, fields: dict[str, Any]) -> None:
    pipeline_id, _ = judged_after(engine, [1000] * 5, 1000)
    with engine.begin() as connection:
        run = add_run(connection, pipeline_id, total_rows=0, **fields)

    assert judge(pipeline_id, run) == []


@pytest.mark.parametrize("unknown", [2**62, 2**70])
def test_the_task_of_an_execution_or_a_pipeline_that_does_not_exist_says_so(engine: Engine, unknown: int) -> None:
    pipeline_id, run = judged_after(engine, [1000] * 5, 0)
    with engine.begin() as connection:
        other = add_pipeline(connection, "other")

    no_execution = {"anomalies_found": 0, "skipped": "no such execution"}
    assert detect_anomalies_task(pipeline_id, unknown) == no_execution
    assert detect_anomalies_task(other, run) == no_execution
    assert detect_anomalies_task(unknown, run) == {"anomalies_found": 0, "skipped": "no such pipeline"}


@pytest.mark.parametrize("value", ["1", None, 1.0, True])
def test_what_is_no_integer_is_refused(judge: Judge, value: Any) -> None:
    with pytest.raises(ValueError, match="pipeline_execution_id must be an integer"):
        judge(1, value)
    with pytest.raises(ValueError, match="pipeline_id must be an integer"):
        judge(value, 1)


def test_one_alert_names_every_anomaly_of_an_execution(engine: Engine, judge: Judge) -> None:
    with engine.begin() as connection:
        pipeline_id = add_pipeline(connection)
        for metric in ("inserts", "updates"):
            add_rule(connection, pipeline_id, metric)
        add_history(connection, pipeline_id, [1000] * 5, metric="inserts", updates=10)
        run = add_run(connection, pipeline_id, inserts=0, updates=123_456)

    judge(pipeline_id, run)

    with engine.connect() as connection:
        (alert,) = alerts(connection)
        (message,) = rows(connection, OutboxMessage)
    assert (alert["title"], alert["level"]) == ("Anomaly Detection", "WARNING")
    assert alert["message"] == (
        f"Anomalies Detected for Pipeline 'orders' (ID: {pipeline_id}) - Execution ID {run} flagged"
    )
    assert alert["details"] == [
        ["inserts", "0 (expected 970 to 1,030; z-score -100.0, from 5 executions)"],
        ["updates", "123,456 (expected 7 to 13; z-score 123446.0, from 5 executions)"],
    ]
    assert (message["task_name"], message["kwargs"]) == ("deliver_alert_task", {"alert_id": alert["id"]})


def test_a_second_delivery_writes_nothing(engine: Engine, judge: Judge) -> None:
    pipeline_id, run = judged_after(engine, [1000] * 5, 0)

    assert len(judge(pipeline_id, run)) == 1
    assert judge(pipeline_id, run) == []

    with engine.connect() as connection:
        assert len(rows(connection, AnomalyDetectionResult)) == len(alerts(connection)) == 1


def test_two_deliveries_at_once_give_one_result_and_one_alert(engine: Engine, judge: Judge) -> None:
    pipeline_id, run = judged_after(engine, [1000] * 5, 0)

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: judge(pipeline_id, run), range(8)))

    assert sum(map(len, found)) == 1
    with engine.connect() as connection:
        assert len(rows(connection, AnomalyDetectionResult)) == len(alerts(connection)) == 1


def test_a_redelivery_with_a_new_rule_judges_the_new_metric_only(engine: Engine, judge: Judge) -> None:
    pipeline_id, run = judged_after(engine, [1000] * 5, 0)
    judge(pipeline_id, run)
    with engine.begin() as connection:
        add_rule(connection, pipeline_id, "inserts")
        connection.execute(update(PipelineExecution).values(inserts=7))
        connection.execute(update(PipelineExecution).where(PipelineExecution.id == run).values(inserts=70))

    assert [anomaly.metric for anomaly in judge(pipeline_id, run)] == ["inserts"]

    with engine.connect() as connection:
        assert flags(connection, run) == {"inserts": True, "total_rows": True}
        assert len(alerts(connection)) == 1


def test_a_metric_unflagged_by_hand_is_not_judged_again(engine: Engine, judge: Judge) -> None:
    pipeline_id, run = judged_after(engine, [1000] * 5, 0)
    with engine.begin() as connection:
        cleared = update(PipelineExecution).where(PipelineExecution.id == run)
        connection.execute(cleared.values(anomaly_flags={"total_rows": False}))

    assert judge(pipeline_id, run) == []


def test_an_inactive_rule_judges_nothing(engine: Engine, judge: Judge) -> None:
    pipeline_id, run = judged_after(engine, [1000] * 5, 0)
    with engine.begin() as connection:
        connection.execute(update(AnomalyDetectionRule).values(active=False))

    assert judge(pipeline_id, run) == []


@pytest.mark.parametrize(("hours", "alerted"), [(23, 1), (25, 0)])
def test_what_ended_more_than_a_day_ago_is_flagged_but_not_alerted(
    engine: Engine, judge: Judge, hours: int, alerted: int
) -> None:
    then = now() - timedelta(hours=hours)
    with engine.begin() as connection:
        pipeline_id = add_pipeline(connection)
        add_rule(connection, pipeline_id)
        add_history(connection, pipeline_id, [1000] * 5, before=then)
        run = add_run(connection, pipeline_id, total_rows=0, end_date=then)

    judge(pipeline_id, run)

    with engine.connect() as connection:
        assert flags(connection, run) == FLAGGED
        assert len(alerts(connection)) == alerted


@pytest.mark.parametrize(
    ("seasonality", "hour", "looked_at"),
    [
        ("hour", 2, "hour"),
        ("hour", 3, "none"),
        ("weekday", 2, "none"),
        ("hour_of_week", 2, "hour"),
        ("hour_of_week", 3, "none"),
    ],
)
def test_a_season_with_too_few_runs_falls_back_to_the_next_wider_one(
    engine: Engine, judge: Judge, seasonality: str, hour: int, looked_at: str
) -> None:
    """The judged run started at two; five runs before it, at that hour, none on its weekday."""
    with engine.begin() as connection:
        pipeline_id = add_pipeline(connection)
        add_rule(connection, pipeline_id, seasonality=seasonality)
        add_history(connection, pipeline_id, [1000] * 5, before=JUDGED_END, hour_recorded=hour)
        run = add_run(connection, pipeline_id, total_rows=0, end_date=JUDGED_END)

    (anomaly,) = judge(pipeline_id, run)

    assert (anomaly.expectation.bucket, anomaly.expectation.execution_count) == (looked_at, 5)


def test_a_season_with_enough_runs_looks_at_no_others(engine: Engine, judge: Judge) -> None:
    with engine.begin() as connection:
        pipeline_id = add_pipeline(connection)
        add_rule(connection, pipeline_id)
        add_history(connection, pipeline_id, [1000] * 5, before=JUDGED_END)
        add_history(connection, pipeline_id, [0, 5000] * 5, before=JUDGED_END, hour_recorded=3)
        run = add_run(connection, pipeline_id, total_rows=0, end_date=JUDGED_END)

    (anomaly,) = judge(pipeline_id, run)

    assert (anomaly.expectation.bucket, anomaly.expectation.execution_count) == ("hour", 5)


@pytest.mark.parametrize(("value", "mode"), [(1000, "off"), (0, "on")], ids=["nothing found", "an anomaly"])
def test_only_what_was_found_waits_for_the_disk(engine: Engine, value: float, mode: str) -> None:
    pipeline_id, execution_id = judged_after(engine, [990, 1000, 1010] * 5, value)
    with engine.begin() as connection:
        connection.execute(text("SET LOCAL synchronous_commit = off"))
        found = detect_anomalies(connection, pipeline_id, execution_id, alert_max_age_hours=24)
        assert connection.scalar(text("SHOW synchronous_commit")) == mode

    assert bool(found) == (mode == "on")


def test_a_usual_run_is_judged_in_two_statements_that_wait_for_nobody(engine: Engine, judge: Judge) -> None:
    pipeline_id, first = judged_after(engine, [990, 1000, 1010] * 5, 1005)
    judge(pipeline_id, first)
    with engine.begin() as connection:
        run = add_run(connection, pipeline_id, total_rows=1000, end_date=JUDGED_END + timedelta(minutes=1))

    with engine.connect() as holder, engine.connect() as reader:
        holder.execute(text("SELECT FROM pipeline_execution FOR UPDATE"))
        connection = reader.execution_options(isolation_level="AUTOCOMMIT")
        with watched_statements() as sent:
            judgement = detection.judge(connection, pipeline_id, run, lock=False)

    assert judgement is not None
    assert not judgement.has_consequences
    assert len(sent) == 2
