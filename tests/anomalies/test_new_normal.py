"""What a history teaches: a level that lasts is the new normal, an outlier is not, and huge numbers are numbers."""

from datetime import timedelta

import pytest
from sqlalchemy import Engine, update

from tests.anomalies.conftest import Judge, Reporting, reporting
from tests.support.rows import add_rule, add_run, ago, alerts, flags
from watcher_server.alerts.models import Alert
from watcher_server.anomalies.models import AnomalyDetectionResult
from watcher_server.executions.models import PipelineExecution


def test_a_lasting_change_becomes_the_new_normal(pipeline: Reporting) -> None:
    first, _, last = pipeline.runs(2000, 2010, 1990)

    (event,) = pipeline.events()
    assert event["accepted_at"] is not None
    assert (event["first_execution_id"], event["last_execution_id"]) == (first, last)
    rule = pipeline.rule()
    assert (rule["normal_from"], rule["normal_until"]) == (event["started_at"], event["last_at"])
    assert pipeline.levels() == ["WARNING", "INFO"]
    told = pipeline.rows(Alert)[-1]
    assert told["title"] == "Anomaly Detection"
    assert told["message"] == (
        f"New Normal for Pipeline 'orders' (ID: {pipeline.pipeline_id}) - total_rows has been high 3 times in a row"
    )


def test_after_a_new_normal_the_rule_learns_and_then_judges_by_it(pipeline: Reporting) -> None:
    pipeline.runs(2000, 2000, 2000)

    learning = pipeline.runs(2000, 2000)
    assert pipeline.rule()["learning"] is True
    ready = pipeline.run(2000)
    assert pipeline.rule()["learning"] is False
    old_level = pipeline.run(1000)

    assert not any(pipeline.flagged(run) for run in [*learning, ready])
    assert pipeline.flagged(old_level)
    assert [event["direction"] for event in pipeline.events()] == ["high", "low"]
    result = pipeline.rows(AnomalyDetectionResult)[-1]
    assert (result["historical_mean"], result["execution_count"]) == (2000, 6)
    assert pipeline.levels() == ["WARNING", "INFO", "WARNING"]


def test_flags_of_different_sides_are_no_new_normal(pipeline: Reporting) -> None:
    pipeline.runs(2000, 0, 2000, 0, 2000)

    assert pipeline.rule()["normal_from"] is None
    assert "INFO" not in pipeline.levels()


def test_without_new_normal_after_an_event_goes_on(engine: Engine, judge: Judge) -> None:
    pipeline = reporting(engine, judge, ago(hours=12), new_normal_after=None)

    pipeline.runs(*[2000] * 20)

    (event,) = pipeline.events()
    assert (event["execution_count"], event["accepted_at"]) == (20, None)
    assert pipeline.rule()["normal_from"] is None
    assert pipeline.levels() == ["WARNING"]


def test_a_replay_from_before_the_new_normal_is_judged_by_the_old_one(pipeline: Reporting) -> None:
    before = pipeline.ended_at
    pipeline.runs(*[2000] * 8)
    pipeline.ended_at = before
    with pipeline.engine.begin() as connection:
        at = {"end_date": before + timedelta(minutes=5)}
        same, changed = (add_run(connection, pipeline.pipeline_id, total_rows=value, **at) for value in (1000, 2000))

    for run in (same, changed):
        pipeline.judge(pipeline.pipeline_id, run)

    assert not pipeline.flagged(same)
    assert pipeline.flagged(changed)
    assert pipeline.rows(AnomalyDetectionResult)[-1]["historical_mean"] == 1000


def test_a_level_of_the_past_never_replaces_a_newer_normal(pipeline: Reporting) -> None:
    then = pipeline.ended_at
    pipeline.runs(*[2000] * 6)
    newest = pipeline.rule()
    assert newest["normal_from"] is not None
    pipeline.ended_at = then - timedelta(days=5)
    for _ in range(5):
        pipeline.add(total_rows=1000)

    # A backfill of old runs, which were high then.
    pipeline.runs(*[3000] * 4)

    assert pipeline.rule()["normal_from"] == newest["normal_from"]
    assert pipeline.rule()["normal_until"] == newest["normal_until"]
    assert pipeline.events()[-1]["execution_count"] == 4
    assert pipeline.events()[-1]["accepted_at"] is None
    pipeline.ended_at = ago(hours=1)
    assert not pipeline.flagged(pipeline.run(2000))


def test_an_outlier_that_was_never_flagged_does_not_hide_the_next(engine: Engine, judge: Judge) -> None:
    pipeline = reporting(engine, judge, ago(days=2))
    for day in range(20):
        pipeline.add(total_rows=1000 + day)
    pipeline.add(total_rows=900_000)
    pipeline.ended_at = ago(hours=3)

    run = pipeline.run(800_000)

    assert pipeline.flagged(run)
    (result,) = pipeline.rows(AnomalyDetectionResult)
    # It counts, and does not widen.
    assert result["execution_count"] == 26
    assert result["upper_bound"] < 1_100


@pytest.mark.parametrize("factor", [10**15, 2 * 10**18])
def test_huge_counts_and_their_throughput_are_judged(engine: Engine, judge: Judge, factor: int) -> None:
    pipeline = reporting(engine, judge, ago(hours=12))
    with engine.begin() as connection:
        add_rule(connection, pipeline.pipeline_id, "throughput", seasonality="none")
        usual = {"total_rows": 4 * factor, "throughput": 4 * factor / 7}
        connection.execute(update(PipelineExecution).values(usual))

    same = pipeline.run(4 * factor, throughput=4 * factor / 7)
    beyond = pipeline.run(int(4.2 * factor), throughput=4.2 * factor / 7)
    within = pipeline.run(int(4.1 * factor), throughput=4.1 * factor / 7)

    with engine.connect() as connection:
        assert flags(connection, same) == flags(connection, within) == {}
        assert flags(connection, beyond) == {"total_rows": True, "throughput": True}
        (message,) = alerts(connection)
    assert f"{float(int(4.2 * factor)):,.0f} (expected " in message["text"]
