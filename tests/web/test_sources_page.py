"""The page of who sends events of OpenLineage, and the one that says how to connect a tool."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from sqlalchemy import Engine, text

from tests.conftest import MakeClient
from tests.support.openlineage import Event, apply_waiting, dataset, output, put, run_event, send
from watcher_server.auth.service import create_token, find_token
from watcher_server.openlineage.applying import inbox
from watcher_server.openlineage.counting import read_version
from watcher_server.web.sources.recipes import java_url, python_url, recipes

HTML = {"Accept": "text/html"}
PART = {"HX-Request": "true"}
AIRFLOW = "https://github.com/apache/airflow/tree/providers-openlineage/2.20.3"


@pytest.fixture
def administrator(engine: Engine) -> Iterator[dict[str, str]]:
    with engine.begin() as connection:
        token = create_token(connection, "of an administrator", "admin")
    yield HTML | {"Authorization": f"Bearer {token}"}
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM api_token"))


def event(namespace: str = "prod", run: str = "1", *, producer: str = AIRFLOW) -> Event:
    return run_event("COMPLETE", datetime.now(UTC), namespace=namespace, run=run) | {"producer": producer}


def fail(engine: Engine, sent: Event, error: str) -> int:
    (event_id,) = put(engine, [sent])
    with engine.begin() as connection:
        assert inbox.put_aside(connection, event_id, error)
    return event_id


def was_last_heard(engine: Engine, namespace: str, **ago: float) -> None:
    statement = "UPDATE openlineage_source SET last_at = :at WHERE lane = :lane"
    with engine.begin() as connection:
        connection.execute(text(statement), {"at": datetime.now(UTC) - timedelta(**ago), "lane": namespace})


def text_of(page: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", page.partition("<main")[2]))


async def test_before_the_first_event_the_page_says_how_to_connect(client: httpx.AsyncClient) -> None:
    page = (await client.get("/ui/sources", headers=HTML)).text
    assert "No event of OpenLineage has come yet" in page
    assert 'href="/ui/sources/connect"' in page


async def test_who_sends_is_listed_with_tool_version_and_numbers(client: httpx.AsyncClient, engine: Engine) -> None:
    same = event()
    send(engine, same)
    send(engine, same, event(run="2"))
    page = text_of((await client.get("/ui/sources", headers=HTML)).text)
    assert re.search(r"prod sends airflow 2\.20\.3 (now|\w+ ago) 2 1 0 0", page)
    assert "In the last minute 3 events" in page
    assert "Waiting none" in page


@pytest.mark.parametrize(
    ("producer", "version"),
    [
        ("https://github.com/OpenLineage/OpenLineage/tree/1.54.0/client/python", "1.54.0"),
        ("https://github.com/OpenLineage/OpenLineage/tree/1.54.0/integration/dbt", "1.54.0"),
        (AIRFLOW, "2.20.3"),
        ("https://github.com/OpenLineage/OpenLineage/blob/v1-0-0/client", None),
        ("my-loader", None),
        ("", None),
    ],
)
def test_the_version_is_that_of_the_producers_address(producer: str, version: str | None) -> None:
    assert read_version(producer) == version


async def test_what_waits_is_counted_with_its_age(client: httpx.AsyncClient, engine: Engine) -> None:
    put(engine, [event(), event("other")])
    with engine.begin() as connection:
        connection.execute(
            text("UPDATE openlineage_event SET received_at = received_at - interval '3 hours' WHERE lane = 'other'")
        )
    page = text_of((await client.get("/ui/sources", headers=HTML)).text)
    assert "Waiting 2, the oldest came 3h ago" in page


@pytest.mark.parametrize(
    ("days_before", "heard", "word"),
    [
        # It ran every day.
        (range(3, 10), {"days": 2}, "silent"),
        (range(1, 10), {"hours": 20}, "sends"),
        # It ran once a week, or is not known for long.
        ((2, 9, 16), {"days": 2}, "sends"),
        ((), {"days": 5}, "sends"),
        ((), {"days": 9}, "silent"),
    ],
)
async def test_a_namespace_is_silent_once_it_pauses_longer_than_before(
    client: httpx.AsyncClient, engine: Engine, days_before: range, heard: dict[str, float], word: str
) -> None:
    send(engine, event())
    was_last_heard(engine, "prod", **heard)
    with engine.begin() as connection:
        connection.execute(
            text("""
                INSERT INTO daily_pipeline_metric (
                    date_recorded, pipeline_id, total_executions, ended_executions, failed_executions,
                    measured_durations
                )
                SELECT CAST(now() AS date) - days, (SELECT id FROM pipeline), 1, 1, 0, 1
                FROM unnest(CAST(:days AS integer[])) AS before (days)
            """),
            {"days": list(days_before)},
        )
    assert f"prod {word} airflow" in text_of((await client.get("/ui/sources", headers=HTML)).text)


async def test_a_failed_event_is_shown_without_secrets_and_applied_again(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    event_id = fail(engine, event("postgres://ada:hunter22@wh:5432"), "OSError: postgresql://ada:hunter22@db is away")
    other_id = fail(engine, event("prod", "2"), "ValueError: odd")
    answer = await client.get("/ui/sources", headers=HTML)
    page = text_of(answer.text)
    assert "hunter22" not in answer.text
    assert "postgresql://ada:***@db is away" in page
    assert "ValueError: odd" in page

    done = await client.post("/ui/sources/replay", data={"event_id": event_id}, headers=HTML)
    assert (done.status_code, done.headers["location"]) == (303, "/ui/sources?replayed=1")
    page = text_of((await client.get(done.headers["location"], headers=HTML)).text)
    assert "One event is applied again." in page
    assert "is away" not in page
    assert "ValueError: odd" in page

    await client.post("/ui/sources/replay", headers=HTML)
    with engine.connect() as connection:
        in_order = text("SELECT id FROM openlineage_event WHERE applied_at IS NULL ORDER BY id")
        waiting = connection.scalars(in_order).all()
        tasks = connection.scalars(text("SELECT task_name FROM outbox")).all()
    assert waiting == [event_id, other_id]
    assert set(tasks) == {"openlineage_apply_task"}
    apply_waiting(engine)
    again = await client.post("/ui/sources/replay", headers=HTML)
    assert again.headers["location"] == "/ui/sources?replayed=0"


async def test_facets_that_were_left_out_are_listed(client: httpx.AsyncClient, engine: Engine) -> None:
    sent = event()
    sent["run"]["facets"] = {"parent": 7, "ours_alone": {}}
    send(engine, sent)
    page = text_of((await client.get("/ui/sources", headers=HTML)).text)
    assert "parent 1 it could not be read" in page
    assert "ours_alone 1 Watcher does not use it" in page


@pytest.mark.parametrize(
    ("base", "for_python", "for_java"),
    [
        ("http://h:8000", "http://h:8000", "http://h:8000"),
        ("https://h/watcher", "https://h/watcher/", "https://h/watcher/api/v1/lineage"),
    ],
)
def test_each_client_gets_the_address_that_it_makes_the_path_from(base: str, for_python: str, for_java: str) -> None:
    assert (python_url(base), java_url(base)) == (for_python, for_java)


async def test_the_lines_have_the_public_address(make_client: MakeClient) -> None:
    async with make_client(public_url="https://data.example/watcher") as client:
        page = (await client.get("/ui/sources/connect", headers=HTML)).text
    assert "OPENLINEAGE_URL=https://data.example/watcher/\n" in page
    assert "spark.openlineage.transport.url=https://data.example/watcher/api/v1/lineage \\" in page
    assert "openlineage.transport.url: https://data.example/watcher/api/v1/lineage\n" in page
    for tool in ("Airflow", "dbt", "Spark", "Flink", "Dagster", "Python"):
        assert f">{tool}</h3>" in page


async def test_a_token_that_may_only_send_is_shown_once_in_the_lines(
    make_client: MakeClient, engine: Engine, administrator: dict[str, str]
) -> None:
    async with make_client() as client:
        opened = (await client.get("/ui/sources/connect", headers=administrator)).text
        assert 'name="name" value="openlineage"' in opened
        made = await client.post("/ui/sources/token", data={"name": "openlineage"}, headers=administrator)
        assert made.status_code == 200
        token = re.search(r"OPENLINEAGE_API_KEY=(watcher_[\w-]+)\n", made.text)
        assert token is not None
        assert f"transport.auth.apiKey={token[1]} " in made.text
        with engine.connect() as connection:
            known = find_token(connection, token[1])
        assert known is not None
        assert (known.name, known.scope) == ("openlineage", "ingest")

        again = (await client.get("/ui/sources/connect", headers=administrator)).text
        assert "watcher_" not in again.replace("watcher_token", "")
        assert 'name="name" value="openlineage 2"' in again
        taken = await client.post("/ui/sources/token", data={"name": "openlineage"}, headers=administrator)
        assert taken.status_code == 422
        assert "There is a token named openlineage already" in taken.text
        assert (await client.post("/ui/sources/token", data={"name": ""}, headers=administrator)).status_code == 422


async def test_the_first_token_is_none_that_locks_everybody_out(client: httpx.AsyncClient, engine: Engine) -> None:
    assert "Make a token" not in (await client.get("/ui/sources/connect", headers=HTML)).text
    refused = await client.post("/ui/sources/token", data={"name": "openlineage"}, headers=HTML)
    assert refused.status_code == 409
    assert "watcher token create NAME --scope admin" in refused.text
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM api_token")) == 0


async def test_the_page_waits_for_an_event_that_comes_after_it_was_opened(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    send(engine, event("before"))
    page = (await client.get("/ui/sources/connect", headers=HTML)).text
    assert "Waiting for the first event" in page
    first = re.search(r'hx-get="(/ui/sources/first\?since=\d+)"', page)
    look_again = re.search(r'href="(/ui/sources/connect\?since=\d+)"', page)
    assert first
    assert look_again
    assert "data-live" in (await client.get(first[1], headers=PART)).text

    put(engine, [event("after")])
    part = (await client.get(first[1], headers=PART)).text
    assert "The first event has come" in part
    assert "after" in part
    assert "data-live" not in part
    assert "<html" not in part
    for whole in (look_again[1], first[1]):
        assert "The first event has come" in (await client.get(whole, headers=HTML)).text


async def test_a_first_event_that_failed_is_no_success(client: httpx.AsyncClient, engine: Engine) -> None:
    fail(engine, event(), "ValueError: odd")
    part = (await client.get("/ui/sources/first?since=0", headers=PART)).text
    assert "could not be applied" in part
    assert "The first event has come" not in part


async def test_an_address_proposes_the_one_with_the_same_three_parts(client: httpx.AsyncClient, engine: Engine) -> None:
    posted = {"name": "Shop.public.Orders", "address_type_name": "postgres", "address_type_group_name": "database"}
    known = (await client.post("/address", json=posted)).json()["id"]
    other = (await client.post("/address", json=posted | {"name": "shop.public.refunds"})).json()["id"]
    sent = event()
    sent |= {"inputs": [dataset("shop.public.orders")], "outputs": [output("mart.public.daily", rows=1)]}
    send(engine, sent)
    with engine.connect() as connection:
        found = text("SELECT id FROM address WHERE name = 'postgres://wh:5432/shop.public.orders'")
        address_id = connection.scalar(found)
    details = f"/lineage-graph/details?source_address_id={address_id}"
    page = (await client.get(details, headers=HTML)).text
    assert "Is this" in page
    assert "Shop.public.Orders" in page
    assert "Is this" not in (await client.get(f"/lineage-graph?source_address_id={known}", headers=HTML)).text

    path = f"/ui/addresses/{address_id}/join"
    assert (await client.post(path, data={"into": other}, headers=HTML)).status_code == 409
    joined = await client.post(path, data={"into": known}, headers=HTML)
    assert (joined.status_code, joined.headers["location"]) == (303, f"/lineage-graph?source_address_id={known}")
    page = (await client.get(f"/lineage-graph?source_address_id={known}", headers=HTML)).text
    assert "postgres://wh:5432/mart.public.daily" in page
    assert "Is this" not in (await client.get(details, headers=HTML)).text


def test_the_program_of_the_page_reports_a_run(engine: Engine, tmp_path: Path) -> None:
    (python,) = (each for each in recipes("http://127.0.0.1:8000", "TOKEN") if each.key == "python")
    program = next(each.text for each in python.lines if "import" in each.text)
    transport = {"type": "file", "log_file_path": str(tmp_path / "events"), "append": True}
    environment = {**os.environ, "OPENLINEAGE__TRANSPORT": json.dumps(transport)}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True, cwd=tmp_path)
    events = [json.loads(line) for line in (tmp_path / "events").read_text().splitlines()]
    assert [each["eventType"] for each in events] == ["START", "COMPLETE"]
    send(engine, *events)
    with engine.connect() as connection:
        runs = connection.execute(
            text("""
                SELECT pipeline.name, completed_successfully, count(edge.id)
                FROM pipeline_execution JOIN pipeline ON pipeline.id = pipeline_id
                LEFT JOIN address_lineage AS edge ON edge.pipeline_id = pipeline.id GROUP BY 1, 2
            """)
        ).all()
    assert runs == [("demo/load orders", True, 1)]
