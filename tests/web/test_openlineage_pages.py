"""What events said of pipelines, runs and addresses, on their pages."""

import html
import re
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, text

from tests.support.openlineage import dataset, job_type, later, output, parent, run_event, send
from tests.support.rows import ago

START = ago(hours=2).replace(microsecond=0)


async def read(client: httpx.AsyncClient, path: str) -> str:
    """The words of a page, without its marks."""
    answer = await client.get(path, headers={"Accept": "text/html"})
    assert answer.status_code == 200, answer.text
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", answer.text)))


def job(**facets: Any) -> dict[str, Any]:
    return {
        **job_type("AIRFLOW", "TASK"),
        "ownership": {"owners": [{"name": "team:finance"}, {"name": "airflow"}]},
        "tags": {"tags": [{"key": "nightly", "value": "true"}, {"key": "team", "value": "finance"}]},
        "documentation": {"description": "Loads the orders.\n<script>alert(1)</script>"},
        "sql": {"query": "SELECT * FROM orders"},
        "sourceCodeLocation": {
            "url": "https://git.example/etl.py",
            "path": "etl.py",
            "version": "v1",
            "branch": "main",
        },
        **facets,
    }


def failed(at_seconds: float = 600, **facets: Any) -> dict[str, Any]:
    run_facets = {
        "errorMessage": {
            "message": "ValueError: no rows at postgres://me:secret@wh/shop",
            "programmingLanguage": "python",
            "stackTrace": "Traceback (most recent call last):\n  File etl.py",
        },
        "processing_engine": {"name": "Airflow", "version": "3.0.1"},
        "nominalTime": {"nominalStartTime": "2026-05-03T00:00:00Z", "nominalEndTime": "2026-05-04T00:00:00Z"},
        "airflow": {
            "dag": {}, "task": {"retries": 1},
            "taskInstance": {"try_number": 2, "log_url": "https://airflow.example/log"},
        },
        "test": {
            "tests": [
                {"name": "not_null_orders_id", "status": "fail"}, {"name": "unique_orders_id", "status": "pass"},
            ]
        },
    }  # fmt: skip
    return run_event(
        "FAIL", later(START, at_seconds), run="2", run_facets={**run_facets, **facets},
        job_facets=job(sql={"query": "SELECT id FROM orders"}),
    )  # fmt: skip


def send_both(engine: Engine) -> None:
    """A run that succeeded, and one that failed with other SQL."""
    fields = {"fields": [{"name": "id", "type": "int", "description": "The number."}, {"name": "note", "type": "text"}]}
    inputs = [
        {
            **dataset("shop.public.orders", schema=fields),
            "inputFacets": {"inputStatistics": {"rowCount": 1_200, "size": 2_048}},
        }
    ]
    written = {
        **output("shop.mart.daily", rows=7),
        "outputFacets": {"outputStatistics": {"rowCount": 7, "size": 512, "fileCount": 2}},
    }
    send(
        engine,
        run_event("START", START, run="1", job_facets=job(), inputs=inputs),
        run_event("COMPLETE", later(START, 60), run="1", job_facets=job(), outputs=[written]),
        run_event("START", later(START, 500), run="2"),
        failed(),
    )


async def test_a_pipeline_shows_what_its_job_says(client: httpx.AsyncClient, engine: Engine) -> None:
    send_both(engine)
    await client.patch("/pipeline", json={"id": 1, "pipeline_metadata": {"tags": ["mine", "nightly"]}})

    page = (await client.get("/ui/pipelines/1")).text
    words = await read(client, "/ui/pipelines/1")

    assert '<h1><span class="namespace">demo/</span>etl</h1>' in page
    assert "<script>alert(1)" not in page
    for said in (
        "Reported by airflow", "team:finance", "Loads the orders.", "SELECT id FROM orders", "etl.py, main, v1",
    ):  # fmt: skip
        assert said in words
    assert '<a href="https://git.example/etl.py" rel="noreferrer">' in page
    tags = words.partition("Tags")[2].partition("Known since")[0].split()
    assert tags == ["mine", "nightly", "team:finance", "airflow"]
    assert '<span class="namespace">demo/</span>etl</a>' in (await client.get("/ui/pipelines")).text


async def test_a_pipeline_that_no_event_names_shows_nothing_of_it(client: httpx.AsyncClient) -> None:
    await client.post("/pipeline", json={"name": "demo/own", "pipeline_type_name": "load"})

    page = (await client.get("/ui/pipelines/1")).text

    assert "<h1>demo/own</h1>" in page
    assert "Reported by" not in page


async def test_a_schedule_says_where_it_is_from(client: httpx.AsyncClient, engine: Engine) -> None:
    facets = {"airflowDagRun": {"dag": {"timetable": {"expression": "0 2 * * *", "timezone": "UTC"}}, "dagRun": {}}}
    send(engine, run_event("COMPLETE", START, run_facets=facets, job_facets=job_type("AIRFLOW", "DAG")))

    await client.patch("/pipeline", json={"id": 1, "schedule": "0 3 * * *"})
    assert "airflow says 0 2 * * *" in await read(client, "/ui/pipelines/1")

    await client.patch("/pipeline", json={"id": 1, "schedule": "0 2 * * *"})
    words = await read(client, "/ui/pipelines/1")
    assert "0 2 * * * UTC from airflow" in words
    assert "airflow says" not in words


async def test_a_run_shows_its_error_and_what_it_used(client: httpx.AsyncClient, engine: Engine) -> None:
    send_both(engine)

    first, second = [await read(client, f"/ui/executions/{number}") for number in (1, 2)]

    page = (await client.get("/ui/executions/2")).text
    assert '<span class="namespace">demo/</span>etl</h1>' in page
    assert '<a href="https://airflow.example/log" rel="noreferrer">' in page
    for said in (
        "ValueError: no rows", "Traceback (most recent call last)", "Airflow 3.0.1", "Run of 2026-05-03 00:00 UTC",
        "Try 2", "Tests 2, 1 failed", "not_null_orders_id", "Since the last success: SQL changed.",
    ):  # fmt: skip
        assert said in second
    assert "secret" not in page
    assert "shop.public.orders read 1,200 2.0 KiB" in first
    assert "shop.mart.daily written 7 512 bytes 2" in first
    assert "Error" not in first.partition("What it did")[0]


@pytest.mark.parametrize("url", ["javascript:alert(1)", "data:text/html,x", "//evil.example"])
async def test_only_addresses_of_the_web_are_links(client: httpx.AsyncClient, engine: Engine, url: str) -> None:
    event = failed(airflow={"dag": {}, "task": {}, "taskInstance": {"log_url": url}})
    event["job"]["facets"] |= job(sourceCodeLocation={"url": url})
    exposures = {"exposures": [{"name": "Dashboard", "url": url}]}
    send(engine, event, run_event("COMPLETE", START, run="3", outputs=[output("a.b.c")],
                                  inputs=[dataset("a.b.d", dbt_exposures=exposures)]))  # fmt: skip

    pages = (
        "/ui/pipelines/1",
        "/ui/executions/1",
        "/lineage-graph?source_address_id=1",
        "/lineage-graph?source_address_id=2",
    )
    for path in pages:
        answer = await client.get(path)
        assert answer.status_code == 200
        assert f'href="{url}' not in answer.text


async def test_statements_are_a_part_of_their_model(client: httpx.AsyncClient, engine: Engine) -> None:
    send(engine, run_event("START", START, job="model", run="m", job_facets=job_type("DBT", "MODEL")))
    for number in range(3):
        send(
            engine,
            run_event(
                "COMPLETE", later(START, number), job=f"model.sql.{number}", run=f"s{number}",
                run_facets=parent("model", "m"), job_facets=job_type("DBT", "SQL"), outputs=[output("x.y.z", rows=2)],
            ),
        )  # fmt: skip
    send(engine, run_event("COMPLETE", later(START, 9), job="model", run="m"))

    with engine.connect() as connection:
        run_id = connection.scalar(text("SELECT id FROM pipeline_execution"))
    words = await read(client, f"/ui/executions/{run_id}")

    assert "SQL statements 3" in words
    assert "x.y.z written 6" in words


async def test_an_address_shows_its_fields_and_its_other_names(client: httpx.AsyncClient, engine: Engine) -> None:
    send_both(engine)
    symlinks = {"identifiers": [{"namespace": "hive://meta", "name": "shop.orders", "type": "TABLE"}]}
    fields = {"fields": [{"name": "id", "type": "bigint"}]}
    owned = {"owners": [{"name": "Ana"}]}
    facets: dict[str, Any] = {
        "schema": fields,
        "symlinks": symlinks,
        "ownership": owned,
        "documentation": {"description": "All orders."},
    }
    read_again = [dataset("shop.public.orders", **facets)]
    send(
        engine,
        run_event("COMPLETE", later(START, 900), run="3", inputs=read_again, outputs=[output("shop.mart.daily")]),
    )
    (address,) = (await client.get("/address", params={"name": "public.orders"})).json()

    for path in ("/lineage-graph", "/lineage-graph/details"):
        words = await read(client, f"{path}?source_address_id={address['id']}")
        for said in (
            "All orders.", "Ana", "Fields (1)", "id bigint", "removed note", "changed type id",
            "shop.orders another name",
        ):  # fmt: skip
            assert said in words
