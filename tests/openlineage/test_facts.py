"""What events say of jobs and datasets beside their runs."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine

from tests.openlineage.known import addresses, alerts, executions, pipelines, rows, said
from tests.support.openlineage import SETTINGS, Event, dataset, job_type, later, output, run_event, send

NOW = datetime.now(UTC) - timedelta(minutes=10)


def completed(at: datetime = NOW, **given: Any) -> Event:
    """The end of a run."""
    return run_event("COMPLETE", at, run=at.isoformat(), **given)


def test_a_pipeline_shows_what_its_job_says(engine: Engine) -> None:
    facets = {
        **job_type("DBT", "MODEL"),
        "ownership": {"owners": [{"name": "airflow"}, {"name": "team:data", "type": "MAINTAINER"}]},
        "tags": {
            "tags": [{"key": "daily", "value": "true"}, {"key": "tier", "value": "gold"}, {"key": "x", "value": "x"}]
        },
        "documentation": {"description": "Orders of a day"},
        "sql": {"query": "SELECT 1", "dialect": "postgres"},
        "sourceCodeLocation": {"type": "git", "url": "https://git.example.com/x", "version": "abc", "branch": "main"},
        "dbt_node": {"unique_id": "model.shop.daily", "original_file_path": "models/daily.sql"},
    }
    node_tags = {
        "tags": [
            {"key": "nightly", "value": "true", "source": "DBT"},
            {"key": "os", "value": "linux", "source": "OPENLINEAGE_CLIENT"},
        ]
    }
    send(engine, completed(job_facets=facets, run_facets={"tags": node_tags}))
    shown = pipelines(engine)["demo/etl"]["openlineage"]
    assert shown == {
        "namespace": "demo",
        "name": "etl",
        "integration": "dbt",
        "owners": ["team:data"],
        "tags": ["daily", "tier:gold", "x", "nightly"],
        "description": "Orders of a day",
        "sql": "SELECT 1",
        "code": {"url": "https://git.example.com/x", "version": "abc", "branch": "main"},
        "file": "models/daily.sql",
        "unique_id": "model.shop.daily",
    }
    (run,) = executions(engine)
    assert "tags" not in said(run)
    assert (said(run)["code_version"], len(said(run)["sql_hash"])) == ("abc", 16)


def test_a_facet_is_replaced_by_the_newest_and_may_be_removed(engine: Engine) -> None:
    send(engine, completed(job_facets={"documentation": {"description": "new"}}))
    send(engine, completed(later(NOW, -60), job_facets={"documentation": {"description": "old"}}))
    assert pipelines(engine)["demo/etl"]["openlineage"]["description"] == "new"
    send(engine, completed(later(NOW, 60), job_facets={"documentation": {"_deleted": True}}))
    assert "description" not in pipelines(engine)["demo/etl"]["openlineage"]


def test_one_bad_facet_is_dropped_alone_and_counted(engine: Engine) -> None:
    facets = {"documentation": {"description": ["no text"]}, "sql": {"query": "SELECT 1"}, "homemade": {"x": 1}}
    send(engine, completed(job_facets=facets))
    assert pipelines(engine)["demo/etl"]["openlineage"]["sql"] == "SELECT 1"
    dropped = rows(engine, "SELECT facet, known, number FROM openlineage_dropped_facet ORDER BY facet")
    assert dropped == [
        {"facet": "documentation", "known": True, "number": 1},
        {"facet": "homemade", "known": False, "number": 1},
    ]


def test_what_a_run_says_is_kept_with_its_execution(engine: Engine) -> None:
    facets = {
        "nominalTime": {"nominalStartTime": "2026-05-03T00:00:00Z", "nominalEndTime": "2026-05-04T00:00:00Z"},
        "processing_engine": {"name": "spark", "version": "3.5", "openlineageAdapterVersion": "1.54"},
        "externalQuery": {"externalQueryId": "01b2", "source": "snowflake"},
        "dbt_run": {"invocation_id": "42"},
        "tags": {"tags": [{"key": "backfill", "value": "true", "source": "USER"}]},
    }
    send(engine, completed(run_facets=facets, outputs=[output("a.b.c", rows=3)]))
    kept = said(executions(engine)[0])
    assert kept["nominal_start"] == "2026-05-03T00:00:00+00:00"
    assert kept["engine"] == {"name": "spark", "version": "3.5", "adapter": "1.54"}
    assert kept["query"] == {"id": "01b2", "source": "snowflake"}
    assert (kept["invocation_id"], kept["tags"], kept["events"]) == ("42", ["backfill"], 1)


def fields(**types: str) -> dict[str, Any]:
    """A facet with these fields."""
    return {"schema": {"fields": [{"name": name, "type": kind} for name, kind in types.items()]}}


def test_a_change_of_fields_is_kept_and_told(engine: Engine) -> None:
    send(engine, completed(outputs=[output("a.b.c", **fields(x="int", y="text"))]))
    send(engine, completed(later(NOW, 60), outputs=[output("a.b.c", **fields(y="TEXT", z="int"))]))
    (change,) = rows(engine, "SELECT added, removed, retyped, at FROM address_schema_change")
    assert change == {"added": ["z"], "removed": ["x"], "retyped": [], "at": later(NOW, 60)}
    (alert,) = alerts(engine)
    assert alert["level"] == "INFO"
    assert alert["message"] == "Schema changed: postgres://wh:5432/a.b.c: column x removed; column z added"
    assert [one["name"] for one in addresses(engine)["postgres://wh:5432/a.b.c"]["openlineage"]["fields"]] == ["y", "z"]
    # The fields of before arrive again, late.
    send(engine, completed(later(NOW, 30), outputs=[output("a.b.c", **fields(x="int", y="text"))]))
    assert len(alerts(engine)) == 1


def test_a_change_of_long_ago_is_told_nobody(engine: Engine) -> None:
    long_ago = NOW - timedelta(days=8)
    send(engine, completed(long_ago, outputs=[output("a.b.c", **fields(x="int"))]))
    send(engine, completed(later(long_ago, 60), outputs=[output("a.b.c", **fields(x="text"))]))
    assert len(rows(engine, "SELECT FROM address_schema_change")) == 1
    assert alerts(engine) == []


def test_nested_fields_have_dotted_names(engine: Engine) -> None:
    nested: dict[str, Any] = {
        "schema": {"fields": [{"name": "a", "type": "struct", "fields": [{"name": "b", "type": "int"}]}]}
    }
    send(engine, completed(outputs=[output("a.b.c", **nested)]))
    shown = addresses(engine)["postgres://wh:5432/a.b.c"]["openlineage"]["fields"]
    assert [one["name"] for one in shown] == ["a", "a.b"]


def assertion(name: str, severity: str | None = None, *, success: bool = False) -> dict[str, Any]:
    """What came of a check of data."""
    return {"assertion": name, "success": success, "column": "id"} | ({"severity": severity} if severity else {})


@pytest.mark.parametrize(("severity", "level"), [(None, "ERROR"), ("error", "ERROR"), ("warn", "INFO")])
def test_checks_of_data_that_failed_are_told_once(engine: Engine, severity: str | None, level: str) -> None:
    said_of = {"assertions": [assertion("not_null", severity), assertion("unique", success=True)]}
    # The same stands among the facets of the dataset and among those of the input.
    tested = dataset("a.b.c", dataQualityAssertions=said_of) | {"inputFacets": {"dataQualityAssertions": said_of}}
    event = completed(inputs=[tested], job_facets=job_type("DBT", "TEST"))
    send(engine, event)
    send(engine, event)
    (run,) = executions(engine)
    kept = said(run)["tests"]
    assert (kept["total"], kept["failed"] + kept["warned"]) == (2, 1)
    (alert,) = alerts(engine)
    assert (alert["level"], alert["title"]) == (level, "Data Quality")


def test_the_tests_of_a_run_count(engine: Engine) -> None:
    tests = [
        {"name": "a", "status": "pass"},
        {"name": "b", "status": "fail"},
        {"name": "c", "status": "fail", "severity": "warn"},
    ]
    send(engine, completed(run_facets={"test": {"tests": tests}}))
    kept = said(executions(engine)[0])["tests"]
    assert (kept["total"], kept["failed"], kept["warned"], kept["names"]) == (3, 1, 1, ["b"])


def test_checks_of_long_ago_are_told_nobody(engine: Engine) -> None:
    tests = [{"name": "b", "status": "fail"}]
    send(engine, completed(NOW - timedelta(days=8), run_facets={"test": {"tests": tests}}))
    assert alerts(engine) == []


def test_a_job_is_a_pipeline_before_it_runs(engine: Engine) -> None:
    event = completed(job_facets={**job_type("DBT", "MODEL"), "documentation": {"description": "Soon"}})
    send(engine, {name: value for name, value in event.items() if name != "run"})
    assert executions(engine) == []
    pipeline = pipelines(engine)["demo/etl"]
    assert (pipeline["type"], pipeline["openlineage"]["description"]) == ("dbt model", "Soon")


def test_pipelines_get_the_rules_that_their_runs_can_be_judged_by(engine: Engine) -> None:
    settings = replace(SETTINGS, with_rules=True)

    def rules() -> list[str]:
        return [
            row["metric_field"] for row in rows(engine, "SELECT metric_field FROM anomaly_detection_rule ORDER BY id")
        ]

    send(engine, completed(), settings=settings)
    assert rules() == ["duration_seconds"]
    send(engine, completed(later(NOW, 60), outputs=[output("a.b.c", rows=3)]), settings=settings)
    send(engine, completed(later(NOW, 90), outputs=[output("a.b.c", rows=4)]), settings=settings)
    assert rules() == ["duration_seconds", "total_rows"]
    judged = rows(engine, "SELECT FROM outbox WHERE task_name = 'detect_anomalies_task'")
    assert len(judged) == 3


def test_a_run_is_judged_again_when_its_rows_change(engine: Engine) -> None:
    settings = replace(SETTINGS, with_rules=True)
    judged = "SELECT FROM outbox WHERE task_name = 'detect_anomalies_task'"
    send(engine, completed(outputs=[output("a.b.c", rows=3)]), settings=settings)
    assert len(rows(engine, judged)) == 1
    tells = run_event("OTHER", later(NOW, 5), run=NOW.isoformat(), outputs=[output("a.b.c", rows=5)])
    send(engine, tells, tells, settings=settings)
    send(engine, tells, settings=settings)
    assert len(rows(engine, judged)) == 2
    assert executions(engine)[0]["total_rows"] == 5
