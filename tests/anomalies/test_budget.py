"""Rules with an alarm budget: the threshold is found from their own errors, and followed."""

import math
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine

from tests.anomalies.conftest import Judge
from tests.support.rows import add_pipeline, add_rule, add_run, ago, rows
from watcher_server.anomalies.budget import MONTH_SECONDS, Errors
from watcher_server.anomalies.models import AnomalyDetectionResult, AnomalyDetectionRule

HOUR = 3600.0


def errors_of(*sizes: float, step: float = HOUR) -> Errors:
    errors = Errors()
    for number, size in enumerate(sizes):
        errors.add(number * step, size)
    return errors


def heavy(count: int) -> list[float]:
    """Errors with the tail of Pareto's distribution: ten times as large a hundred times as seldom."""
    dice = Random(7)  # noqa: S311 - noise
    return [min(50.0, 0.7 * dice.random() ** -0.5) for _ in range(count)]


def normal(count: int) -> list[float]:
    dice = Random(7)  # noqa: S311 - noise
    return [abs(dice.gauss(0, 1)) for _ in range(count)]


def test_normal_noise_keeps_about_the_three_that_nothing_goes_below() -> None:
    assert 3.0 <= errors_of(*normal(2_000)).threshold(1) < 4.0
    assert errors_of(*normal(2_000)).threshold(30) == 3.0
    assert errors_of(0.1, 0.2).threshold(1) == 3.0


def test_a_heavy_tail_raises_the_threshold_until_it_alarms_seldom_enough() -> None:
    sizes = heavy(4_000)
    threshold = errors_of(*sizes).threshold(2)
    months = len(sizes) * HOUR / MONTH_SECONDS
    assert threshold > 5.0
    assert sum(size > threshold for size in sizes) <= 2 * 2 * months


def test_fewer_alarms_a_month_are_a_higher_threshold() -> None:
    thresholds = [errors_of(*heavy(2_000)).threshold(per_month) for per_month in (8, 4, 2, 1, 0.5)]
    assert thresholds == sorted(thresholds)
    assert len(set(thresholds)) == len(thresholds)


def test_a_few_gross_faults_in_the_past_do_not_hide_the_next_one() -> None:
    sizes = normal(2_000)
    for place in range(100, 2_000, 300):
        sizes[place] = 60.0
    assert errors_of(*sizes).threshold(1) < 5.0


def test_errors_that_stand_together_are_one_alarm() -> None:
    single, together = normal(2_000), normal(2_000)
    for place in range(200, 2_000, 200):
        single[place] = 8.0
        together[place : place + 5] = [8.0] * 5
    assert errors_of(*together).threshold(1) <= errors_of(*single).threshold(1)


def add_hours(engine: Engine, values: list[float], **rule: Any) -> tuple[int, int]:
    """A rule with a budget, its hourly past, and a run of 16,000 rows after it; the ids of pipeline and run."""
    last = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=2)
    with engine.begin() as connection:
        pipeline_id = add_pipeline(connection)
        add_rule(connection, pipeline_id, **{"seasonality": "none", "alarms_per_month": 1, **rule})
        for place, value in enumerate(reversed(values)):
            started = last - timedelta(hours=place + 1)
            add_run(
                connection,
                pipeline_id,
                total_rows=round(value),
                start_date=started,
                end_date=started + timedelta(minutes=5),
                hour_recorded=started.hour,
            )
        return pipeline_id, add_run(connection, pipeline_id, total_rows=16_000, end_date=ago(minutes=30))


def stored(engine: Engine, model: type[Any] = AnomalyDetectionRule) -> Any:
    with engine.connect() as connection:
        return rows(connection, model)


def heavy_past() -> list[float]:
    dice = Random(3)  # noqa: S311 - noise
    return [
        10_000 + 1_000 * math.copysign(min(12.0, 0.6 * dice.random() ** -0.45), dice.random() - 0.5) for _ in range(400)
    ]


def test_the_first_run_that_is_judged_finds_the_threshold_and_the_next_ones_keep_it(
    engine: Engine, judge: Judge
) -> None:
    pipeline_id, run = add_hours(engine, heavy_past())

    # Six deviations of the bulk: an anomaly for a z of 3, and usual for a metric that does this every week.
    assert judge(pipeline_id, run) == []

    (rule,) = stored(engine)
    assert rule["alarm_threshold"] > 4.0
    assert rule["alarm_threshold_due"] > datetime.now(UTC)
    with engine.begin() as connection:
        later = add_run(connection, pipeline_id, total_rows=900_000, end_date=ago(minutes=5))
    (anomaly,) = judge(pipeline_id, later)
    assert anomaly.rule.z_threshold == rule["alarm_threshold"]
    (result,) = stored(engine, AnomalyDetectionResult)
    assert result["z_threshold"] == rule["alarm_threshold"]
    assert stored(engine)[0]["alarm_threshold_due"] == rule["alarm_threshold_due"]


async def test_another_budget_finds_another_threshold(client: httpx.AsyncClient, engine: Engine, judge: Judge) -> None:
    pipeline_id, run = add_hours(engine, heavy_past())
    judge(pipeline_id, run)
    (rule,) = stored(engine)

    answer = await client.patch("/anomaly_detection_rule", json={"id": rule["id"], "alarms_per_month": 20})
    assert answer.status_code == 200
    assert answer.json()["alarms_per_month"] == 20
    with engine.begin() as connection:
        later = add_run(connection, pipeline_id, total_rows=10_000, end_date=ago(minutes=5))
    judge(pipeline_id, later)

    assert 3.0 <= stored(engine)[0]["alarm_threshold"] < rule["alarm_threshold"]


@pytest.mark.parametrize("given", [0, -1, 301, "often", float("nan")])
async def test_a_budget_that_is_none_is_refused(client: httpx.AsyncClient, engine: Engine, given: Any) -> None:
    with engine.begin() as connection:
        pipeline_id = add_pipeline(connection)
    content = {"pipeline_id": pipeline_id, "metric_field": "total_rows", "alarms_per_month": str(given)}
    answer = await client.post("/anomaly_detection_rule", json=content)
    assert answer.status_code == 422
    assert "alarms_per_month" in answer.text
    assert stored(engine) == []
