"""The band of a rule, for charts: the one that runs are judged by."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, text, update

from tests.anomalies.conftest import Judge
from tests.conftest import MakeClient
from tests.support.live import wait_until
from tests.support.rows import add_history, add_pipeline, add_rule, add_run, ago, now, rows
from watcher_server.anomalies.detection import detect_anomalies, find_expectations
from watcher_server.anomalies.expectations import Moment
from watcher_server.anomalies.models import AnomalyDetectionResult, AnomalyDetectionRule
from watcher_server.anomalies.rules import Rule
from watcher_server.executions.models import PipelineExecution


async def read(client: httpx.AsyncClient, pipeline_id: int, metric: str = "total_rows", **query: Any) -> dict[str, Any]:
    response = await client.get(f"/pipeline/{pipeline_id}/baseline", params={"metric": metric, **query})
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


def pipeline_with(engine: Engine, history: Sequence[float], **rule: Any) -> int:
    with engine.begin() as connection:
        pipeline_id = add_pipeline(connection)
        add_rule(connection, pipeline_id, **rule)
        add_history(connection, pipeline_id, history)
    return pipeline_id


async def test_without_any_run_it_learns(client: httpx.AsyncClient, engine: Engine) -> None:
    pipeline_id = pipeline_with(engine, [])

    band = await read(client, pipeline_id)

    assert band.pop("at")
    assert band == {
        "pipeline_id": pipeline_id,
        "metric_field": "total_rows",
        "rule_id": 1,
        "state": "learning",
        "minimum_executions": 5,
        "execution_count": 0,
        "bucket": "none",
        "mean": None,
        "std": None,
        "lower_bound": None,
        "upper_bound": None,
        "executions": [],
    }


async def test_with_too_few_runs_it_says_how_many(client: httpx.AsyncClient, engine: Engine) -> None:
    band = await read(client, pipeline_with(engine, [1000] * 4))

    assert (band["state"], band["execution_count"], band["mean"], band["upper_bound"]) == ("learning", 4, None, None)
    assert [run["value"] for run in band["executions"]] == [1000] * 4
    assert {run["mean"] for run in band["executions"]} == {None}


async def test_with_enough_it_is_ready_and_has_a_band(client: httpx.AsyncClient, engine: Engine) -> None:
    band = await read(client, pipeline_with(engine, [1000] * 7, z_threshold=2))

    assert (band["state"], band["execution_count"]) == ("ready", 7)
    assert (band["mean"], band["std"], band["lower_bound"], band["upper_bound"]) == (1000, 10, 980, 1020)


async def test_the_runs_of_this_hour_come_first(client: httpx.AsyncClient, engine: Engine) -> None:
    hour = now().hour
    with engine.begin() as connection:
        pipeline_id = add_pipeline(connection)
        add_rule(connection, pipeline_id)
        add_history(connection, pipeline_id, [1000] * 5, hour_recorded=(hour + 12) % 24)
    assert (await read(client, pipeline_id))["bucket"] == "none"
    with engine.begin() as connection:
        # The next hour too, in case the clock strikes.
        for near in (hour, (hour + 1) % 24):
            add_history(connection, pipeline_id, [50] * 5, hour_recorded=near)

    band = await read(client, pipeline_id)

    assert (band["bucket"], band["mean"], band["execution_count"]) == ("hour", 50, 5)


async def test_an_inactive_rule_says_so(client: httpx.AsyncClient, engine: Engine) -> None:
    pipeline_id = pipeline_with(engine, [1000] * 7, active=False)

    band = await read(client, pipeline_id)

    assert (band["state"], band["mean"]) == ("inactive", 1000)


@pytest.mark.parametrize(
    "rule",
    [
        {},
        {"method": "mad"},
        {"seasonality": "none", "z_threshold": 2},
        {"seasonality": "weekday", "minimum_std_percent": 0},
        {"seasonality": "hour_of_week", "direction": "high"},
    ],
    ids=str,
)
async def test_the_band_of_a_run_is_the_one_it_was_judged_by(
    client: httpx.AsyncClient, engine: Engine, judge: Judge, rule: dict[str, Any]
) -> None:
    pipeline_id = pipeline_with(engine, [900, 950, 1000, 1050, 1100, 980, 1020, 990], **rule)
    with engine.begin() as connection:
        run = add_run(connection, pipeline_id, total_rows=5000, end_date=ago(hours=1))
        # A later run is no part of it.
        add_run(connection, pipeline_id, total_rows=1234, end_date=ago(minutes=1))
    assert judge(pipeline_id, run)
    with engine.connect() as connection:
        (result,) = rows(connection, AnomalyDetectionResult)

    later, judged, *earlier = (await read(client, pipeline_id))["executions"]

    assert (judged["id"], judged["value"], judged["flagged"]) == (run, 5000, True)
    assert (judged["mean"], judged["std"]) == (result["historical_mean"], result["historical_std"])
    assert (judged["lower_bound"], judged["upper_bound"]) == (result["lower_bound"], result["upper_bound"])
    assert judged["execution_count"] == result["execution_count"] == 8
    assert judged["bucket"] == result["context"]["seasonality"]
    assert (later["value"], later["flagged"], later["execution_count"]) == (1234, False, 8)
    assert len(earlier) == 8


async def test_a_failed_or_running_run_has_no_band(client: httpx.AsyncClient, engine: Engine) -> None:
    pipeline_id = pipeline_with(engine, [1000] * 6)
    with engine.begin() as connection:
        add_run(connection, pipeline_id, total_rows=0, completed_successfully=False)
        add_run(connection, pipeline_id, end_date=None)
        without = add_run(connection, pipeline_id)

    band = await read(client, pipeline_id)

    assert len(band["executions"]) == 7
    assert (band["executions"][0]["id"], band["executions"][0]["value"]) == (without, None)
    assert band["execution_count"] == 6


@pytest.mark.parametrize(("asked", "got"), [(0, 0), (1, 1), (3, 3), (200, 40), (None, 30)])
async def test_it_shows_as_many_runs_as_asked_the_newest_first(
    client: httpx.AsyncClient, engine: Engine, asked: int | None, got: int
) -> None:
    pipeline_id = pipeline_with(engine, list(range(1000, 1040)), lookback_days=365)

    band = await (read(client, pipeline_id) if asked is None else read(client, pipeline_id, executions=asked))

    values = [run["value"] for run in band["executions"]]
    assert values == list(range(1039, 999, -1))[:got]


async def test_the_metric_is_trimmed_and_lower_cased(client: httpx.AsyncClient, engine: Engine) -> None:
    assert (await read(client, pipeline_with(engine, []), " Total_Rows "))["metric_field"] == "total_rows"


async def test_huge_numbers_are_shown(client: httpx.AsyncClient, engine: Engine) -> None:
    band = await read(client, pipeline_with(engine, [2**63 - 1] * 6, seasonality="none"))

    assert band["mean"] == pytest.approx(2**63)
    assert band["executions"][0]["value"] == pytest.approx(2**63)


async def test_a_pipeline_or_a_rule_that_does_not_exist_is_a_404(client: httpx.AsyncClient, engine: Engine) -> None:
    pipeline_id = pipeline_with(engine, [])

    unknown = await client.get(f"/pipeline/{2**62}/baseline", params={"metric": "inserts"})
    without_rule = await client.get(f"/pipeline/{pipeline_id}/baseline", params={"metric": "inserts"})

    assert (unknown.status_code, without_rule.status_code) == (404, 404)
    assert unknown.json() == {"detail": f"No pipeline has the id {2**62}."}
    assert without_rule.json() == {"detail": f"Pipeline {pipeline_id} has no anomaly detection rule for inserts."}


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"metric": ""},
        {"metric": "rows"},
        {"metric": "inserts", "executions": -1},
        {"metric": "inserts", "executions": 201},
        {"metric": "inserts", "executions": "all"},
    ],
    ids=str,
)
async def test_what_cannot_be_asked_is_a_422(client: httpx.AsyncClient, engine: Engine, query: dict[str, Any]) -> None:
    pipeline_id = pipeline_with(engine, [])

    assert (await client.get(f"/pipeline/{pipeline_id}/baseline", params=query)).status_code == 422
    assert (await client.get(f"/pipeline/{2**63}/baseline", params={"metric": "inserts"})).status_code == 422


async def test_after_a_new_normal_it_learns_anew(client: httpx.AsyncClient, engine: Engine) -> None:
    pipeline_id = pipeline_with(engine, [1000] * 8)
    assert (await read(client, pipeline_id))["state"] == "ready"
    with engine.begin() as connection:
        accepted = {"normal_from": ago(days=3.5), "normal_until": now()}
        connection.execute(update(AnomalyDetectionRule).values(accepted))

    band = await read(client, pipeline_id)

    assert (band["state"], band["execution_count"]) == ("learning", 3)
    # Those from before it are shown as they were judged then.
    assert [run["execution_count"] for run in band["executions"]] == [2, 1, 0, 4, 3, 2, 1, 0]


FIRST_DAY, LAST_DAY = datetime(1, 1, 2, tzinfo=UTC), datetime(9999, 12, 31, 12, tzinfo=UTC)


@pytest.mark.parametrize("method", ["zscore", "mad", "seasonal"])
@pytest.mark.parametrize("last", [FIRST_DAY, LAST_DAY], ids=["first year", "last year"])
async def test_the_first_and_the_last_day_there_is_have_bands(
    client: httpx.AsyncClient, engine: Engine, method: str, last: datetime
) -> None:
    starts = [last - timedelta(hours=12 * number) for number in range(2 if last.year == 1 else 150)]
    with engine.begin() as connection:
        pipeline_id = add_pipeline(connection)
        add_rule(connection, pipeline_id, method=method, lookback_days=90)
        for start in starts:
            add_run(
                connection, pipeline_id, start_date=start, end_date=start + timedelta(minutes=5), total_rows=start.day
            )

    band = await read(client, pipeline_id, executions=2)

    assert len(band["executions"]) == 2
    assert all((run["mean"] is None) == (last.year == 1) for run in band["executions"])


async def test_bands_that_take_long_keep_nobody_else_waiting(make_client: MakeClient, engine: Engine) -> None:
    pipeline_id = pipeline_with(engine, [1000] * 6)
    waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'pipeline_execution'::regclass")

    async with make_client(query_pool_size=1) as client:
        with engine.begin() as holder:
            holder.execute(text("LOCK TABLE pipeline_execution"))
            bands = [asyncio.create_task(read(client, pipeline_id)) for _ in range(3)]
            await asyncio.to_thread(wait_until, lambda: holder.scalar(waiting) == 2, "two bands wait")
            others = await client.get("/pipeline_type")

        assert others.status_code == 200, others.text
        assert {band["state"] for band in await asyncio.gather(*bands)} == {"ready"}


async def test_seasonal_bands_are_the_judged_ones_and_follow_what_changes(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    values = [1000 + 40 * (day % 7) + day % 3 for day in range(50)]
    # A collapse that nobody accepted is not learnt.
    pipeline_id = pipeline_with(engine, [*values, *[0] * 12, *values[:8]], method="seasonal", minimum_executions=21)
    with engine.begin() as connection:
        runs = [(run["pipeline_id"], run["id"]) for run in rows(connection, PipelineExecution)]
        for run in runs:
            detect_anomalies(connection, *run, alert_max_age_hours=1)

    def judged_bands() -> list[Any]:
        with engine.connect() as connection:
            (stored,) = rows(connection, AnomalyDetectionRule)
            rule = Rule.of(SimpleNamespace(**stored), metric="total_rows")
            found = [
                (run["id"], find_expectations(connection, pipeline_id, moment_of(run), [rule])[rule.id])
                for run in rows(connection, PipelineExecution)
            ]
        return [(id_, None if e.within is None else (e.within.lower, e.within.upper)) for id_, e in sorted(found)]

    async def shown_bands() -> list[Any]:
        shown = (await read(client, pipeline_id, executions=200))["executions"]
        return [
            (run["id"], None if run["mean"] is None else (run["lower_bound"], run["upper_bound"]))
            for run in sorted(shown, key=lambda run: int(run["id"]))
        ]

    before = judged_bands()
    assert sum(band is not None for _, band in before) == 50 - 21 + 20
    assert await shown_bands() == before
    assert await shown_bands() == before
    with engine.begin() as connection:
        connection.execute(update(PipelineExecution).where(PipelineExecution.id == runs[30][1]).values(total_rows=3000))
    assert await shown_bands() == judged_bands() != before


def moment_of(run: dict[str, Any]) -> Moment:
    return Moment(run["start_date"], run["end_date"], run["hour_recorded"], run["date_recorded"])
