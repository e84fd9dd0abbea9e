"""Jobs whose pipeline was there before them, and is reported by something else, too."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine

from tests.openlineage.known import edges, executions, pipelines, rows, write
from tests.support.openlineage import dataset, later, output, run_event, send

NOW = datetime.now(UTC)

# What people set.
BY_HAND: dict[str, Any] = {
    "schedule": "0 3 * * *",
    "schedule_timezone": "Europe/Berlin",
    "schedule_grace_minutes": 5,
    "freshness_number": 2,
    "freshness_datepart": "hour",
    "criticality": "high",
    "owner": "data@example.com",
}


@pytest.fixture
def pipeline_id(engine: Engine) -> int:
    """A pipeline that people made."""
    write(engine, "INSERT INTO pipeline_type (name) VALUES ('ours')")
    write(
        engine,
        """
        INSERT INTO pipeline (
            name, pipeline_type_id, pipeline_metadata, schedule, schedule_timezone, schedule_grace_minutes,
            freshness_number, freshness_datepart, criticality, owner
        )
        SELECT 'demo/etl', id, '{"team": "data", "tags": ["ours"]}', :schedule, :schedule_timezone,
            :schedule_grace_minutes, :freshness_number, :freshness_datepart, :criticality, :owner
        FROM pipeline_type
        """,
        **BY_HAND,
    )
    return int(rows(engine, "SELECT id FROM pipeline")[0]["id"])


def report(engine: Engine, pipeline_id: int, days_ago: float) -> None:
    """A run that the SDK reported."""
    start = NOW - timedelta(days=days_ago)
    write(
        engine,
        """
        INSERT INTO pipeline_execution (pipeline_id, start_date, date_recorded, hour_recorded)
        VALUES (:id, :start, CAST(:start AS date), 0)
        """,
        id=pipeline_id,
        start=start,
    )


def test_a_run_that_something_else_reports_counts_once(engine: Engine, pipeline_id: int) -> None:
    report(engine, pipeline_id, 1)
    failed = {"test": {"tests": [{"name": "not_null", "status": "fail"}]}}
    documented = {"documentation": {"description": "Loads the orders"}}
    given: dict[str, Any] = {
        "inputs": [dataset("a.b.c")],
        "outputs": [output("a.b.d")],
        "job_facets": documented,
        "run_facets": failed,
    }
    send(engine, run_event("START", NOW, **given), run_event("COMPLETE", later(NOW, 1), **given))
    assert len(executions(engine)) == 1
    # Everything else of it is known.
    assert edges(engine) == {("a.b.c", "a.b.d")}
    assert pipelines(engine)["demo/etl"]["openlineage"]["description"] == "Loads the orders"
    assert [row["title"] for row in rows(engine, "SELECT title FROM alert")] == ["Data Quality"]


def test_once_nothing_else_reports_them_events_do(engine: Engine, pipeline_id: int) -> None:
    report(engine, pipeline_id, 31)
    send(engine, run_event("COMPLETE", NOW))
    send(engine, run_event("COMPLETE", later(NOW, 1), run="2"))
    assert len(executions(engine)) == 3


def test_nothing_that_people_set_is_changed(engine: Engine, pipeline_id: int) -> None:
    timetable = {"airflowDagRun": {"dag": {"timetable": {"expression": "0 2 * * *", "timezone": "UTC"}}}}
    facets = {
        "jobType": {"processingType": "BATCH", "integration": "AIRFLOW", "jobType": "DAG"},
        "tags": {"tags": [{"key": "theirs", "value": "true"}]},
        "ownership": {"owners": [{"name": "somebody"}]},
    }
    send(engine, run_event("COMPLETE", NOW, run_facets=timetable, job_facets=facets))
    pipeline = pipelines(engine)["demo/etl"]
    assert {name: pipeline[name] for name in BY_HAND} == BY_HAND
    assert (pipeline["pipeline_metadata"], pipeline["type"]) == ({"team": "data", "tags": ["ours"]}, "ours")
    assert (pipeline["active"], pipeline["mute_freshness_check"]) == (True, False)
    assert pipeline["openlineage"]["tags"] == ["theirs"]
    assert pipeline["openlineage"]["owners"] == ["somebody"]


def test_a_pipeline_in_the_archive_comes_back(engine: Engine, pipeline_id: int) -> None:
    write(engine, "UPDATE pipeline SET archived_at = now()")
    send(engine, run_event("COMPLETE", NOW))
    assert pipelines(engine)["demo/etl"]["archived_at"] is None
    assert rows(engine, "SELECT FROM outbox WHERE task_name = 'revive_task'") != []


def test_a_renamed_pipeline_is_still_that_of_its_job(engine: Engine) -> None:
    send(engine, run_event("COMPLETE", NOW))
    write(engine, "UPDATE pipeline SET name = 'orders'")
    send(engine, run_event("COMPLETE", later(NOW, 1), run="2"))
    assert set(pipelines(engine)) == {"orders"}
    assert len(executions(engine)) == 2
