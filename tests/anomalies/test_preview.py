"""What a rule would have flagged in the past, before it is saved; which rule suits; and how far a rule is."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, update

from tests.anomalies.conftest import Judge
from tests.support.rows import add_pipeline, add_rule, add_run, flags, rows
from watcher_server.anomalies.learners import PastRun
from watcher_server.anomalies.models import AnomalyDetectionResult, AnomalyDetectionRule
from watcher_server.anomalies.preview import preview_past, rule_of
from watcher_server.anomalies.replay import replay
from watcher_server.anomalies.rules import Metric
from watcher_server.anomalies.schemas import RulePreview
from watcher_server.anomalies.suggesting import suggest_for

PREVIEW = "/anomaly_detection_rule/preview"
NOW = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)


def past(values: Sequence[float], step: timedelta = timedelta(hours=1)) -> list[PastRun]:
    """Runs with these values, the last of them an hour ago."""
    first = NOW - timedelta(hours=1) - step * (len(values) - 1)
    starts = [first + step * place for place in range(len(values))]
    return [
        PastRun(place + 1, at, at + timedelta(minutes=5), value)
        for place, (at, value) in enumerate(zip(starts, values, strict=True))
    ]


def noisy(count: int, level: float = 1_000.0) -> list[float]:
    dice = Random(5)  # noqa: S311 - noise
    return [float(round(dice.gauss(level, level / 20))) for _ in range(count)]


def rule_for(**fields: Any) -> RulePreview:
    return RulePreview.model_validate({"pipeline_id": 1, "metric_field": "total_rows", **fields})


def store(engine: Engine, runs: Sequence[PastRun]) -> tuple[int, list[int]]:
    with engine.begin() as connection:
        pipeline_id = add_pipeline(connection)
        ids = [
            add_run(
                connection,
                pipeline_id,
                total_rows=round(run.value),
                start_date=run.started_at,
                end_date=run.ended_at,
                hour_recorded=run.started_at.hour,
            )
            for run in runs
        ]
    return pipeline_id, ids


@pytest.mark.parametrize(
    "fields",
    [
        {"method": "mad", "seasonality": "none", "minimum_executions": 10},
        {"seasonality": "hour_of_week", "minimum_executions": 5, "new_normal_after": 4},
        {"alarms_per_month": 4, "minimum_executions": 10},
        {"method": "seasonal", "minimum_executions": 21},
        {"method": "seasonal", "minimum_executions": 21, "lookback_days": 50},
    ],
    ids=["mad", "week hours", "budget", "seasonal", "seasonal, for two months"],
)
def test_a_replay_flags_the_runs_that_the_judgement_flags(engine: Engine, judge: Judge, fields: dict[str, Any]) -> None:
    values = noisy(240)
    values[130:133] = [0.0] * 3
    for place in (90, 150, 151, 200):
        values[place] = 100.0
    values[215:] = [value * 1.6 for value in values[215:]]
    runs = past(values, timedelta(hours=6 if "lookback_days" in fields else 1))
    pipeline_id, ids = store(engine, runs)
    rule = rule_of(rule_for(**fields))
    with engine.begin() as connection:
        add_rule(connection, pipeline_id, **{"minimum_executions": 30, **fields})

    verdicts = replay(rule, runs).verdicts

    for execution_id in ids:
        judge(pipeline_id, execution_id)
    with engine.connect() as connection:
        judged = [flags(connection, execution_id).get("total_rows", False) for execution_id in ids]
    said = [verdict.side != 0 for verdict in verdicts]
    different = [place for place, pair in enumerate(zip(said, judged, strict=True)) if pair[0] != pair[1]]
    assert different == []
    follows = "alarms_per_month" in fields or fields.get("method") == "seasonal"
    assert follows or all(said[place] for place in (90, 150, 151, 200))


async def test_a_preview_says_what_each_method_would_have_done_and_writes_nothing(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    values = noisy(300)
    values[200] = values[201] = values[250] = 0.0
    pipeline_id, ids = store(engine, past(values))

    answer = await client.post(
        PREVIEW,
        json={
            "pipeline_id": pipeline_id,
            "metric_field": "total_rows",
            "minimum_executions": 20,
            "days": 30,
            "executions": 120,
        },
    )

    assert answer.status_code == 200, answer.text
    preview = answer.json()
    assert preview["sentence"].startswith("It would have raised 2 alerts in 30 days")
    assert [method["method"] for method in preview["methods"]] == ["zscore", "mad", "seasonal"]
    chosen = preview["methods"][0]
    assert (chosen["chosen"], chosen["alerts"], chosen["flagged"]) == (True, 2, 3)
    assert [run["id"] for run in chosen["executions"] if run["flagged"]] == [ids[200], ids[201], ids[250]]
    assert len(chosen["executions"]) == 120
    with engine.connect() as connection:
        assert rows(connection, AnomalyDetectionRule) == rows(connection, AnomalyDetectionResult) == []
        assert flags(connection, ids[200]) == {}


async def test_a_preview_without_runs_or_with_too_few_says_so(client: httpx.AsyncClient, engine: Engine) -> None:
    pipeline_id, _ = store(engine, past(noisy(12)))
    body = {"pipeline_id": pipeline_id, "metric_field": "total_rows"}
    few = (await client.post(PREVIEW, json=body)).json()["sentence"]
    none = (await client.post(PREVIEW, json={**body, "metric_field": "updates"})).json()["sentence"]
    assert few.startswith("It would still be learning after the 12 runs of 90 days: it judges from 30 runs")
    assert none.startswith("There were no successful runs with this metric")
    assert (await client.post(PREVIEW, json={**body, "pipeline_id": 99})).status_code == 404
    assert (await client.post(PREVIEW, json={**body, "z_threshold": 11})).status_code == 422


def test_every_method_keeps_to_the_budget_of_alarms() -> None:
    runs = past(noisy(2_200))
    body = rule_for(days=90, executions=0, alarms_per_month=1)
    preview = preview_past(body, rule_of(body), runs, NOW)
    assert [method.judged > 1_900 for method in preview.methods] == [True] * 3
    # A budget of one alarm a month, in three months.
    assert all(method.alerts <= 6 for method in preview.methods)


def test_what_suits_follows_from_the_cadence_and_the_past() -> None:
    hourly = [1_000 * (2 + (place % 24 > 8)) + value for place, value in enumerate(noisy(24 * 30, 100.0))]
    hours = suggest_for(Metric.INSERTS, past(hourly))
    assert (hours.rule.method, hours.rule.lookback_days, hours.rule.minimum_executions) == ("seasonal", 90, 21)
    assert hours.rule.alarms_per_month == 1
    assert "every 1h" in hours.why
    assert "the hour" in hours.why
    weekly = suggest_for(Metric.INSERTS, past(noisy(30), timedelta(days=7)))
    assert (weekly.rule.method, weekly.rule.seasonality, weekly.rule.lookback_days) == ("zscore", "none", 365)
    assert (weekly.rule.minimum_executions, "every 7d" in weekly.why) == (10, True)
    wild = noisy(40)
    wild[::9] = [50_000.0] * 5
    assert suggest_for(Metric.INSERTS, past(wild, timedelta(days=7))).rule.method == "mad"
    assert "too few runs" in suggest_for(Metric.INSERTS, []).why


async def test_a_suggestion_can_be_sent_back_as_a_rule(client: httpx.AsyncClient, engine: Engine) -> None:
    pipeline_id, _ = store(engine, past(noisy(50), timedelta(days=1)))
    found = (await client.get(f"/pipeline/{pipeline_id}/suggested_rule", params={"metric": "total_rows"})).json()
    assert "every 1d" in found["why"]
    made = await client.post("/anomaly_detection_rule", json={**found["rule"], "pipeline_id": pipeline_id})
    assert made.status_code == 201
    rule = (await client.get(f"/anomaly_detection_rule/{made.json()['id']}")).json()
    assert rule["method"] == "seasonal"
    assert (rule["state"], rule["known_executions"], rule["minimum_executions"]) == ("learning", 21, 21)


async def test_a_rule_says_how_many_runs_it_knows(client: httpx.AsyncClient, engine: Engine) -> None:
    pipeline_id, _ = store(engine, past(noisy(12), timedelta(days=1)))
    with engine.begin() as connection:
        rule_id = add_rule(connection, pipeline_id, minimum_executions=30)
    rule = (await client.get(f"/anomaly_detection_rule/{rule_id}")).json()
    assert (rule["state"], rule["known_executions"], rule["minimum_executions"]) == ("learning", 12, 30)


def days_with_holidays() -> tuple[list[PastRun], list[str]]:
    """Daily runs; every fifteenth day is a free one on which little is loaded, the last one too."""
    runs = past(noisy(301), timedelta(days=1))
    free = [run.started_at.date().isoformat() for run in runs[::15]]
    return [
        run._replace(value=run.value / 10) if run.started_at.date().isoformat() in free else run for run in runs
    ], free


@pytest.mark.parametrize(
    "fields",
    [{"seasonality": "weekday", "minimum_executions": 5}, {"method": "seasonal", "minimum_executions": 21}],
    ids=["weekday", "seasonal"],
)
def test_a_holiday_is_a_weekday_of_its_own(engine: Engine, judge: Judge, fields: dict[str, Any]) -> None:
    runs, free = days_with_holidays()
    pipeline_id, ids = store(engine, runs)
    with engine.begin() as connection:
        add_rule(connection, pipeline_id, **{"lookback_days": 365, "holidays": free, **fields})
    assert judge(pipeline_id, ids[-1]) == []
    said = replay(replace(rule_of(rule_for(lookback_days=365, **fields)), holidays=free), runs).verdicts[-1]
    assert said.side == 0

    with engine.begin() as connection:
        connection.execute(update(AnomalyDetectionRule).values(holidays=[]))
    (anomaly,) = judge(pipeline_id, ids[-1])
    assert anomaly.value == round(runs[-1].value)


async def test_holidays_are_dates_and_countries(client: httpx.AsyncClient, engine: Engine) -> None:
    pytest.importorskip("holidays")
    with engine.begin() as connection:
        pipeline_id = add_pipeline(connection)
    body = {"pipeline_id": pipeline_id, "metric_field": "inserts"}
    made = await client.post("/anomaly_detection_rule", json={**body, "holidays": ["de-by", "2026-12-24"]})
    assert made.status_code == 201, made.text
    rule = (await client.get(f"/anomaly_detection_rule/{made.json()['id']}")).json()
    assert rule["holidays"] == ["DE-BY", "2026-12-24"]
    for wrong in (["Atlantis"], ["2026-13-01"], ["XX"], ["DE-XX"]):
        refused = await client.post("/anomaly_detection_rule", json={**body, "holidays": wrong})
        assert refused.status_code == 422
        assert "DE-BY" in refused.text
