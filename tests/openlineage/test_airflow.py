"""What Airflow says of its DAGs and tasks."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine

from tests.openlineage.known import by_pipeline, executions, pipelines, rows, said, write
from tests.support.openlineage import SETTINGS, Event, job_type, later, run_event, send
from watcher_server.incidents.failing import judge_failure

NOW = datetime.now(UTC) - timedelta(minutes=10)
LOG = "https://airflow.example.com/dags/etl/runs/1/tasks/load?try_number=1"


def failed_try(number: int, *, retries: int = 2) -> list[Event]:
    """A try of a task that failed; each has a run id of its own."""
    facets = {
        "airflow": {
            "dag": {"dag_id": "etl"},
            "task": {"task_id": "load", "retries": retries},
            "taskInstance": {"try_number": number, "log_url": LOG, "map_index": 0},
        },
        "errorMessage": {"message": "ValueError: no such table\n  at load", "programmingLanguage": "python"},
    }
    at = later(NOW, 60 * number)
    given: dict[str, Any] = {"run": f"try {number}", "job": "etl.load", "job_facets": job_type("AIRFLOW", "TASK")}
    return [
        run_event("START", at, run_facets=facets, **given),
        run_event("FAIL", later(at, 5), run_facets=facets, **given),
    ]


def judge(engine: Engine) -> list[str]:
    """Do what the tasks that wait would do; the states of the incidents that there are then."""
    for row in rows(engine, "SELECT kwargs FROM outbox WHERE task_name = 'judge_failure_task'"):
        with engine.begin() as connection:
            judge_failure(connection, row["kwargs"]["pipeline_id"], alert_max_age_hours=24)
    return [row["kind"] for row in rows(engine, "SELECT kind FROM incident")]


def test_a_try_that_is_tried_again_is_no_incident(engine: Engine) -> None:
    send(engine, *failed_try(1), *failed_try(2))
    assert [(row["completed_successfully"], row["outcome"]) for row in executions(engine)] == [(False, "retried")] * 2
    assert judge(engine) == []


def test_the_last_try_is_an_incident(engine: Engine) -> None:
    send(engine, *failed_try(1), *failed_try(2), *failed_try(3))
    run = executions(engine)[-1]
    assert run["outcome"] is None
    assert (said(run)["log_url"], said(run)["attempt"], said(run)["map_index"]) == (LOG, 3, 0)
    assert run["execution_metadata"]["error"].startswith("ValueError: no such table")
    assert judge(engine) == ["failing"]
    (alert,) = rows(engine, "SELECT * FROM alert")
    assert "ValueError: no such table" in str(alert)


def test_a_failure_that_airflow_says_nothing_of_is_an_incident(engine: Engine) -> None:
    send(engine, run_event("START", NOW), run_event("FAIL", later(NOW, 5)))
    assert judge(engine) == ["failing"]


def test_a_failure_that_was_marked_as_a_success_is_one(engine: Engine) -> None:
    send(engine, *failed_try(3))
    event = failed_try(3)[1] | {"eventType": "COMPLETE", "eventTime": later(NOW, 600).isoformat()}
    event["run"] = {**event["run"], "facets": {}}
    send(engine, event)
    (run,) = executions(engine)
    assert (run["completed_successfully"], run["outcome"]) == (True, None)
    assert "error" not in run["execution_metadata"]


def dag_run(timetable: Any, *, at: datetime = NOW, job: str = "etl", interval: str | None = None) -> Event:
    """The end of a run of a DAG with this timetable."""
    facets = {
        "airflowDagRun": {"dag": {"timetable": timetable, "schedule_interval": interval}, "dagRun": {"run_id": "r"}}
    }
    return run_event(
        "COMPLETE", at, run=at.isoformat(), job=job, run_facets=facets, job_facets=job_type("AIRFLOW", "DAG")
    )


def schedule(engine: Engine) -> tuple[str | None, str, int, bool]:
    """The schedule of the DAG's pipeline, and whether a run of it is expected."""
    found = pipelines(engine)["demo/etl"]
    expected = found["expected_next_run"]
    assert expected is None or expected > datetime.now(UTC)
    return found["schedule"], found["schedule_timezone"], found["schedule_grace_minutes"], expected is not None


CRON = {"expression": "0 2 * * *", "timezone": "Europe/Berlin"}


def test_the_timetable_of_a_dag_is_the_schedule_of_its_pipeline(engine: Engine) -> None:
    send(engine, dag_run(CRON))
    assert schedule(engine) == ("0 2 * * *", "Europe/Berlin", 30, True)
    send(engine, dag_run({"expression": "0 4 * * *", "timezone": "UTC"}, at=later(NOW, 60)))
    assert schedule(engine) == ("0 4 * * *", "UTC", 30, True)
    # What was said before arrives late.
    send(engine, dag_run({"expression": "0 5 * * *"}, at=later(NOW, 30)))
    assert schedule(engine) == ("0 4 * * *", "UTC", 30, True)


def test_what_says_nothing_of_the_dag_leaves_its_schedule(engine: Engine) -> None:
    send(engine, dag_run(CRON))
    facets = {"airflowDagRun": {"dag": "odd", "dagRun": {"run_id": "r"}}}
    silent = run_event("START", later(NOW, 60), run="2", run_facets=facets, job_facets=job_type("AIRFLOW", "DAG"))
    send(engine, silent)
    assert schedule(engine) == ("0 2 * * *", "Europe/Berlin", 30, True)
    assert said(executions(engine)[-1])["dag_run"] == "r"


def test_older_airflows_say_an_interval(engine: Engine) -> None:
    send(engine, dag_run({}, interval="@daily"))
    assert schedule(engine) == ("0 0 * * *", "UTC", 30, True)


@pytest.mark.parametrize(
    "timetable", [{}, {"expression": "*/5 * * * * *"}, {"asset_condition": {"uri": "s3://x"}}, "odd"]
)
def test_a_dag_that_has_no_cron_schedule_any_more_has_none_here(engine: Engine, timetable: Any) -> None:
    send(engine, dag_run(CRON))
    send(engine, dag_run(timetable, at=later(NOW, 60)))
    assert schedule(engine)[0] is None
    assert schedule(engine)[3] is False


def test_a_schedule_that_people_set_stays(engine: Engine) -> None:
    send(engine, dag_run({}))
    write(engine, "UPDATE pipeline SET schedule = '5 5 * * *', schedule_timezone = 'UTC', schedule_grace_minutes = 7")
    send(engine, dag_run(CRON, at=later(NOW, 60)))
    send(engine, dag_run({}, at=later(NOW, 90)))
    assert schedule(engine)[:3] == ("5 5 * * *", "UTC", 7)


def test_a_schedule_that_people_changed_is_theirs(engine: Engine) -> None:
    send(engine, dag_run(CRON))
    write(engine, "UPDATE pipeline SET schedule = '5 5 * * *'")
    send(engine, dag_run({"expression": "0 4 * * *", "timezone": "UTC"}, at=later(NOW, 60)))
    assert schedule(engine)[0] == "5 5 * * *"


def test_a_grace_that_people_set_outlives_a_change_of_the_schedule(engine: Engine) -> None:
    send(engine, dag_run(CRON))
    write(engine, "UPDATE pipeline SET schedule_grace_minutes = 90")
    send(engine, dag_run({"expression": "0 4 * * *", "timezone": "UTC"}, at=later(NOW, 60)))
    assert schedule(engine) == ("0 4 * * *", "UTC", 90, True)


def test_the_tasks_of_a_dag_get_no_schedule(engine: Engine) -> None:
    facets = {"airflow": {"dag": {"timetable": CRON}, "taskInstance": {"try_number": 1}}}
    send(engine, run_event("COMPLETE", NOW, run_facets=facets, job_facets=job_type("AIRFLOW", "TASK")))
    assert schedule(engine)[0] is None


def test_schedules_are_left_alone_where_that_is_set(engine: Engine) -> None:
    send(engine, dag_run(CRON), settings=replace(SETTINGS, takes_schedules=False))
    assert schedule(engine)[0] is None


def test_tasks_that_report_nothing_are_noted_with_their_dag(engine: Engine) -> None:
    states = {"airflowState": {"dagRunState": "success", "tasksState": {"empty": "success", "load": "skipped"}}}
    event = dag_run(CRON)
    event["run"]["facets"] |= states
    send(engine, event)
    assert said(by_pipeline(engine)["etl"])["tasks"] == {"empty": "success", "load": "skipped"}
