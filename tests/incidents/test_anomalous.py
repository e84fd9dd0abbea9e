"""Anomalies as incidents: opened, joined, ended by what was judged, and those of one table as one."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, text

from tests.anomalies.conftest import Judge, Reporting, add_usual_runs, judge, reporting
from tests.incidents.passing import incidents, let_pass, sweep, told, wait
from tests.support.live import wait_until
from tests.support.rows import add_pipeline, add_rule, ago, alerts, change_pipeline
from watcher_server.anomalies.detection import detect_anomalies

__all__ = ["judge"]


@pytest.fixture
def pipeline(engine: Engine, judge: Judge) -> Reporting:
    """Five runs of 1,000 rows and inserts; both are watched."""
    found = reporting(engine, judge, ago(hours=5), new_normal_after=None)
    with engine.begin() as connection:
        add_rule(connection, found.pipeline_id, "inserts", seasonality="none", new_normal_after=None)
        connection.execute(text("UPDATE pipeline_execution SET inserts = 1000"))
    return found


def state(pipeline: Reporting) -> tuple[str, int | None]:
    incident = incidents(pipeline.engine)[-1]
    return incident["state"], incident["execution_id"]


def test_a_usual_run_that_is_judged_ends_it(pipeline: Reporting) -> None:
    first, second = pipeline.run(1, inserts=1000), pipeline.run(1, inserts=1000)
    assert state(pipeline) == ("open", second)
    assert len(told(pipeline.engine)) == 1

    pipeline.run(1000, inserts=1000)

    assert state(pipeline) == ("resolved", second)
    wait(pipeline.engine, minutes=2)
    assert told(pipeline.engine)[1:] == ["RESOLVED Pipeline 'orders' (ID: 1) usual again"]
    assert first < second


def test_a_run_that_fails_or_is_not_judged_ends_nothing(pipeline: Reporting) -> None:
    anomalous = pipeline.run(1, inserts=1000)
    pipeline.add(total_rows=1000, inserts=1000)
    failed = pipeline.add(total_rows=1000, inserts=1000, completed_successfully=False)
    pipeline.judge(1, failed)
    sweep(pipeline.engine)

    assert state(pipeline) == ("open", anomalous)


def test_a_run_without_the_metric_that_was_out_of_range_ends_nothing(pipeline: Reporting) -> None:
    anomalous = pipeline.run(1, inserts=1000)
    silent = pipeline.add(inserts=1000)
    pipeline.judge(1, silent)
    assert state(pipeline) == ("open", anomalous)

    pipeline.run(1000)

    assert state(pipeline)[0] == "resolved"


def test_another_metric_is_told_while_the_first_is_out_of_range(pipeline: Reporting) -> None:
    pipeline.run(1, inserts=1000)
    began = incidents(pipeline.engine)[0]["since"]
    pipeline.run(1, inserts=1)
    pipeline.run(1, inserts=1)

    (incident,) = incidents(pipeline.engine)
    assert len(told(pipeline.engine)) == 2
    assert (incident["since"], incident["flapping"]) == (began, False)


def test_runs_that_are_judged_in_another_order_end_in_the_same(pipeline: Reporting) -> None:
    add_usual_runs(pipeline, inserts=1000)
    first, usual, last = (pipeline.add(total_rows=rows, inserts=1000) for rows in (1, 1000, 1))
    pipeline.judge(1, last)
    pipeline.judge(1, first)
    assert state(pipeline) == ("open", last)

    pipeline.judge(1, usual)

    assert state(pipeline) == ("open", last)


def test_an_older_anomaly_behind_a_usual_run_is_over_when_it_is_found(pipeline: Reporting) -> None:
    first, usual = (pipeline.add(total_rows=rows, inserts=1000) for rows in (1, 1000))
    pipeline.judge(1, usual)
    with pipeline.engine.begin() as connection:
        task = """
            INSERT INTO task (id, name, kwargs, queue, state, created_at, pipeline_execution_id)
            VALUES (gen_random_uuid(), 'detect_anomalies_task', '{}', 'celery', 'SUCCESS', now(), :run)
        """
        connection.execute(text(task), {"run": usual})
    pipeline.judge(1, first)
    wait(pipeline.engine, minutes=3)

    assert state(pipeline) == ("resolved", first)
    assert len(told(pipeline.engine)) == 1


def waits_for_a_lock(engine: Engine) -> bool:
    statement = (
        "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock')"
    )
    with engine.connect() as connection:
        return bool(connection.scalar(text(statement)))


def test_a_usual_run_that_waits_for_the_judgement_of_an_older_anomaly_ends_it(pipeline: Reporting) -> None:
    first, usual = (pipeline.add(total_rows=rows, inserts=1000) for rows in (1, 1000))
    with ThreadPoolExecutor(1) as pool:
        with pipeline.engine.begin() as connection:
            detect_anomalies(connection, pipeline.pipeline_id, first, alert_max_age_hours=24)
            judged = pool.submit(pipeline.judge, pipeline.pipeline_id, usual)
            wait_until(lambda: waits_for_a_lock(pipeline.engine), "the later run waiting")
        judged.result()

    assert state(pipeline) == ("resolved", first)


def test_a_rule_that_is_not_active_any_more_calls_nothing_anomalous(pipeline: Reporting) -> None:
    pipeline.run(1, inserts=1000)
    with pipeline.engine.begin() as connection:
        connection.execute(text("UPDATE anomaly_detection_rule SET active = false WHERE metric_field = 'total_rows'"))

    assert sweep(pipeline.engine) == 1


def test_a_pipeline_that_is_not_active_any_more_is_paused(pipeline: Reporting) -> None:
    pipeline.run(1, inserts=1000)
    with pipeline.engine.begin() as connection:
        change_pipeline(connection, 1, active=False)
    sweep(pipeline.engine)

    assert incidents(pipeline.engine)[0]["resolution"] == "paused"


async def test_unflagging_all_ends_it(pipeline: Reporting, engine: Engine, make_client: Any) -> None:
    run_id = pipeline.run(1, inserts=1)
    async with make_client() as client:
        for metric, expected in (("inserts", "open"), ("total_rows", "resolved")):
            body = {"pipeline_id": 1, "pipeline_execution_id": run_id, "metric_field": [metric]}
            (await unflag(client, body)).raise_for_status()
            assert state(pipeline)[0] == expected


async def unflag(client: httpx.AsyncClient, body: dict[str, Any]) -> httpx.Response:
    return await client.post("/unflag_anomaly", json=body)


async def test_accepting_the_level_by_hand_ends_it(pipeline: Reporting, make_client: Any) -> None:
    run_id = pipeline.run(1, inserts=1000)
    body = {"pipeline_id": 1, "pipeline_execution_id": run_id, "metric_field": ["total_rows"]}
    async with make_client() as client:
        (await client.post("/accept_new_normal", json=body)).raise_for_status()

    assert state(pipeline)[0] == "resolved"


def test_a_level_that_becomes_normal_by_itself_ends_it_in_one_message(engine: Engine, judge: Judge) -> None:
    pipeline = reporting(engine, judge, ago(hours=5))
    pipeline.runs(200, 200, 200)
    assert [message.split(" for ")[0] for message in told(engine)] == ["WARNING Anomalies Detected", "INFO New Normal"]
    wait(engine, minutes=3)

    assert (state(pipeline)[0], len(told(engine))) == ("resolved", 2)


def test_what_is_explained_speaks_once_and_is_told_again_for_nothing(engine: Engine, judge: Judge) -> None:
    """The second run of one event is no other occurrence, though no message told the first."""
    loads = [_load(engine, judge, name) for name in ("orders", "customers")]
    runs = [load.run(1) for load in loads]
    loads[1].run(1)
    loads[1].run(1)

    first, second = incidents(engine)
    assert (second["root_id"], second["told_at"], second["count"]) == (first["id"], None, 3)
    assert second["version"] == 2
    assert len(told(engine)) == 1
    assert runs


_LINEAGE = (
    "INSERT INTO address_type (name, group_name) VALUES ('table', 'database') ON CONFLICT DO NOTHING",
    """
    INSERT INTO address (name, address_type_id) SELECT name, 1 FROM (VALUES (:target), (:source)) AS new (name)
    ON CONFLICT DO NOTHING
    """,
    """
    INSERT INTO address_lineage (pipeline_id, source_address_id, target_address_id)
    SELECT :id, source.id, target.id FROM address AS source, address AS target
    WHERE source.name = :source AND target.name = :target
    """,
)


def _load(engine: Engine, judge: Judge, name: str, target: str = "sales.facts") -> Reporting:
    """A pipeline of its own that writes that table."""
    with engine.begin() as connection:
        pipeline_id = add_pipeline(connection, name)
        add_rule(connection, pipeline_id, seasonality="none", new_normal_after=None)
        names = {"id": pipeline_id, "source": f"raw.{name}", "target": target}
        for statement in _LINEAGE:
            connection.execute(text(statement), names)
    found = Reporting(engine, judge, pipeline_id, ago(hours=3))
    for _ in range(5):
        found.add(total_rows=1000)
    return found


def test_loads_of_one_table_that_are_out_of_range_together_are_one_message(engine: Engine, judge: Judge) -> None:
    loads = [_load(engine, judge, name) for name in ("orders", "customers", "returns")]
    other = _load(engine, judge, "prices", target="sales.prices")
    for load in (*loads, other):
        load.run(1)

    assert [incident["root_id"] for incident in incidents(engine)] == [None, 1, 1, None]
    with engine.connect() as connection:
        first, second = alerts(connection)
    assert first["message"].startswith("Anomalies Detected for Pipeline 'orders'")
    assert first["details"][-2:] == [["Tables", "sales.facts"], ["Also out of range", "customers, returns"]]
    assert second["message"].startswith("Anomalies Detected for Pipeline 'prices'")


def test_a_load_that_is_out_of_range_later_speaks_for_itself(engine: Engine, judge: Judge) -> None:
    loads = [_load(engine, judge, name) for name in ("orders", "customers")]
    loads[0].run(1)
    with engine.begin() as connection:
        let_pass(connection, seconds=31)
    loads[1].ended_at -= timedelta(seconds=31)
    loads[1].run(1)

    assert [incident["root_id"] for incident in incidents(engine)] == [None, None]
    assert len(told(engine)) == 2


def test_what_ended_long_ago_opens_nothing(engine: Engine, judge: Judge) -> None:
    pipeline = reporting(engine, judge, ago(hours=30))
    pipeline.run(1)

    assert incidents(engine) == []


def test_a_criticality_moves_the_level(engine: Engine, judge: Judge) -> None:
    pipeline = reporting(engine, judge, ago(hours=5))
    with engine.begin() as connection:
        change_pipeline(connection, 1, criticality="low")
    pipeline.run(1)

    assert incidents(engine)[0]["level"] == "INFO"
