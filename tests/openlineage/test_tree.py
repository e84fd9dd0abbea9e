"""Runs below the runs that called them, whichever was heard of first."""

from datetime import UTC, datetime
from itertools import permutations
from typing import Any

import pytest
from sqlalchemy import Engine

from tests.openlineage.known import by_pipeline, executions, rows, said
from tests.support.openlineage import Event, job_type, later, parent, run_event, send

START = datetime(2026, 3, 1, 12, tzinfo=UTC)


def closure(engine: Engine) -> set[tuple[str, str, int]]:
    """Pairs of the names of jobs and how far one is below the other."""
    found = rows(
        engine,
        """
        SELECT above.execution_metadata #>> '{openlineage,name}' AS above,
            below.execution_metadata #>> '{openlineage,name}' AS below, depth
        FROM pipeline_execution_closure
        JOIN pipeline_execution AS above ON above.id = parent_execution_id
        JOIN pipeline_execution AS below ON below.id = child_execution_id
        WHERE depth > 0
        """,
    )
    return {(row["above"], row["below"], row["depth"]) for row in found}


def run(job: str, caller: str | None, *, kind: str = "COMPLETE", seconds: float = 9, **facets: Any) -> list[Event]:
    """The events of a run of a job that a run of another one called."""
    called = parent(caller, caller) if caller else {}
    return [
        run_event("START", START, job=job, run=job, run_facets=called, job_facets=facets),
        run_event(kind, later(START, seconds), job=job, run=job, run_facets=called, job_facets=facets),
    ]


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_a_tree_is_the_same_in_any_order(engine: Engine, order: tuple[int, ...]) -> None:
    runs = [run("dag", None), run("task", "dag"), run("model", "task")]
    for number in order:
        send(engine, *runs[number])
    assert closure(engine) == {("dag", "task", 1), ("dag", "model", 2), ("task", "model", 1)}


def test_a_parent_that_is_known_by_its_end_alone_is_a_parent(engine: Engine) -> None:
    send(engine, run_event("START", later(START, 1), job="task", run="c", run_facets=parent("dag", "p")))
    assert executions(engine)[0]["parent_id"] is None
    send(engine, run_event("COMPLETE", later(START, 2), job="dag", run="p"))
    known = by_pipeline(engine)
    assert known["task"]["parent_id"] == known["dag"]["id"]


def test_a_parent_that_never_reports_is_no_execution(engine: Engine) -> None:
    send(engine, *run("task", "cron job"))
    (only,) = executions(engine)
    assert (only["pipeline"], only["parent_id"]) == ("demo/task", None)
    assert list(rows(engine, "SELECT name FROM pipeline")) == [{"name": "demo/task"}]


def test_a_parent_that_only_says_something_is_no_execution_yet(engine: Engine) -> None:
    send(engine, *run("task", "dag"), run_event("OTHER", START, job="dag", run="dag"))
    assert by_pipeline(engine)["task"]["parent_id"] is None
    send(engine, run_event("START", START, job="dag", run="dag"))
    assert closure(engine) == {("dag", "task", 1)}


def test_a_parent_in_another_namespace_is_found(engine: Engine) -> None:
    called = parent("dag", "dag", namespace="elsewhere")
    send(engine, run_event("START", START, job="task", run="c", run_facets=called))
    send(engine, run_event("START", START, job="dag", run="dag", namespace="elsewhere"))
    assert closure(engine) == {("dag", "task", 1)}


def test_a_run_that_calls_itself_is_a_root(engine: Engine) -> None:
    send(engine, *run("task", "task"))
    assert by_pipeline(engine)["task"]["parent_id"] is None


def test_of_runs_that_call_each_other_one_is_a_root(engine: Engine) -> None:
    send(engine, *run("one", "two"), *run("two", "three"), *run("three", "one"))
    assert sum(row["parent_id"] is None for row in executions(engine)) == 1


def test_a_run_that_names_another_parent_later_moves_with_all_below_it(engine: Engine) -> None:
    send(engine, *run("dag", None), *run("other", None), *run("task", "dag"), *run("model", "task"))
    moved = parent("other", "other")
    send(engine, run_event("OTHER", later(START, 60), job="task", run="task", run_facets=moved))
    assert closure(engine) == {("other", "task", 1), ("other", "model", 2), ("task", "model", 1)}


def test_a_child_belongs_to_the_attempt_that_went_on(engine: Engine) -> None:
    stream = job_type("FLINK", "JOB", "STREAMING")
    for kind, seconds in (("START", 0), ("FAIL", 100), ("START", 200)):
        send(engine, run_event(kind, later(START, seconds), job="stream", run="s", job_facets=stream))
    for number, seconds in enumerate((50, 250)):
        called = parent("stream", "s")
        send(engine, run_event("START", later(START, seconds), job="task", run=f"c{number}", run_facets=called))
    first, second = (row for row in executions(engine) if row["pipeline"] == "demo/stream")
    tasks = [row["parent_id"] for row in executions(engine) if row["pipeline"] == "demo/task"]
    assert tasks == [first["id"], second["id"]]


@pytest.mark.parametrize("child_first", [False, True])
def test_an_application_that_ends_well_notes_what_failed_in_it(engine: Engine, child_first: bool) -> None:
    application = run("app", None, **job_type("SPARK", "APPLICATION"))
    action = run("app.action", "app", kind="FAIL", **job_type("SPARK", "SQL_JOB"))
    for events in (action, application) if child_first else (application, action):
        send(engine, *events)
    known = by_pipeline(engine)["app"]
    assert known["completed_successfully"] is True
    assert said(known)["failed_children"] == 1
