"""What producers leave in their events though it is secret is shown to nobody."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Engine, text

from tests.openlineage.known import addresses, pipelines
from tests.support.openlineage import dataset, job_type, later, output, parent, run_event, send
from watcher_server.incidents.failing import judge_failure
from watcher_server.models import Base

NOW = datetime.now(UTC) - timedelta(minutes=5)
SECRET = "hunter2hunter2"
URL = f"postgres://loader:{SECRET}@wh:5432"
# The events as they came are for administrators, with secrets hidden as they are shown.
KEPT_AS_SENT = {"openlineage_event", "openlineage_event_default", "openlineage_failed_event"}


def tables_with(engine: Engine, secret: str) -> set[str]:
    """The tables in which this stands anywhere."""
    with engine.connect() as connection:
        return {
            table.name
            for table in Base.metadata.sorted_tables
            if connection.scalar(
                text(f"SELECT EXISTS (SELECT FROM {table.name} AS row WHERE row::text LIKE :secret)"),
                {"secret": f"%{secret}%"},
            )
        }


def test_no_password_is_kept_but_in_the_events(engine: Engine) -> None:
    link = f"https://loader:{SECRET}@example.com/log"
    called = parent("dag", "1", namespace=URL)
    source = {"namespace": URL, "name": "a.b.source", "field": "x"}
    given: dict[str, Any] = {
        "namespace": URL,
        "job": "load",
        "inputs": [dataset("a.b.c", namespace=URL, dataSource={"name": "wh", "uri": URL})],
        "outputs": [
            output(
                "a.b.d",
                namespace=URL,
                documentation={"description": f"Loaded from {URL}"},
                columnLineage={"fields": {"x": {"inputFields": [source]}}},
                symlinks={"identifiers": [{"namespace": URL, "name": "d", "type": "TABLE"}]},
                dbt_exposures={"exposures": [{"name": "Weekly", "url": link}]},
            )
        ],
        "run_facets": {
            **called,
            "errorMessage": {
                "message": f"cannot connect to {URL}",
                "programmingLanguage": "python",
                "stackTrace": f"connect('{URL}')",
            },
            "airflow": {"taskInstance": {"try_number": 3, "log_url": link}, "task": {"retries": 0}},
            "externalQuery": {"externalQueryId": "1", "source": URL},
            "test": {"tests": [{"name": f"reads {URL}", "status": "fail", "expected": URL, "actual": URL}]},
        },
        "job_facets": {
            **job_type("AIRFLOW", "TASK"),
            "sql": {"query": f"COPY t FROM '{URL}' -- {link}"},
            "documentation": {"description": f"password={SECRET}"},
            "sourceCodeLocation": {"type": "git", "url": link, "repoUrl": link, "version": "1"},
        },
    }
    producer = {"producer": f"https://me:{SECRET}@example.com/client"}
    send(engine, run_event("START", NOW, **given) | producer, run_event("FAIL", later(NOW, 5), **given) | producer)
    with engine.begin() as connection:
        pipeline_id = connection.scalar(text("SELECT id FROM pipeline"))
        judge_failure(connection, pipeline_id, alert_max_age_hours=24)
    with engine.connect() as connection:
        told = json.dumps(
            [dict(row) for row in connection.execute(text("SELECT * FROM alert")).mappings()], default=str
        )
    assert "cannot connect to postgres://" in told
    assert set(pipelines(engine)) == {"postgres://wh:5432/load"}
    assert {name for name in addresses(engine) if name.startswith("postgres")} == {
        f"postgres://wh:5432/{name}" for name in ("a.b.c", "a.b.d", "a.b.source")
    }
    assert tables_with(engine, SECRET) <= KEPT_AS_SENT


def test_a_container_is_no_user(engine: Engine) -> None:
    for container in ("raw", "clean"):
        place = output("orders", namespace=f"abfss://{container}@lake.dfs.core.windows.net")
        send(engine, run_event("COMPLETE", NOW, job=container, outputs=[place]))
    assert set(addresses(engine)) == {
        f"abfss://{container}@lake.dfs.core.windows.net/orders" for container in ("raw", "clean")
    }


def test_a_password_may_have_any_character(engine: Engine) -> None:
    send(engine, run_event("COMPLETE", NOW, namespace="jdbc:mysql://me:p@ss:w0rd@db:3306"))
    assert set(pipelines(engine)) == {"jdbc:mysql://db:3306/etl"}
