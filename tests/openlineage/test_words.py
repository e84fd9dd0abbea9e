"""What became of a run that events report: in the API, in the reports, on the pages and for the checks."""

from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, text

from tests.support.openlineage import SETTINGS, dataset, job_type, later, output, run_event, send
from tests.support.rows import ago
from watcher_server.celery_tasks import freshness_check_task
from watcher_server.openlineage.settings import OpenLineageSettings

START = ago(hours=2).replace(microsecond=0)
WORDS = ("aborted", "retried")


def airflow(try_number: int, retries: int) -> dict[str, Any]:
    return {
        "airflow": {
            "dag": {"dag_id": "etl"},
            "task": {"task_id": "load", "retries": retries},
            "taskInstance": {"try_number": try_number, "log_url": "https://airflow.example/log?try=1"},
        }
    }


def send_runs(engine: Engine) -> None:
    """Four runs: one aborted, one that is tried again, one that failed for good, and one that succeeded."""
    for number, (kind, facets) in enumerate(
        [("ABORT", {}), ("FAIL", airflow(1, 3)), ("FAIL", airflow(4, 3)), ("COMPLETE", {})]
    ):
        at = later(START, 600 * number)
        send(
            engine,
            run_event("START", at, run=str(number)),
            run_event(kind, later(at, 60), run=str(number), run_facets=facets),
        )


async def test_executions_say_what_became_of_them(client: httpx.AsyncClient, engine: Engine) -> None:
    send_runs(engine)

    runs = (await client.get("/pipeline_execution")).json()

    assert [(run["completed_successfully"], run["outcome"]) for run in runs] == [
        (False, "aborted"),
        (False, "retried"),
        (False, None),
        (True, None),
    ]
    for word in WORDS:
        (run,) = (await client.get("/pipeline_execution", params={"outcome": word})).json()
        assert run["outcome"] == word
    assert (await client.get("/pipeline_execution", params={"outcome": "failed"})).status_code == 422


async def test_only_what_failed_for_good_is_judged(engine: Engine) -> None:
    send_runs(engine)

    with engine.connect() as connection:
        judged = connection.scalars(
            text("SELECT (kwargs ->> 'pipeline_execution_id')::int FROM outbox WHERE task_name = 'judge_failure_task'")
        ).all()
    assert judged == [3]


async def test_reports_count_them_as_runs_and_not_as_failures(client: httpx.AsyncClient, engine: Engine) -> None:
    send_runs(engine)

    page = (await client.get("/reporting", params={"days": 2})).text
    csv = (await client.get("/reporting/daily-pipeline-metrics.csv", params={"days": 2})).text

    figures = [dict(zip(csv.splitlines()[0].split(","), line.split(","), strict=True)) for line in csv.splitlines()[1:]]
    assert sum(int(row["total_executions"]) for row in figures) == 4
    assert sum(int(row["failed_executions"]) for row in figures) == 1
    assert "50" in page


@pytest.mark.parametrize(("word", "run_id"), [("aborted", 1), ("retried", 2)])
async def test_pages_have_a_word_for_each(client: httpx.AsyncClient, engine: Engine, word: str, run_id: int) -> None:
    send_runs(engine)

    for path in (f"/ui/executions/{run_id}", "/ui/pipelines/1?tab=runs", f"/ui/pipelines/1?tab=runs&outcome={word}"):
        page = (await client.get(path)).text
        assert f'class="status {word}"' in page
    assert f"1 {word}" in (await client.get("/ui/pipelines")).text
    assert f'class="bar {word}"' in (await client.get("/ui")).text


def test_a_pipeline_that_says_only_which_tables_it_wrote_is_fresh_by_that(engine: Engine) -> None:
    old, new = ago(hours=30).replace(microsecond=0), ago(minutes=5).replace(microsecond=0)
    facets = job_type("AIRFLOW", "TASK")
    send(engine, run_event("COMPLETE", old, run="1", job_facets=facets, outputs=[output("a.b.c")]))
    with engine.begin() as connection:
        connection.execute(
            text(
                "UPDATE pipeline_type SET freshness_number = 1, freshness_datepart = 'day' WHERE name = 'airflow task'"
            )
        )
    assert freshness_check_task()["new_stale_pipelines"] == 1

    send(engine, run_event("COMPLETE", new, run="2", job_facets=facets, outputs=[output("a.b.c")]))
    assert freshness_check_task()["new_stale_pipelines"] == 0
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT stale_at > now() FROM pipeline_effective"))


async def test_the_api_shows_the_last_output_and_what_events_said(client: httpx.AsyncClient, engine: Engine) -> None:
    facets = {**job_type("DBT", "MODEL"), "documentation": {"description": "Every order, once."}}
    inputs = [dataset("a.b.c", schema={"fields": [{"name": "id", "type": "int"}]})]
    send(engine, run_event("COMPLETE", START, job_facets=facets, inputs=inputs, outputs=[output("a.b.d")]))

    (listed,) = (await client.get("/pipeline")).json()
    one = (await client.get("/pipeline/1")).json()

    for pipeline in (listed, one):
        assert datetime.fromisoformat(pipeline["last_output"]) == START
        assert pipeline["last_target_insert"] is None
        assert pipeline["openlineage"]["description"] == "Every order, once."
    addresses = {address["table_name"]: address for address in (await client.get("/address")).json()}
    assert addresses["c"]["openlineage"]["fields"] == [{"name": "id", "type": "int"}]


def rules(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        return list(connection.scalars(text("SELECT metric_field FROM anomaly_detection_rule ORDER BY id")))


def test_rules_that_are_made_by_themselves_judge_what_events_can_say(engine: Engine) -> None:
    settings = OpenLineageSettings(
        roll_up_pairs=SETTINGS.roll_up_pairs,
        ignore=(),
        namespace_aliases={},
        with_rules=True,
        takes_schedules=True,
        alert_max_age_hours=24,
    )
    send(engine, run_event("START", START), run_event("COMPLETE", later(START, 9)), settings=settings)
    assert rules(engine) == ["duration_seconds"]

    at = datetime.now(UTC)
    send(engine, run_event("COMPLETE", at, run="2", outputs=[output("a.b.c", rows=5)]), settings=settings)
    send(engine, run_event("COMPLETE", at, run="3", outputs=[output("a.b.c", rows=5)]), settings=settings)
    assert rules(engine) == ["duration_seconds", "total_rows"]
