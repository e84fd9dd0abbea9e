"""The diagnostics page and its report."""

import re
from datetime import timedelta
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import Connection, Engine, insert, text

from tests.conftest import MakeClient
from tests.support.notifications import add_alert
from tests.support.rows import add_pipeline, add_run, ago
from tests.support.tasks import add_task, add_waiting
from watcher_server.auth.service import create_token
from watcher_server.tasking.models import Worker

SECRET = "billing of ACME"


def add_worker(connection: Connection, **fields: object) -> None:
    """A worker that was just seen, unless the fields say otherwise."""
    values = {"name": "celery@db7.acme", "host": "db7.acme", "pid": 1, "queues": ["celery", "scheduled"]}
    connection.execute(insert(Worker).values(id=uuid4(), **{**values, "processes": 4, "active": 1, **fields}))


async def test_the_page_shows_every_section_with_what_is_normal(client: httpx.AsyncClient) -> None:
    answer = await client.get("/diagnostics")

    assert answer.status_code == 200
    assert answer.headers["content-security-policy"].startswith("default-src 'none';")
    for section in ("database", "storage", "sessions", "pools", "broker", "workers", "outbox", "queues", "tasks"):
        assert f'href="#{section}"' in answer.text
        assert f'<section id="{section}"' in answer.text
    for shown in ("PostgreSQL 1", "noeviction", "pipeline_execution_closure", "normal: below 80 %", "of 10 in use"):
        assert shown in answer.text
    assert re.search(r"Queue <code>celery</code>.*Queue <code>scheduled</code>", answer.text, re.DOTALL)


async def test_what_is_not_as_it_should_be_is_said_on_top_with_what_to_do(client: httpx.AsyncClient) -> None:
    page = (await client.get("/diagnostics")).text

    top = page.partition('aria-label="Sections"')[0]
    assert re.search(r"<strong>\d+ of \d+ checks</strong> are not as they should be", top)
    assert '<a href="#workers">Workers: alive</a>' in top
    assert '<a href="#outbox">Outbox: relays</a>' in top
    assert '<code class="command">watcher worker</code>' in page


async def test_trouble_of_the_work_is_found(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        add_worker(connection)
        add_worker(connection, seen_at=ago(minutes=5), name="celery@gone")
        add_task(connection, "FAILURE")
        add_task(connection, "FAILURE", finished_at=ago(hours=25))
        add_waiting(connection, due_at=ago(minutes=10))
        add_waiting(connection, due_at=ago(minutes=-10))
        add_alert(connection, created_at=ago(minutes=3))

    sections = (await client.get("/diagnostics/report.json")).json()["sections"]
    found = {check["check"]: (check["verdict"], check["now"]) for checks in sections.values() for check in checks}
    assert found["Alive"] == ("ok", "1 worker")
    assert found["Died within the hour"] == ("look", "1 worker")
    assert found["Processes at work"] == ("ok", "1 of 4")
    assert found["Tasks failed in 24 hours"] == ("look", "1, and 2 are kept in all")
    assert found["Waiting to be published"] == (
        "look",
        "1 due, the oldest for 10m, 1 for more than a minute, 1 for later",
    )
    assert found["Alerts not delivered"] == ("look", "1 late, the oldest for 3m")
    page = (await client.get("/diagnostics")).text
    assert 'href="/ui/tasks?state=FAILURE"' in page
    assert "celery@gone" in page


async def test_a_part_is_what_htmx_puts_into_the_page(client: httpx.AsyncClient) -> None:
    part = (await client.get("/diagnostics", headers={"HX-Request": "true"})).text
    assert "<html" not in part
    assert '<section id="database"' in part


@pytest.mark.parametrize("kind", ["json", "txt"])
async def test_the_report_holds_nothing_that_a_user_named(
    client: httpx.AsyncClient, engine: Engine, database_url: str, kind: str
) -> None:
    with engine.begin() as connection:
        add_run(connection, add_pipeline(connection, SECRET))
        add_worker(connection, queues=["celery", "acme_queue"])
        add_task(connection, "FAILURE", name="acme_task", queue="acme_queue")
        add_waiting(connection, "acme_task", queue="acme_queue", kwargs={"name": SECRET})
        connection.execute(text("CREATE TABLE acme_table (acme_column int PRIMARY KEY)"))
        connection.execute(text("CREATE INDEX acme_index ON acme_table (acme_column)"))
    try:
        report = (await client.get(f"/diagnostics/report.{kind}")).text
        page = (await client.get("/diagnostics")).text
    finally:
        with engine.begin() as connection:
            connection.execute(text("DROP TABLE acme_table"))

    assert "acme_table" in page
    assert "acme_queue" in page
    assert "acme" not in report.lower()
    assert "://" not in report
    assert database_url.partition("host=")[2] not in report
    assert "ix_pipeline_execution_baseline" in report
    assert "Watcher" in report
    assert "retention_days" in report


async def test_the_report_is_not_for_everybody(make_client: MakeClient, engine: Engine) -> None:
    with engine.begin() as connection:
        create_token(connection, "somebody", "read")
    async with make_client() as client:
        assert (await client.get("/diagnostics/report.json")).status_code == 401
        assert (await client.get("/diagnostics", headers={"Accept": "text/html"})).status_code == 303


async def test_retention_says_when_it_ran(make_client: MakeClient, engine: Engine) -> None:
    with engine.begin() as connection:
        moment = ago(hours=3)
        add_task(connection, name="retention_task", created_at=moment, finished_at=moment + timedelta(minutes=1))
    async with make_client(retention_days=365) as client:
        page = (await client.get("/diagnostics")).text
    assert "365 days, last 2h 59m ago" in page


@pytest.mark.parametrize("query", ["days=x", "page=-1", "%00=%ff", "x=" + "y" * 5000])
async def test_odd_parameters_do_no_harm(client: httpx.AsyncClient, query: str) -> None:
    assert (await client.get(f"/diagnostics?{query}")).status_code == 200
