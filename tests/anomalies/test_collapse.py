"""Empty loads are never taken for normal by waiting, however they are judged and however long they last."""

from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine

from tests.anomalies.conftest import Judge, Reporting, reporting
from tests.support.rows import add_pipeline, add_rule, ago

METHODS: dict[str, dict[str, Any]] = {
    "zscore": {"seasonality": "none"},
    "zscore of the weekday": {"seasonality": "weekday"},
    "mad": {"method": "mad", "seasonality": "none"},
    "seasonal": {"method": "seasonal"},
}


def daily(engine: Engine, judge: Judge, days: int, **rule: Any) -> Reporting:
    """A pipeline that loaded about 1,000 rows a day for ten weeks, until so many days ago."""
    with engine.begin() as connection:
        pipeline_id = add_pipeline(connection)
        add_rule(connection, pipeline_id, **{"minimum_executions": 14, **rule})
    found = Daily(engine, judge, pipeline_id, ago(days=days + 70))
    for day in range(70):
        found.add(total_rows=1000 + day % 7)
    return found


class Daily(Reporting):
    """A pipeline that runs once a day."""

    def add(self, **fields: Any) -> int:
        self.ended_at += timedelta(days=1) - timedelta(minutes=10)
        return super().add(**fields)


@pytest.mark.parametrize("level", [0, 60], ids=["nothing", "less than a tenth"])
@pytest.mark.parametrize("rule", METHODS.values(), ids=METHODS)
def test_fifty_days_of_empty_loads_are_one_open_event(
    engine: Engine, judge: Judge, rule: dict[str, Any], level: float
) -> None:
    """They outlast the thirty days that the rule looks back."""
    pipeline = daily(engine, judge, 51, **rule)

    empty = pipeline.runs(*[level] * 50)

    assert [run for run in empty if not pipeline.flagged(run)] == []
    (event,) = pipeline.events()
    assert (event["execution_count"], event["accepted_at"]) == (50, None)
    assert pipeline.rule()["normal_from"] is None
    assert pipeline.rule()["learning"] is False
    assert "INFO" not in pipeline.levels()


@pytest.mark.parametrize("rule", METHODS.values(), ids=METHODS)
def test_after_empty_weeks_the_usual_load_is_usual_and_the_next_empty_one_is_not(
    engine: Engine, judge: Judge, rule: dict[str, Any]
) -> None:
    pipeline = daily(engine, judge, 42, **rule)
    pipeline.runs(*[0] * 40)

    usual, empty = pipeline.runs(1003, 0)

    assert not pipeline.flagged(usual)
    assert pipeline.flagged(empty)


@pytest.mark.parametrize("rule", METHODS.values(), ids=METHODS)
async def test_an_empty_level_is_normal_once_somebody_accepts_it(
    client: httpx.AsyncClient, engine: Engine, judge: Judge, rule: dict[str, Any]
) -> None:
    pipeline = daily(engine, judge, 62, **rule)
    empty = pipeline.runs(*[0] * 35)

    body = {"pipeline_id": pipeline.pipeline_id, "pipeline_execution_id": empty[0], "metric_field": ["total_rows"]}
    assert (await client.post("/accept_new_normal", json=body)).status_code == 200
    after = pipeline.runs(*[0] * 3)

    assert not any(pipeline.flagged(run) for run in after)
    assert pipeline.rule()["learning"] is False
    (event,) = pipeline.events()
    assert event["accepted_at"] is not None


def test_a_level_at_a_fifth_is_still_a_new_normal(pipeline: Reporting) -> None:
    pipeline.runs(200, 210, 190)

    (event,) = pipeline.events()
    assert event["accepted_at"] is not None
    assert pipeline.levels() == ["WARNING", "INFO"]


def test_one_better_load_among_empty_ones_makes_no_new_normal(engine: Engine, judge: Judge) -> None:
    pipeline = reporting(engine, judge, ago(hours=12))

    pipeline.runs(0, 0, 300, 0)

    (event,) = pipeline.events()
    assert event["accepted_at"] is None
