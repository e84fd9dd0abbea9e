"""Runs that are a part of the run above them."""

from datetime import UTC, datetime

import pytest
from sqlalchemy import Engine

from tests.openlineage.known import edges, executions, pipelines, rows, said
from tests.support.openlineage import dataset, job_type, later, output, parent, run_event, send

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
MODEL, SQL = job_type("DBT", "MODEL"), job_type("DBT", "SQL")


@pytest.mark.parametrize("model_first", [True, False])
def test_statements_of_dbt_are_a_part_of_their_model(engine: Engine, model_first: bool) -> None:
    model = [
        run_event("START", START, job="model", run="m", job_facets=job_type("DBT", "MODEL")),
        run_event("FAIL", later(START, 60), job="model", run="m"),
    ]
    parts = []
    for number in range(8):
        facets = parent("model", "m")
        kind = "COMPLETE"
        if number == 3:
            facets |= {"errorMessage": {"message": "division by zero", "programmingLanguage": "sql"}}
            kind = "FAIL"
        name = f"model.sql.{number}"
        at = later(START, number)
        parts.append(run_event("START", at, job=name, run=f"s{number}", run_facets=parent("model", "m")))
        parts.append(
            run_event(
                kind, later(at, 1), job=name, run=f"s{number}", run_facets=facets, job_facets=job_type("DBT", "SQL"),
                inputs=[dataset("x.y.source")], outputs=[output("x.y.target", rows=number)],
            )
        )  # fmt: skip
    for event in [*model, *parts] if model_first else [*parts, *model]:
        send(engine, event)
    send(engine, *parts)
    (run,) = executions(engine)
    assert run["pipeline"] == "demo/model"
    assert said(run)["statements"] == {"total": 8, "failed": 1}
    assert run["execution_metadata"]["error"] == "division by zero"
    assert run["total_rows"] == 28
    assert set(pipelines(engine)) == {"demo/model"}
    assert edges(engine) == {("x.y.source", "x.y.target")}


def test_what_turns_out_to_be_a_part_leaves_no_pipeline(engine: Engine) -> None:
    called = parent("model", "m")
    send(engine, run_event("START", START, job="model", run="m", job_facets=MODEL))
    send(engine, run_event("START", START, job="sql", run="s", run_facets=called, outputs=[output("a.b.c", rows=2)]))
    assert set(pipelines(engine)) == {"demo/model", "demo/sql"}
    send(engine, run_event("COMPLETE", later(START, 5), job="sql", run="s", job_facets=SQL, run_facets=called))
    assert set(pipelines(engine)) == {"demo/model"}
    (run,) = executions(engine)
    assert (said(run)["statements"], run["total_rows"]) == ({"total": 1, "failed": 0}, 2)
    # Its name is free: another run that is no part gets a pipeline of its own.
    send(engine, run_event("START", later(START, 60), job="sql", run="t"))
    assert set(pipelines(engine)) == {"demo/model", "demo/sql"}


def test_a_pipeline_that_people_made_outlives_its_last_part(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("INSERT INTO pipeline_type (name) VALUES ('own')")
        connection.exec_driver_sql(
            "INSERT INTO pipeline (name, pipeline_type_id) SELECT 'demo/sql', id FROM pipeline_type"
        )
    called = parent("model", "m")
    send(engine, run_event("START", START, job="sql", run="s", run_facets=called))
    send(engine, run_event("COMPLETE", later(START, 5), job="sql", run="s", job_facets=SQL, run_facets=called))
    assert executions(engine) == []
    assert set(pipelines(engine)) == {"demo/sql"}


def test_parts_of_parts_belong_to_the_first_that_is_none(engine: Engine) -> None:
    send(engine, run_event("COMPLETE", START, job="deep", run="d", job_facets=SQL, run_facets=parent("sql", "s")))
    send(engine, run_event("START", START, job="model", run="m", job_facets=MODEL))
    send(engine, run_event("COMPLETE", START, job="sql", run="s", job_facets=SQL, run_facets=parent("model", "m")))
    (run,) = executions(engine)
    assert said(run)["statements"] == {"total": 2, "failed": 0}


def test_what_a_part_called_is_called_by_what_it_is_a_part_of(engine: Engine) -> None:
    send(engine, run_event("START", START, job="task", run="t", run_facets=parent("sql", "s")))
    send(engine, run_event("START", START, job="sql", run="s", job_facets=SQL, run_facets=parent("model", "m")))
    send(engine, run_event("START", START, job="model", run="m", job_facets=MODEL))
    known = {row["pipeline"]: row for row in executions(engine)}
    assert known["demo/task"]["parent_id"] == known["demo/model"]["id"]


def test_the_numbers_of_a_run_count_for_more_than_those_of_its_parts(engine: Engine) -> None:
    part = run_event(
        "COMPLETE", START, job="sql", run="s", job_facets=SQL, run_facets=parent("model", "m"),
        outputs=[output("a.b.c", rows=9)],
    )  # fmt: skip
    whole = run_event(
        "COMPLETE", later(START, 1), job="model", run="m", job_facets=MODEL, outputs=[output("a.b.c", rows=5)]
    )
    send(engine, part, whole)
    assert executions(engine)[0]["total_rows"] == 5


def test_a_part_whose_caller_never_reports_is_nothing_yet(engine: Engine) -> None:
    send(engine, run_event("COMPLETE", START, job="sql", run="s", job_facets=SQL, run_facets=parent("model", "m")))
    assert executions(engine) == []
    assert rows(engine, "SELECT FROM pipeline") == []
