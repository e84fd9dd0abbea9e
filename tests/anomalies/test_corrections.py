"""What people say of a verdict: no anomaly after all, or the new normal."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine

from tests.anomalies.conftest import Judge
from tests.support.rows import add_history, add_pipeline, add_rule, add_run, ago, alerts, flags, rows
from watcher_server.anomalies.models import AnomalyDetectionResult, AnomalyDetectionRule, AnomalyEvent

RULE = "/anomaly_detection_rule"
METRICS = ("inserts", "total_rows")


@pytest.fixture
def flagged_runs(engine: Engine, judge: Judge) -> tuple[int, list[int]]:
    """A pipeline of 1,000 rows a run and its last three runs, of 2,000: one event per metric; the ids."""
    with engine.begin() as connection:
        pipeline_id = add_pipeline(connection)
        for metric in METRICS:
            add_rule(connection, pipeline_id, metric, seasonality="none", new_normal_after=None)
        add_history(connection, pipeline_id, [1000] * 6, inserts=1000)
        runs = [
            add_run(connection, pipeline_id, total_rows=2000, inserts=2000, end_date=ago(hours=hours))
            for hours in (5, 4, 3)
        ]
    for run in runs:
        assert len(judge(pipeline_id, run)) == 2
    return pipeline_id, runs


def event(engine: Engine, metric: str = "total_rows") -> dict[str, Any]:
    with engine.connect() as connection:
        (found,) = [row for row in rows(connection, AnomalyEvent) if row["metric_field"] == metric]
    return found


def rule(engine: Engine, metric: str = "total_rows") -> dict[str, Any]:
    with engine.connect() as connection:
        (found,) = [row for row in rows(connection, AnomalyDetectionRule) if row["metric_field"] == metric]
    return found


def add_later_run(engine: Engine, pipeline_id: int, value: int, *, hours_ago: float = 1) -> int:
    with engine.begin() as connection:
        ended = ago(hours=hours_ago)
        return add_run(connection, pipeline_id, total_rows=value, inserts=value, end_date=ended)


async def post(
    client: httpx.AsyncClient, path: str, pipeline_id: Any, run: Any, metrics: Any = ("total_rows",)
) -> httpx.Response:
    body = {"pipeline_id": pipeline_id, "pipeline_execution_id": run, "metric_field": metrics}
    return await client.post(path, json=body)


async def unflag(client: httpx.AsyncClient, pipeline_id: int, run: int, *metrics: str) -> None:
    response = await post(client, "/unflag_anomaly", pipeline_id, run, metrics)
    assert response.status_code == 204, response.text


async def accept(client: httpx.AsyncClient, pipeline_id: int, run: int, *metrics: str) -> list[dict[str, Any]]:
    response = await post(client, "/accept_new_normal", pipeline_id, run, metrics)
    assert response.status_code == 200, response.text
    changed: list[dict[str, Any]] = response.json()
    return changed


async def test_unflagging_a_run_takes_it_out_of_its_event(
    client: httpx.AsyncClient, engine: Engine, flagged_runs: tuple[int, list[int]]
) -> None:
    pipeline_id, (first, second, third) = flagged_runs
    before = event(engine)
    assert before["execution_count"] == 3

    await unflag(client, pipeline_id, second, "total_rows")

    after = event(engine)
    assert after["execution_count"] == 2
    assert (after["first_execution_id"], after["last_execution_id"]) == (first, third)
    assert (after["started_at"], after["last_at"]) == (before["started_at"], before["last_at"])
    assert event(engine, "inserts")["execution_count"] == 3


@pytest.mark.parametrize("position", [0, 2])
async def test_an_event_begins_and_ends_with_the_runs_that_are_left(
    client: httpx.AsyncClient, engine: Engine, flagged_runs: tuple[int, list[int]], position: int
) -> None:
    pipeline_id, runs = flagged_runs
    before = event(engine)

    await unflag(client, pipeline_id, runs[position], "total_rows")

    left = [run for run in runs if run != runs[position]]
    after = event(engine)
    assert (after["first_execution_id"], after["last_execution_id"]) == (left[0], left[-1])
    moved = "started_at" if position == 0 else "last_at"
    kept = "last_at" if position == 0 else "started_at"
    assert after[kept] == before[kept]
    assert abs(after[moved] - before[moved]) >= timedelta(minutes=59)


async def test_an_event_without_runs_is_gone(
    client: httpx.AsyncClient, engine: Engine, flagged_runs: tuple[int, list[int]]
) -> None:
    pipeline_id, runs = flagged_runs

    for run in runs:
        await unflag(client, pipeline_id, run, *METRICS)

    with engine.connect() as connection:
        assert rows(connection, AnomalyEvent) == rows(connection, AnomalyDetectionResult) == []
        assert flags(connection, runs[0]) == dict.fromkeys(METRICS, False)
    assert (await client.get("/anomaly_event")).json() == []


async def test_after_unflagging_all_the_next_anomaly_is_a_new_event_with_an_alert(
    client: httpx.AsyncClient, engine: Engine, judge: Judge, flagged_runs: tuple[int, list[int]]
) -> None:
    pipeline_id, runs = flagged_runs
    for run in runs:
        await unflag(client, pipeline_id, run, *METRICS)

    judge(pipeline_id, add_later_run(engine, pipeline_id, 9_000))

    assert event(engine)["execution_count"] == 1
    with engine.connect() as connection:
        assert len(alerts(connection)) == 2


async def test_unflagging_while_the_next_run_is_judged_leaves_no_event_without_runs(
    client: httpx.AsyncClient, engine: Engine, judge: Judge
) -> None:
    with ThreadPoolExecutor(1) as pool:
        for number in range(10):
            with engine.begin() as connection:
                pipeline_id = add_pipeline(connection, f"orders {number}")
                add_rule(connection, pipeline_id, seasonality="none", new_normal_after=None)
                for minutes in range(20):
                    add_run(connection, pipeline_id, total_rows=1000, end_date=ago(days=2, minutes=minutes))
            first, second = (add_later_run(engine, pipeline_id, 9_000, hours_ago=hours) for hours in (2, 1))
            assert judge(pipeline_id, first)
            judged = asyncio.get_running_loop().run_in_executor(pool, judge, pipeline_id, second)
            unflagged, _ = await asyncio.gather(post(client, "/unflag_anomaly", pipeline_id, first), judged)
            assert unflagged.status_code == 204, unflagged.text

    with engine.connect() as connection:
        results = [row["event_id"] for row in rows(connection, AnomalyDetectionResult)]
        events = {row["id"]: row["execution_count"] for row in rows(connection, AnomalyEvent)}
    assert events == {event_id: results.count(event_id) for event_id in results}


async def test_an_accepted_level_is_normal_from_that_run_on(
    client: httpx.AsyncClient, engine: Engine, judge: Judge, flagged_runs: tuple[int, list[int]]
) -> None:
    pipeline_id, (first, *_) = flagged_runs

    (changed,) = await accept(client, pipeline_id, first, "total_rows")

    stored = rule(engine)
    assert changed == (await client.get(f"{RULE}/{stored['id']}")).json()
    assert stored["normal_from"] == event(engine)["started_at"]
    assert stored["normal_until"] > event(engine)["last_at"]
    assert event(engine)["accepted_at"] is not None
    assert event(engine, "inserts")["accepted_at"] is None
    assert rule(engine, "inserts")["normal_from"] is None
    # The three that were flagged and the two after them are five values: enough.
    for hours in (2, 1.9, 1):
        run = add_later_run(engine, pipeline_id, 2000, hours_ago=hours)
        assert [anomaly.metric for anomaly in judge(pipeline_id, run)] == ["inserts"]
    back = add_later_run(engine, pipeline_id, 1000, hours_ago=0.5)
    assert [anomaly.metric for anomaly in judge(pipeline_id, back)] == ["total_rows"]
    with engine.connect() as connection:
        (result,) = [row for row in rows(connection, AnomalyDetectionResult) if row["pipeline_execution_id"] == back]
    assert (result["historical_mean"], result["execution_count"]) == (2000, 6)


async def test_after_accepting_the_same_level_is_a_new_event_on_the_other_side_only(
    client: httpx.AsyncClient, engine: Engine, judge: Judge, flagged_runs: tuple[int, list[int]]
) -> None:
    pipeline_id, (first, *_) = flagged_runs
    await accept(client, pipeline_id, first, *METRICS)
    for hours in (2, 1.9):
        judge(pipeline_id, add_later_run(engine, pipeline_id, 2000, hours_ago=hours))

    higher = add_later_run(engine, pipeline_id, 5000)
    judge(pipeline_id, higher)

    events = (await client.get("/anomaly_event", params={"metric_field": "TOTAL_ROWS"})).json()
    assert [found["execution_count"] for found in events] == [3, 1]
    assert events[1]["first_execution_id"] == higher
    accepted = (await client.get("/anomaly_event", params={"accepted": True})).json()
    assert sorted(found["metric_field"] for found in accepted) == sorted(METRICS)
    open_ones = (await client.get("/anomaly_event", params={"accepted": False, "pipeline_id": pipeline_id})).json()
    assert [found["execution_count"] for found in open_ones] == [1, 1]


async def test_accepting_is_undone_by_normal_from_null(
    client: httpx.AsyncClient, engine: Engine, judge: Judge, flagged_runs: tuple[int, list[int]]
) -> None:
    pipeline_id, (first, *_) = flagged_runs
    await accept(client, pipeline_id, first, "total_rows")

    undone = await client.patch(RULE, json={"id": rule(engine)["id"], "normal_from": None})

    assert undone.status_code == 200
    assert (undone.json()["normal_from"], undone.json()["normal_until"]) == (None, None)
    run = add_later_run(engine, pipeline_id, 2000)
    (anomaly,) = [anomaly for anomaly in judge(pipeline_id, run) if anomaly.metric == "total_rows"]
    assert (anomaly.within.mean, anomaly.expectation.execution_count) == (1000, 6)


async def test_normal_from_can_be_set_by_hand(
    client: httpx.AsyncClient, engine: Engine, flagged_runs: tuple[int, list[int]]
) -> None:
    moment = ago(hours=6).replace(microsecond=0)

    answer = await client.patch(RULE, json={"id": rule(engine)["id"], "normal_from": moment.isoformat()})

    assert datetime.fromisoformat(answer.json()["normal_from"]) == moment
    assert datetime.fromisoformat(answer.json()["normal_until"]) > moment
    assert flagged_runs


async def test_metrics_without_a_rule_are_passed_over(
    client: httpx.AsyncClient, flagged_runs: tuple[int, list[int]]
) -> None:
    pipeline_id, (first, *_) = flagged_runs

    changed = await accept(client, pipeline_id, first, " Total_Rows ", "updates")

    assert [found["metric_field"] for found in changed] == ["total_rows"]


@pytest.mark.parametrize("path", ["/accept_new_normal", "/unflag_anomaly"])
async def test_more_names_than_anybody_means_are_refused(
    client: httpx.AsyncClient, engine: Engine, flagged_runs: tuple[int, list[int]], path: str
) -> None:
    pipeline_id, (first, *_) = flagged_runs
    names = ["total_rows", *("nonsense" for _ in range(70_000))]

    refused = await post(client, path, pipeline_id, first, names)
    untouched = event(engine)
    taken = await post(client, path, pipeline_id, first, names[:100])

    assert refused.status_code == 422
    assert untouched["accepted_at"] is None
    assert untouched["execution_count"] == 3
    assert taken.is_success, taken.text


@pytest.mark.parametrize("path", ["/accept_new_normal", "/unflag_anomaly"])
async def test_what_does_not_exist_is_a_404(
    client: httpx.AsyncClient, engine: Engine, flagged_runs: tuple[int, list[int]], path: str
) -> None:
    pipeline_id, (run, *_) = flagged_runs

    answers = [
        await post(client, path, pipeline_id, 2**62),
        await post(client, path, pipeline_id, 0),
        await post(client, path, pipeline_id + 1, run),
        await post(client, path, pipeline_id, run, ["updates"]),
        await post(client, path, pipeline_id, run, ["nonsense"]),
    ]

    assert [answer.status_code for answer in answers] == [404] * 5
    assert event(engine)["accepted_at"] is None
    assert event(engine)["execution_count"] == 3


@pytest.mark.parametrize("fields", [{"completed_successfully": False}, {"end_date": None}], ids=["failed", "running"])
async def test_only_a_success_can_be_accepted(
    client: httpx.AsyncClient, engine: Engine, flagged_runs: tuple[int, list[int]], fields: dict[str, Any]
) -> None:
    pipeline_id, _ = flagged_runs
    with engine.begin() as connection:
        run = add_run(connection, pipeline_id, total_rows=7, **fields)

    answer = await post(client, "/accept_new_normal", pipeline_id, run)

    assert answer.status_code == 409
    assert "has not ended successfully" in answer.json()["detail"]
    assert rule(engine)["normal_from"] is None


@pytest.mark.parametrize("path", ["/accept_new_normal", "/unflag_anomaly"])
@pytest.mark.parametrize(
    "fields",
    [
        {"metric_field": []},
        {"metric_field": None},
        {"metric_field": "inserts"},
        {"metric_field": [None]},
        {"metric_field": [1]},
        {"metric_field": ["a\x00"]},
        {"metric_field": ["x" * 51]},
        {"pipeline_id": None},
        {"pipeline_id": "x"},
        {"pipeline_id": 2**63},
        {"pipeline_execution_id": None},
        {"pipeline_execution_id": 2**63},
        {"pipeline_execution_id": 1.5},
    ],
)
async def test_what_cannot_be_is_a_422(client: httpx.AsyncClient, path: str, fields: dict[str, Any]) -> None:
    body = {"pipeline_id": 1, "pipeline_execution_id": 1, "metric_field": ["inserts"], **fields}

    assert (await client.post(path, json=body)).status_code == 422


@pytest.mark.parametrize("path", ["/accept_new_normal", "/unflag_anomaly"])
@pytest.mark.parametrize("content", ["", "[]", "null", "{", '"x"', "{}"])
async def test_what_is_no_such_object_is_a_422(client: httpx.AsyncClient, path: str, content: str) -> None:
    answer = await client.post(path, content=content, headers={"Content-Type": "application/json"})

    assert answer.status_code == 422


async def reflag(client: httpx.AsyncClient, pipeline_id: int, run: int, *metrics: str) -> httpx.Response:
    return await post(client, "/reflag_anomaly", pipeline_id, run, metrics)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
async def test_unflagging_a_whole_event_can_be_undone(
    client: httpx.AsyncClient, engine: Engine, flagged_runs: tuple[int, list[int]], order: tuple[int, ...]
) -> None:
    pipeline_id, runs = flagged_runs
    with engine.connect() as connection:
        before = rows(connection, AnomalyDetectionResult), rows(connection, AnomalyEvent)
    for run in runs:
        await unflag(client, pipeline_id, run, *METRICS)

    for place in order:
        answer = await reflag(client, pipeline_id, runs[place], *METRICS)
        assert answer.status_code == 204, answer.text

    with engine.connect() as connection:
        assert (rows(connection, AnomalyDetectionResult), rows(connection, AnomalyEvent)) == before
        assert all(flags(connection, run) == dict.fromkeys(METRICS, True) for run in runs)
    incidents = (await client.get("/incident", params={"kind": "anomalous"})).json()
    assert [incident["state"] for incident in incidents] == ["open"]


async def test_one_run_comes_back_to_the_event_that_the_others_kept(
    client: httpx.AsyncClient, engine: Engine, flagged_runs: tuple[int, list[int]]
) -> None:
    pipeline_id, runs = flagged_runs
    before = event(engine)
    await unflag(client, pipeline_id, runs[2], "total_rows")
    assert event(engine)["execution_count"] == 2

    assert (await reflag(client, pipeline_id, runs[2], "total_rows")).status_code == 204

    assert event(engine) == before
    # There is nothing left to put back.
    again = await reflag(client, pipeline_id, runs[2], "total_rows")
    assert again.status_code == 404
    assert "no flag for total_rows that was cleared" in again.text
    assert (await reflag(client, pipeline_id, 10**9, "total_rows")).status_code == 404


async def test_an_acceptance_that_is_taken_back_opens_its_events_again(
    client: httpx.AsyncClient, engine: Engine, flagged_runs: tuple[int, list[int]]
) -> None:
    pipeline_id, runs = flagged_runs
    await accept(client, pipeline_id, runs[0], "total_rows")
    assert event(engine)["accepted_at"] is not None

    answer = await client.patch(RULE, json={"id": rule(engine)["id"], "normal_from": None})

    assert answer.status_code == 200
    assert event(engine)["accepted_at"] is None


async def test_taking_back_a_second_acceptance_puts_back_the_first(
    client: httpx.AsyncClient, engine: Engine, judge: Judge, flagged_runs: tuple[int, list[int]]
) -> None:
    pipeline_id, runs = flagged_runs
    await accept(client, pipeline_id, runs[0], "total_rows")
    first = rule(engine)
    for hours in (2, 1.9):
        judge(pipeline_id, add_later_run(engine, pipeline_id, 2000, hours_ago=hours))
    higher = add_later_run(engine, pipeline_id, 9000)
    judge(pipeline_id, higher)
    await accept(client, pipeline_id, higher, "total_rows")

    def accepted() -> list[bool]:
        with engine.connect() as connection:
            events = [row for row in rows(connection, AnomalyEvent) if row["metric_field"] == "total_rows"]
        return [row["accepted_at"] is not None for row in events]

    assert accepted() == [True, True]
    with engine.connect() as connection:
        second = max(row["id"] for row in rows(connection, AnomalyEvent) if row["metric_field"] == "total_rows")
    taken_back = await client.post(f"/ui/anomalies/{second}/take-back")
    assert taken_back.status_code == 303
    assert accepted() == [True, False]
    assert [rule(engine)[name] for name in ("normal_from", "normal_until")] == [
        first["normal_from"],
        first["normal_until"],
    ]

    again = await client.post(f"/ui/pipelines/{pipeline_id}/rules/{first['id']}/forget")
    assert again.status_code == 303
    assert accepted() == [False, False]
    assert (rule(engine)["normal_from"], rule(engine)["former_normals"]) == (None, [])
