"""A run that fails because of one that it called: people hear of it once, by the run at the top and the first error."""

from typing import Any

import pytest
from sqlalchemy import Connection, Engine, text

from tests.incidents.passing import incidents, sweep, told, wait
from tests.support.rows import add_pipeline, add_run, ago, alerts
from watcher_server.celery_tasks import judge_failure_task
from watcher_server.executions.endless import LostRun
from watcher_server.incidents.endless import tell_lost

FAILED: dict[str, Any] = {"completed_successfully": False}


def add_called(connection: Connection, pipeline_id: int, parent_id: int | None, minutes: float, **fields: Any) -> int:
    """A run that ended so many minutes ago, below another one, with its rows of the closure."""
    ended = ago(minutes=minutes)
    run_id = add_run(
        connection, pipeline_id, parent_id=parent_id, start_date=ago(minutes=minutes + 5), end_date=ended, **fields
    )
    statement = """
        INSERT INTO pipeline_execution_closure (parent_execution_id, child_execution_id, depth)
        SELECT :run_id, :run_id, 0
        UNION ALL SELECT parent_execution_id, :run_id, depth + 1 FROM pipeline_execution_closure
        WHERE child_execution_id = :parent_id
    """
    connection.execute(text(statement), {"run_id": run_id, "parent_id": parent_id})
    return run_id


def metadata(error: str, **said: Any) -> dict[str, Any]:
    return {"error": error, "openlineage": said}


def add_tree(engine: Engine) -> dict[str, tuple[int, int]]:
    """A run that called two steps, of which the first called a third, and all failed; pipeline and run of each."""
    with engine.begin() as connection:
        ids = {name: add_pipeline(connection, f"demo/{name}") for name in ("etl", "load", "copy", "mail")}
        top = add_called(connection, ids["etl"], None, 1, **FAILED)
        connection.execute(
            text("UPDATE pipeline_execution SET start_date = now() - interval '1 hour' WHERE id = :id"), {"id": top}
        )
        error = "ValueError: no rows\nat line 3"
        load = add_called(connection, ids["load"], top, 2, **FAILED)
        said = metadata(error, log_url="https://airflow.example/log/1")
        copy = add_called(connection, ids["copy"], load, 3, execution_metadata=said, **FAILED)
        mail = add_called(connection, ids["mail"], top, 2, **FAILED)
    return dict(zip(ids, zip(ids.values(), (top, load, copy, mail), strict=True), strict=True))


@pytest.mark.parametrize("order", [("copy", "load", "mail", "etl"), ("etl", "mail", "load", "copy"), ("load", "etl")])
def test_a_run_at_the_top_is_told_once_whatever_is_judged_first(engine: Engine, order: tuple[str, ...]) -> None:
    tree = add_tree(engine)

    for name in order:
        judge_failure_task(*tree[name])

    first = next(incident for incident in incidents(engine) if incident["pipeline_id"] == tree["copy"][0])
    roots = {incident["pipeline_id"]: incident["root_id"] for incident in incidents(engine)}
    assert roots == {tree[name][0]: None if name == "copy" else first["id"] for name in ("copy", "load", "mail", "etl")}
    said = "ERROR Pipeline 'demo/etl' (ID: 1) failed: 'demo/copy' (ID: 3): ValueError: no rows"
    assert told(engine) == [f"{said} - Execution ID {tree['copy'][1]}"]
    with engine.connect() as connection:
        details = dict(alerts(connection)[0]["details"])
    assert details["Log"] == "https://airflow.example/log/1"
    assert details["Also failed in this run"] == "demo/mail"


def test_what_failed_because_of_another_run_speaks_when_that_is_over(engine: Engine) -> None:
    tree = add_tree(engine)
    judge_failure_task(*tree["etl"])
    with engine.begin() as connection:
        for name in ("copy", "load", "mail"):
            add_run(connection, tree[name][0], end_date=ago(minutes=0))
    assert sweep(engine) == 3

    wait(engine, minutes=61)

    assert any("demo/etl" in message and "still failing" in message for message in told(engine)[1:])


def test_a_step_that_begins_to_fail_in_a_later_run_is_told(engine: Engine) -> None:
    with engine.begin() as connection:
        etl, load, mail = (add_pipeline(connection, name) for name in ("etl", "load", "mail"))
        top = add_called(connection, etl, None, 90)
        first = add_called(connection, load, top, 91, **FAILED)
    judge_failure_task(load, first)
    wait(engine, minutes=60)
    with engine.begin() as connection:
        top = add_called(connection, etl, None, 1)
        again = add_called(connection, load, top, 2, **FAILED)
        other = add_called(connection, mail, top, 2, **FAILED)
    judge_failure_task(load, again)
    judge_failure_task(mail, other)

    assert [message for message in told(engine) if "'mail'" in message] != []


def test_a_lost_run_beside_one_that_failed_is_not_told(engine: Engine) -> None:
    with engine.begin() as connection:
        etl, load, mail = (add_pipeline(connection, name) for name in ("etl", "load", "mail"))
        top = add_called(connection, etl, None, 1, completed_successfully=None)
        failed = add_called(connection, load, top, 2, **FAILED)
        lost = add_called(connection, mail, top, 2, outcome="lost", **FAILED)
    judge_failure_task(load, failed)
    with engine.begin() as connection:
        tell_lost(connection, [LostRun(lost, mail, ago(minutes=9), ago(minutes=2))])

    assert [incident["root_id"] for incident in incidents(engine)] == [None, 1]
    assert len(told(engine)) == 1


@pytest.mark.parametrize("outcome", ["aborted", "retried"])
def test_what_was_aborted_or_is_tried_again_is_no_failure(engine: Engine, outcome: str) -> None:
    with engine.begin() as connection:
        pipeline_id = add_pipeline(connection, "load")
        run_id = add_run(connection, pipeline_id, end_date=ago(minutes=1), outcome=outcome, **FAILED)

    judge_failure_task(pipeline_id, run_id)

    assert incidents(engine) == []
    assert told(engine) == []


def test_the_message_says_what_changed_since_the_last_success(engine: Engine) -> None:
    with engine.begin() as connection:
        pipeline_id = add_pipeline(connection, "load")
        for minutes, sql, code, succeeded in ((30, "a", "v1", True), (20, "b", "v1", False), (10, "b", "v2", False)):
            said = metadata("wrong", sql_hash=sql, code_version=code)
            run_id = add_run(
                connection, pipeline_id, end_date=ago(minutes=minutes), completed_successfully=succeeded,
                execution_metadata=said,
            )  # fmt: skip
    judge_failure_task(pipeline_id, run_id)

    with engine.connect() as connection:
        details = dict(alerts(connection)[0]["details"])
    assert details["Since the last success"] == "SQL changed, code changed from v1 to v2"


def test_only_an_address_of_the_web_is_a_link(engine: Engine) -> None:
    with engine.begin() as connection:
        pipeline_id = add_pipeline(connection, "load")
        said = metadata("wrong", log_url="javascript:alert(1)")
        run_id = add_run(connection, pipeline_id, end_date=ago(minutes=1), execution_metadata=said, **FAILED)
    judge_failure_task(pipeline_id, run_id)

    with engine.connect() as connection:
        assert "javascript" not in str(alerts(connection))
