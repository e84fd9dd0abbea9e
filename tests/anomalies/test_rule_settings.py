"""What the settings of a rule do: like runs, one side, the floor, the method."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, insert

from tests.anomalies.conftest import JUDGED_END, Judge, judged_after
from tests.support.rows import add_pipeline, add_rule, add_run, ago, rows
from watcher_server.anomalies.models import AnomalyDetectionResult, AnomalyDetectionRule
from watcher_server.executions.models import PipelineExecution


def test_at_the_beginning_of_the_calendar_the_lookback_ends_there(engine: Engine, judge: Judge) -> None:
    first = datetime(1, 1, 2, tzinfo=UTC)
    with engine.begin() as connection:
        pipeline_id = add_pipeline(connection)
        add_rule(connection, pipeline_id, lookback_days=365)
        for hours in range(5):
            add_run(connection, pipeline_id, total_rows=1000, end_date=first + timedelta(hours=hours))
        run = add_run(connection, pipeline_id, total_rows=5, end_date=first + timedelta(hours=6))

    (anomaly,) = judge(pipeline_id, run)

    assert anomaly.expectation.execution_count == 5


@pytest.mark.parametrize("seasonality", ["hour", "none", "weekday"])
def test_a_pipeline_whose_runs_all_start_in_one_hour_has_enough_of_them(
    engine: Engine, judge: Judge, seasonality: str
) -> None:
    pipeline_id, run = judged_after(
        engine, [1000] * 10, 0, lookback_days=365, minimum_executions=600, seasonality=seasonality
    )
    with engine.begin() as connection:
        values = {"pipeline_id": pipeline_id, "hour_recorded": 2, "completed_successfully": True, "total_rows": 1000}
        moments = [JUDGED_END - timedelta(minutes=minutes) for minutes in range(1, 621)]
        connection.execute(
            insert(PipelineExecution),
            [{**values, "start_date": at, "end_date": at, "date_recorded": JUDGED_END.date()} for at in moments],
        )

    (anomaly,) = judge(pipeline_id, run)

    assert anomaly.expectation.execution_count >= 600


@pytest.mark.parametrize(
    ("seasonality", "hours", "days", "bucket", "count"),
    [
        ("hour", [2] * 5, [0] * 5, "hour", 5),
        ("hour", [2] * 4 + [3], [0] * 5, "none", 5),
        ("none", [2] * 5, [0] * 5, "none", 5),
        ("weekday", [3, 4, 5, 6, 7], [0] * 5, "weekday", 5),
        ("weekday", [2] * 5, [0] * 4 + [1], "none", 5),
        ("hour_of_week", [2] * 5, [0] * 5, "hour_of_week", 5),
        ("hour_of_week", [2] * 5, [0] * 4 + [1], "hour", 5),
        ("hour_of_week", [2] * 4 + [3], [0] * 5, "none", 5),
        # One more elsewhere does not count while the bucket has enough.
        ("hour_of_week", [2] * 6, [0] * 5 + [1], "hour_of_week", 5),
        ("weekday", [2] * 6, [0] * 5 + [1], "weekday", 5),
    ],
)
def test_the_baseline_is_of_like_runs_and_of_more_while_these_are_too_few(
    *, engine: Engine, judge: Judge, seasonality: str, hours: list[int], days: list[int], bucket: str, count: int
) -> None:
    day = JUDGED_END.date()
    with engine.begin() as connection:
        pipeline_id = add_pipeline(connection)
        add_rule(connection, pipeline_id, seasonality=seasonality)
        for hour, weekday in zip(hours, days, strict=True):
            of_week = {"hour_recorded": hour, "date_recorded": day - timedelta(days=7 - weekday)}
            add_run(connection, pipeline_id, total_rows=1000, end_date=JUDGED_END - timedelta(days=1), **of_week)
        run = add_run(connection, pipeline_id, total_rows=0, end_date=JUDGED_END, date_recorded=day)

    (anomaly,) = judge(pipeline_id, run)

    assert (anomaly.expectation.bucket, anomaly.expectation.execution_count) == (bucket, count)
    with engine.connect() as connection:
        assert rows(connection, AnomalyDetectionResult)[0]["context"]["seasonality"] == bucket


@pytest.mark.parametrize(
    ("direction", "value", "anomalous"),
    [("high", 0, False), ("high", 2000, True), ("low", 0, True), ("low", 2000, False)],
)
def test_a_rule_may_look_to_one_side(engine: Engine, judge: Judge, direction: str, value: int, anomalous: bool) -> None:
    pipeline_id, run = judged_after(engine, [1000] * 5, value, direction=direction)

    assert bool(judge(pipeline_id, run)) is anomalous


@pytest.mark.parametrize(
    ("floor", "value", "anomalous"),
    [
        ({"minimum_std_percent": 5}, 1150, False),
        ({"minimum_std_percent": 5}, 1151, True),
        ({"minimum_std_percent": 0}, 1003, False),
        ({"minimum_std_percent": 0}, 1004, True),
        ({"minimum_std": 100}, 1300, False),
        ({"minimum_std": 100}, 1301, True),
        ({"minimum_std_percent": 0, "minimum_std": 0.001}, 1000, False),
        ({"minimum_std_percent": 0, "minimum_std": 0.001}, 1001, True),
        ({"minimum_std_percent": 100}, 0, False),
    ],
    ids=str,
)
def test_the_floor_is_a_setting_of_the_rule(
    engine: Engine, judge: Judge, floor: dict[str, float], value: int, anomalous: bool
) -> None:
    pipeline_id, run = judged_after(engine, [1000] * 5, value, **floor)

    assert bool(judge(pipeline_id, run)) is anomalous


def test_the_median_is_not_moved_by_unusual_runs(engine: Engine, judge: Judge) -> None:
    history = [990, 995, 1000, 1005, 1010, 1000, 1000, 50_000, 60_000]

    pipeline_id, run = judged_after(engine, history, 40_000, method="mad")

    (anomaly,) = judge(pipeline_id, run)
    assert (anomaly.within.mean, anomaly.expectation.execution_count) == (1000, 9)
    assert anomaly.expectation.sample_std == pytest.approx(1.4826 * 5, rel=1e-4)


def test_a_rule_says_whether_it_learns(engine: Engine, judge: Judge) -> None:
    pipeline_id, run = judged_after(engine, [1000] * 4, 1000)

    def learning() -> bool:
        with engine.connect() as connection:
            return bool(rows(connection, AnomalyDetectionRule)[0]["learning"])

    judge(pipeline_id, run)
    assert learning()
    with engine.begin() as connection:
        later = add_run(connection, pipeline_id, total_rows=1000, end_date=ago(minutes=5))
    judge(pipeline_id, later)
    assert not learning()
