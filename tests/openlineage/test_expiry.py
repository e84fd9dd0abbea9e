"""What is old or forgotten goes: edges that no run shows, runs with their executions, jobs with their pipelines."""

from typing import Any

import httpx
from sqlalchemy import Engine

from tests.openlineage.conftest import Run
from tests.openlineage.kept import query, run_tasks, write
from tests.support.openlineage import dataset, job_type, later, output, parent, run_event, send
from tests.support.rows import ago, now
from watcher_server.celery_tasks import forget_task
from watcher_server.openlineage.duties import keeper_duties
from watcher_server.settings import load_settings


def edges(engine: Engine) -> list[tuple[str, str]]:
    statement = """
        SELECT source.name, target.name FROM address_lineage
        JOIN address AS source ON source.id = source_address_id JOIN address AS target ON target.id = target_address_id
        ORDER BY 1, 2
    """
    return [(source[-1], target[-1]) for source, target in query(engine, statement)]


def closure(engine: Engine) -> set[tuple[str, str]]:
    statement = """
        SELECT source.name, target.name FROM address_lineage_closure
        JOIN address AS source ON source.id = source_address_id JOIN address AS target ON target.id = target_address_id
        WHERE depth > 0
    """
    return {(source[-1], target[-1]) for source, target in query(engine, statement)}


def expire(engine: Engine) -> None:
    (duty,) = [duty for duty in keeper_duties(load_settings()) if duty.name == "take old edges out of the lineage"]
    duty.do(engine)
    run_tasks(engine)


def ran(engine: Engine, days_ago: float, run: str, target: str, *, kind: str = "COMPLETE", job: str = "etl") -> None:
    """A run from s.t.a to a target, that long ago."""
    start = ago(days=days_ago)
    send(
        engine,
        run_event("START", start, job=job, run=run, inputs=[dataset("s.t.a")]),
        run_event(kind, later(start, 60), job=job, run=run, outputs=[output(f"s.t.{target}")]),
    )
    run_tasks(engine)


def test_an_edge_that_no_run_has_shown_for_long_leaves_the_lineage_and_its_closure(engine: Engine) -> None:
    ran(engine, 40, "1", "b")
    ran(engine, 20, "2", "c")
    assert edges(engine) == [("a", "b"), ("a", "c")]
    assert closure(engine) == {("a", "b"), ("a", "c")}
    expire(engine)

    assert edges(engine) == [("a", "c")]
    assert closure(engine) == {("a", "c")}
    ran(engine, 0.1, "3", "b")
    assert edges(engine) == [("a", "b"), ("a", "c")]


def test_an_edge_stays_while_its_pipeline_has_not_succeeded_since(engine: Engine) -> None:
    ran(engine, 40, "1", "b")
    ran(engine, 20, "2", "c", kind="FAIL")
    expire(engine)

    assert edges(engine) == [("a", "b"), ("a", "c")]


def test_an_edge_that_was_declared_stays(engine: Engine) -> None:
    ran(engine, 40, "1", "b")
    ran(engine, 20, "2", "c")
    write(engine, "UPDATE address_lineage SET origin = 'declared', last_seen_at = NULL")
    expire(engine)

    assert edges(engine) == [("a", "b"), ("a", "c")]


async def clean(client: httpx.AsyncClient) -> dict[str, Any]:
    answer = await client.post("/log_cleanup", json={"retention_days": 90})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def test_runs_go_with_their_executions_and_parts_by_their_age(client: httpx.AsyncClient, engine: Engine) -> None:
    before = set(await clean(client))
    for days, name in ((100, "old"), (10, "new")):
        start = ago(days=days)
        statement = job_type("DBT", "SQL")
        send(
            engine,
            run_event("START", start, job="model", run=name),
            run_event("COMPLETE", later(start, 5), job="model", run=name),
            run_event("COMPLETE", start, job="q", run=name, run_facets=parent("model", name), job_facets=statement),
            run_event("OTHER", start, job="other", run=name),
        )
    gone = run_event("COMPLETE", ago(days=95), job="q once", run="q", job_facets=job_type("DBT", "SQL"))
    send(engine, gone)
    counted = await clean(client)

    assert set(counted) == before
    assert query(engine, "SELECT name FROM openlineage_job ORDER BY 1") == [("model",), ("other",), ("q",)]
    assert counted["total_pipeline_executions_deleted"] == 1
    assert query(engine, "SELECT DISTINCT run_id FROM openlineage_run") == [("new",)]
    assert query(engine, "SELECT count(*) FROM openlineage_run") == [(3,)]
    late = run_event("FAIL", ago(days=99), job="model", run="old")
    send(engine, late)
    assert query(engine, "SELECT count(*) FROM pipeline_execution") == [(2,)]


async def test_nothing_of_events_is_left_of_a_forgotten_pipeline_and_the_next_event_makes_it_anew(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    part = run_event(
        "COMPLETE", now(), job="q", run="q", run_facets=parent("etl", "1"), job_facets=job_type("DBT", "SQL")
    )
    ran(engine, 1, "1", "b")
    ran(engine, 1, "1", "c", job="stays")
    send(engine, part, run_event("OTHER", now(), run="2"))
    ((pipeline,),) = query(engine, "SELECT id FROM pipeline WHERE name = 'demo/etl'")
    answer = await client.delete(f"/pipeline/{pipeline}", params={"forget": True})
    assert answer.status_code == 202
    # It comes before the task has deleted anything.
    ran(engine, 0.1, "3", "b")
    assert forget_task(kind="pipeline", id=pipeline)["finished"] is True

    assert query(engine, "SELECT count(*) FROM pipeline WHERE id = :id", id=pipeline) == [(0,)]
    ((made,),) = query(engine, "SELECT id FROM pipeline WHERE name = 'demo/etl'")
    assert made > pipeline
    assert query(engine, "SELECT count(*) FROM pipeline_execution WHERE pipeline_id = :id", id=made) == [(1,)]
    answer = await client.delete(f"/pipeline/{made}", params={"forget": True})
    assert forget_task(kind="pipeline", id=made)["finished"] is True
    assert query(engine, "SELECT name FROM openlineage_job ORDER BY 1") == [("q",), ("stays",)]
    assert query(engine, "SELECT DISTINCT run_id FROM openlineage_run ORDER BY 1") == [("1",), ("q",)]
    ran(engine, 0, "4", "b")
    assert len(query(engine, "SELECT FROM pipeline WHERE name = 'demo/etl' AND archived_at IS NULL")) == 1


async def test_a_forgotten_address_is_made_anew_by_the_next_event(client: httpx.AsyncClient, engine: Engine) -> None:
    fields: list[dict[str, Any]] = [{"schema": {"fields": [{"name": name, "type": "int"}]}} for name in ("x", "y")]
    for number, facets in enumerate(fields):
        send(
            engine,
            run_event("COMPLETE", later(ago(hours=1), number), run=f"{number}", outputs=[output("s.t.b", **facets)]),
        )
    assert query(engine, "SELECT count(*) FROM address_schema_change") == [(1,)]
    ((address,),) = query(engine, "SELECT id FROM address")
    answer = await client.delete(f"/address/{address}", params={"forget": True})
    assert answer.status_code == 202
    assert forget_task(kind="address", id=address)["finished"] is True

    assert query(engine, "SELECT count(*) FROM address") == [(0,)]
    assert query(engine, "SELECT count(*) FROM openlineage_dataset") == [(0,)]
    ran(engine, 0, "3", "b")
    assert edges(engine) == [("a", "b")]


def test_a_job_that_is_forgotten_takes_the_pipeline_that_it_made_along(engine: Engine, run: Run) -> None:
    ran(engine, 1, "1", "b")
    assert run("forget", "demo", "etl").out == "demo/etl is forgotten, and so is its pipeline demo/etl with its runs.\n"
    run_tasks(engine)
    for table in ("pipeline", "pipeline_execution", "openlineage_job", "openlineage_run"):
        assert query(engine, f"SELECT count(*) FROM {table}") == [(0,)], table
    ended = run("forget", "demo", "etl")
    assert (ended.status, "There is no job etl in the namespace demo" in ended.error) == (1, True)
    ran(engine, 0, "2", "b")
    assert len(query(engine, "SELECT FROM pipeline WHERE name = 'demo/etl'")) == 1


async def test_a_job_is_linked_to_another_pipeline_and_back(
    client: httpx.AsyncClient, engine: Engine, run: Run
) -> None:
    made = (await client.post("/pipeline", json={"name": "orders", "pipeline_type_name": "etl"})).json()["id"]
    ran(engine, 2, "1", "b")
    assert "reports runs of the pipeline orders" in run("link", "demo", "etl", "Orders").out
    ran(engine, 1, "2", "b")

    def runs() -> list[tuple[Any, ...]]:
        return query(
            engine,
            "SELECT name, count(*) FROM pipeline_execution JOIN pipeline ON pipeline.id = pipeline_id "
            "GROUP BY 1 ORDER BY 1",
        )

    assert runs() == [("demo/etl", 1), ("orders", 1)]
    assert "It was orders, which keeps its runs." in run("unlink", "demo", "etl").out
    ran(engine, 0.5, "3", "b")
    assert runs() == [("demo/etl", 2), ("orders", 1)]
    assert run("link", "demo", "new", made).status == 0
    ran(engine, 0.2, "4", "b", job="new")
    assert runs() == [("demo/etl", 2), ("orders", 2)]
    assert run("forget", "demo", "new").out == "demo/new is forgotten.\n"
    assert runs() == [("demo/etl", 2), ("orders", 2)]
    for arguments, said in (
        (("link", "demo", "etl", "nothing"), "There is no pipeline nothing: give its name or its id."),
        (("unlink", "demo", "nothing"), "There is no job nothing"),
    ):
        ended = run(*arguments)
        assert (ended.status, said in ended.error) == (1, True), ended


async def test_a_dataset_is_an_address_that_was_made_otherwise_with_its_edges(
    client: httpx.AsyncClient, engine: Engine, run: Run
) -> None:
    kind = {"address_type_name": "postgres", "address_type_group_name": "database"}
    made = (await client.post("/address", json={"name": "warehouse.orders", **kind})).json()["id"]
    ran(engine, 2, "1", "b")
    ended = run("alias", "postgres://wh:5432/s.t.b", "warehouse.orders")
    assert ended.out == f"postgres://wh:5432/s.t.b is the address warehouse.orders (ID {made}) from now on.\n"
    run_tasks(engine)
    assert edges(engine) == [("a", "s")]
    assert closure(engine) == {("a", "s")}
    ran(engine, 1, "2", "b")
    assert edges(engine) == [("a", "s")]
    assert run("alias", "s3://bucket/never/seen", made).status == 0
    ran(engine, 1, "3", "c")
    send(engine, run_event("COMPLETE", now(), run="4", outputs=[output("never/seen", "s3://bucket")]))
    assert query(engine, "SELECT count(*) FROM address WHERE name LIKE 's3%'") == [(0,)]
    for arguments, said in (
        (("postgres://wh:5432/s.t.b", "nothing"), "There is no address nothing"),
        (("nonsense", "warehouse.orders"), "nonsense is no dataset: write it as namespace/name"),
    ):
        ended = run("alias", *arguments)
        assert (ended.status, said in ended.error) == (1, True), ended
