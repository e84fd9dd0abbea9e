"""Consecutive anomalies are one event, alerted once."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, delete, update

from tests.anomalies.conftest import Judge, Reporting, add_usual_runs, reporting
from tests.support.rows import add_pipeline, add_rule, ago, alerts
from watcher_server.alerts.models import Alert
from watcher_server.anomalies.models import AnomalyDetectionRule
from watcher_server.executions.models import PipelineExecution


def test_a_first_anomaly_begins_an_event_and_is_alerted(pipeline: Reporting) -> None:
    run = pipeline.run(0)

    (event,) = pipeline.events()
    assert (event["direction"], event["execution_count"], event["alerted"]) == ("low", 1, True)
    assert (event["first_execution_id"], event["last_execution_id"]) == (run, run)
    assert event["started_at"] == event["last_at"] == pipeline.ended_at
    assert (event["metric_field"], event["pipeline_id"]) == ("total_rows", pipeline.pipeline_id)
    assert pipeline.levels() == ["WARNING"]


def test_the_next_anomaly_on_the_same_side_joins_and_is_not_alerted(pipeline: Reporting) -> None:
    first, second = pipeline.runs(0, 10)

    (event,) = pipeline.events()
    assert (event["execution_count"], event["last_execution_id"]) == (2, second)
    assert event["last_at"] - event["started_at"] == timedelta(minutes=10)
    assert pipeline.events_by_run() == {first: event["id"], second: event["id"]}
    assert pipeline.levels() == ["WARNING"]


def test_an_anomaly_on_the_other_side_begins_another_event(pipeline: Reporting) -> None:
    pipeline.runs(0, 5000)

    assert [event["direction"] for event in pipeline.events()] == ["low", "high"]
    assert pipeline.levels() == ["WARNING", "WARNING"]


def test_a_normal_run_ends_an_event(pipeline: Reporting) -> None:
    pipeline.runs(0, 1000, 0)

    assert [event["execution_count"] for event in pipeline.events()] == [1, 1]
    assert pipeline.levels() == ["WARNING", "WARNING"]


@pytest.mark.parametrize(
    "fields",
    [{"completed_successfully": False, "total_rows": 1000}, {"total_rows": None}, {"end_date": None}],
    ids=["failed", "without the metric", "running"],
)
def test_what_is_not_judged_does_not_end_an_event(pipeline: Reporting, fields: dict[str, Any]) -> None:
    pipeline.run(0)
    pipeline.add(**fields)
    pipeline.run(0)

    assert [event["execution_count"] for event in pipeline.events()] == [2]
    assert pipeline.levels() == ["WARNING"]


def test_another_pipeline_has_events_of_its_own(pipeline: Reporting, engine: Engine, judge: Judge) -> None:
    pipeline.run(0)
    with engine.begin() as connection:
        other = add_pipeline(connection, "customers")
        add_rule(connection, other, seasonality="none")
    twin = Reporting(engine, judge, other, pipeline.ended_at)
    for _ in range(5):
        twin.add(total_rows=1000)
    twin.run(0)

    assert [event["pipeline_id"] for event in pipeline.events()] == [pipeline.pipeline_id, other]


def test_each_metric_has_events_of_its_own_and_one_alert_names_all(engine: Engine, judge: Judge) -> None:
    pipeline = reporting(engine, judge, ago(hours=12))
    with engine.begin() as connection:
        add_rule(connection, pipeline.pipeline_id, "inserts", seasonality="none")
        connection.execute(update(PipelineExecution).values(inserts=50))

    pipeline.run(0, inserts=50)
    both = pipeline.run(0, inserts=900)
    pipeline.run(0, inserts=900)

    events = {event["metric_field"]: event["execution_count"] for event in pipeline.events()}
    assert events == {"total_rows": 3, "inserts": 2}
    with engine.connect() as connection:
        _, second = [alert for alert in alerts(connection) if alert["level"] == "WARNING"]
    assert f"Execution ID {both} flagged" in second["message"]
    assert {name for name, _ in second["details"]} == {"total_rows", "inserts"}


def test_a_run_judged_late_joins_the_event_of_the_run_after_it(pipeline: Reporting) -> None:
    add_usual_runs(pipeline)
    late, later = pipeline.add(total_rows=0), pipeline.add(total_rows=0)

    pipeline.judge(pipeline.pipeline_id, later)
    pipeline.judge(pipeline.pipeline_id, late)

    (event,) = pipeline.events()
    assert (event["first_execution_id"], event["last_execution_id"]) == (late, later)
    assert event["last_at"] - event["started_at"] == timedelta(minutes=10)
    assert pipeline.levels() == ["WARNING"]


def test_a_second_delivery_counts_once(pipeline: Reporting) -> None:
    run = pipeline.run(0)

    assert pipeline.judge(pipeline.pipeline_id, run) == []

    assert [event["execution_count"] for event in pipeline.events()] == [1]


@pytest.mark.parametrize("delivered_first", [0, 1])
def test_two_runs_judged_at_once_are_two_results(pipeline: Reporting, delivered_first: int) -> None:
    add_usual_runs(pipeline)
    judged: list[int] = []
    for _ in range(5):
        pipeline.run(1000)
        pair = [pipeline.add(total_rows=0) for _ in range(2)]
        ordered = pair if delivered_first == 0 else pair[::-1]
        with ThreadPoolExecutor(2) as pool:
            found = list(pool.map(lambda run: pipeline.judge(pipeline.pipeline_id, run), ordered))
        assert [len(anomalies) for anomalies in found] == [1, 1]
        judged += pair

    events = pipeline.events_by_run()
    assert sorted(events) == judged
    # They find each other, whichever was first.
    assert all(events[first] == events[second] for first, second in zip(judged[::2], judged[1::2], strict=True))
    assert [event["execution_count"] for event in pipeline.events()] == [2] * 5
    assert pipeline.levels() == ["WARNING"] * 5


def test_runs_that_are_judged_at_once_with_many_rules_never_wait_for_each_other_in_a_circle(
    engine: Engine, judge: Judge
) -> None:
    pipeline = reporting(engine, judge, ago(hours=12), new_normal_after=None)
    add_usual_runs(pipeline)
    metrics = ("updates", "inserts", "soft_deletes", "duration_seconds")
    with engine.begin() as connection:
        for metric in metrics:
            add_rule(connection, pipeline.pipeline_id, metric, seasonality="none", new_normal_after=None)
        connection.execute(update(PipelineExecution).values(dict.fromkeys(metrics, 50)))
    for _ in range(6):
        # Half of the rules have just forgotten that they are ready, and are told so by whoever comes first.
        with engine.begin() as connection:
            connection.execute(
                update(AnomalyDetectionRule).where(AnomalyDetectionRule.id % 2 == 0).values(learning=True)
            )
        runs = [pipeline.add(total_rows=0, **dict.fromkeys(metrics, 900)) for _ in range(3)]
        with ThreadPoolExecutor(3) as pool:
            found = list(pool.map(lambda run: judge(pipeline.pipeline_id, run), runs))
        assert [len(anomalies) for anomalies in found] == [5] * 3


def test_an_event_of_the_past_is_not_alerted(engine: Engine, judge: Judge) -> None:
    pipeline = reporting(engine, judge, ago(days=3))

    pipeline.runs(2000, 2000, 2000)

    (event,) = pipeline.events()
    assert (event["execution_count"], event["alerted"]) == (3, False)
    assert event["accepted_at"] is not None
    assert pipeline.levels() == []


def test_an_event_that_lasts_into_the_present_is_alerted_once(engine: Engine, judge: Judge) -> None:
    pipeline = reporting(engine, judge, ago(days=3), new_normal_after=None)
    pipeline.runs(0, 0)

    pipeline.ended_at = ago(hours=5)
    pipeline.runs(0, 0, 0)

    (event,) = pipeline.events()
    assert (event["execution_count"], event["alerted"]) == (5, True)
    assert pipeline.levels() == ["WARNING"]


def test_an_anomaly_that_was_found_with_a_rule_that_came_later_is_alerted_with_the_next(
    engine: Engine, judge: Judge
) -> None:
    pipeline = reporting(engine, judge, ago(hours=12), new_normal_after=None)
    with engine.begin() as connection:
        connection.execute(update(PipelineExecution).values(inserts=50))
    run = pipeline.run(0, inserts=900)
    with engine.begin() as connection:
        add_rule(connection, pipeline.pipeline_id, "inserts", seasonality="none")

    # The alert of this run has been sent: it is not sent again.
    assert [anomaly.metric for anomaly in judge(pipeline.pipeline_id, run)] == ["inserts"]
    assert pipeline.levels() == ["WARNING"]
    pipeline.run(0, inserts=900)

    (again,) = pipeline.rows(Alert)[1:]
    assert {name for name, _ in again["details"]} == {"total_rows", "inserts"}


def test_a_rule_for_another_metric_begins_anew(pipeline: Reporting) -> None:
    add_usual_runs(pipeline)
    with pipeline.engine.begin() as connection:
        connection.execute(update(PipelineExecution).values(inserts=50))
    first = pipeline.run(2000, inserts=900)
    with pipeline.engine.begin() as connection:
        connection.execute(update(AnomalyDetectionRule).values(metric_field="inserts"))

    # The rule has a result for that run, of the metric it had then.
    assert pipeline.judge(pipeline.pipeline_id, first) == []
    pipeline.run(2000, inserts=900)

    assert [event["metric_field"] for event in pipeline.events()] == ["total_rows", "inserts"]


def test_an_event_outlives_its_executions(pipeline: Reporting) -> None:
    first, second = pipeline.runs(0, 0)
    with pipeline.engine.begin() as connection:
        connection.execute(delete(PipelineExecution).where(PipelineExecution.id == first))

    third = pipeline.run(0)

    (event,) = pipeline.events()
    assert (event["first_execution_id"], event["last_execution_id"]) == (first, third)
    assert pipeline.events_by_run() == dict.fromkeys([second, third], event["id"])
