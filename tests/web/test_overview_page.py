"""The overview: is anything wrong, since when, what does it touch, what to do."""

import re
from datetime import timedelta
from typing import Any

import httpx
from sqlalchemy import Engine, insert

from tests.incidents.records import add_incident
from tests.lineage.graphs import draw_addresses, draw_edges, rebuild_closure
from tests.support.checks import run_checks
from tests.support.rows import add_pipeline, add_run, ago, change_pipeline, now
from watcher_server.tasking.models import QueueDepthSample

HTML = {"Accept": "text/html"}


async def _overview(client: httpx.AsyncClient, **headers: str) -> str:
    answer = await client.get("/ui", headers={**HTML, **headers})
    assert answer.status_code == 200
    return answer.text


def _tile(page: str, state: str) -> str:
    found = re.search(rf'href="/ui/pipelines\?state={state}"><span class="number">([^<]+)', page)
    assert found is not None
    return found[1]


async def test_an_empty_watcher_says_how_to_begin(client: httpx.AsyncClient) -> None:
    page = await _overview(client)
    assert "Waiting for the first run" in page
    assert "post() { curl -fsS http://localhost/$1 -H" in page
    assert "watcher demo" in page


async def test_the_first_run_takes_the_place_of_the_lines_that_report_it(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    part = {"HX-Request": "true"}
    assert "Waiting for the first run" in (await client.get("/ui/first-run", headers=part)).text
    with engine.begin() as connection:
        pipeline = add_pipeline(connection, "orders")
    assert "Waiting for the first run" in await _overview(client, **part)
    with engine.begin() as connection:
        run = add_run(connection, pipeline)
    come = (await client.get("/ui/first-run", headers=part)).text
    assert f'<a href="/ui/executions/{run}">run {run} of orders</a>' in come
    page = await _overview(client, **part)
    assert "Waiting for the first run" not in page
    assert f'href="/ui/executions/{run}"' in page


async def test_all_is_well(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        add_run(connection, add_pipeline(connection))
    page = await _overview(client)
    assert "All is well" in page
    assert "What is wrong" not in page
    assert [_tile(page, state) for state in ("failing", "missed", "late", "stale", "anomalous", "running")] == ["0"] * 6


async def test_a_failing_pipeline_comes_with_since_when_what_it_touches_and_what_to_do(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    with engine.begin() as connection:
        connection.execute(insert(QueueDepthSample), [_sample("celery", 60)])
        add_incident(connection, None, "queue", subject="<b>look</b>", acknowledged_by="ada", state="acknowledged")
    draw_addresses(engine, 3)
    draw_edges(engine, [(1, 2)])
    with engine.begin() as connection:
        run = add_run(connection, 1, completed_successfully=False, start_date=ago(hours=2))
    run_checks(engine)
    page = await _overview(client)
    assert _tile(page, "failing") == "1"
    assert "needs attention" in page
    assert f'<a href="/ui/executions/{run}">Look at the run</a>' in page
    assert "the last run failed" in page
    assert "&lt;b&gt;look&lt;/b&gt;" in page.replace("<wbr>", "")
    assert re.search(r'class="status warning">.*?</svg>warning</span>\s*</div>', page)


def _sample(queue: str, ready: int) -> dict[str, Any]:
    minute = now().replace(second=0, microsecond=0)
    return {"queue": queue, "sampled_at": minute, "ready": ready, "unacknowledged": 0, "scheduled": 0} | {
        "outbox_pending": 0,
        "oldest_seconds": 1.0,
    }


async def test_the_timeline_has_a_lane_for_whoever_ran_and_a_bar_for_each_run(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    with engine.begin() as connection:
        ran = add_pipeline(connection, "ran <today>")
        runs = [
            add_run(connection, ran, start_date=ago(hours=hours), end_date=ago(hours=hours - 1)) for hours in (12, 6)
        ]
        add_run(connection, add_pipeline(connection, "ran last week"), end_date=ago(days=7))
    page = await _overview(client)
    lanes = page.partition('<div class="timeline')[2]
    assert "ran &lt;today&gt;" in lanes
    assert "ran last week" not in lanes
    assert all(f'href="/ui/executions/{run}"' in lanes for run in runs)


async def test_runs_that_would_hide_each_other_are_one_bar(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        pipeline = add_pipeline(connection)
        for minutes in range(60):
            started = ago(hours=5) + timedelta(minutes=minutes)
            add_run(connection, pipeline, start_date=started, end_date=started + timedelta(seconds=30))
    lanes = (await _overview(client)).partition('<div class="timeline')[2]
    assert "60 runs completed" in lanes
    assert lanes.count('class="bar completed"') == 2  # and the one of the legend


async def test_the_live_part_is_the_part_and_not_the_page(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        add_run(connection, add_pipeline(connection))
    part = await _overview(client, **{"HX-Request": "true"})
    assert "All is well" in part
    assert "<html" not in part


async def test_the_address_itself_answers_programs_and_people(client: httpx.AsyncClient) -> None:
    assert (await client.get("/")).json()["links"]["ui"] == "/ui"
    page = await client.get("/", headers=HTML)
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")


async def test_the_worst_comes_first_in_the_list_and_on_the_timeline(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        for name, kind in (("odd", "anomalous"), ("good", None), ("broken", "failing")):
            pipeline = add_pipeline(connection, name)
            add_run(connection, pipeline)
            if kind is not None:
                add_incident(connection, pipeline, kind)
    page = await _overview(client)
    listed, _, lanes = page.partition('<div class="timeline')
    assert listed.index("broken") < listed.index("odd")
    assert lanes.index("broken") < lanes.index("odd") < lanes.index("good")


async def test_what_touches_most_comes_first_with_its_error_owner_and_runbook(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    draw_addresses(engine, 4)
    for pipeline, edge in enumerate([(1, 2), (2, 3), (3, 4)], start=1):
        draw_edges(engine, [edge], pipeline)
    with engine.begin() as connection:
        rebuild_closure(connection, range(1, 5))
        change_pipeline(connection, 1, owner="ada", runbook_url="https://wiki.example/one")
        error = {"error": "disk <full>\nat line 3"}
        run = add_run(connection, 3, completed_successfully=False, execution_metadata=error)
        add_incident(connection, 3, "failing", opened_at=ago(hours=9), execution_id=run)
        add_incident(connection, 2, "anomalous", opened_at=ago(hours=5))
        add_incident(connection, 1, "stale", opened_at=ago(hours=1))
    table = (await _overview(client)).partition('<table class="trouble">')[2].partition("</table>")[0]
    assert re.findall(r'<a href="/ui/pipelines/\d">(\w+)</a>', table) == ["one", "two", "three"]
    assert '<a href="/ui/pipelines/1?tab=lineage#touched">2 addresses</a>' in table
    assert '<a href="/ui/incidents?owner=ada">ada</a>' in table
    assert '<a href="https://wiki.example/one" rel="noreferrer noopener">Runbook</a>' in table
    assert "<code>disk &lt;full&gt;</code>" in table


async def test_all_that_need_attention_are_one_click_away_and_effects_stand_with_their_cause(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    with engine.begin() as connection:
        names = [f"load {number}" for number in range(55)]
        pipelines = [add_pipeline(connection, name) for name in names]
        root = add_incident(connection, pipelines[0], "failing", since=ago(hours=3))
        for pipeline in pipelines[1:50]:
            add_incident(connection, pipeline, root_id=root)
        add_pipeline(connection, "paused", active=False)
    page = await _overview(client)
    table = page.partition('<table class="trouble">')[2].partition("</table>")[0]
    assert re.findall(r">(load \d+)</a>", table) == ["load 0"]
    assert f'href="/ui/incidents?root={root}">49 more because of it' in table
    assert 'href="/ui/pipelines?state=attention">All 50</a>' in page
    listed = (await client.get("/ui/pipelines?state=attention", headers=HTML)).text
    assert {*re.findall(r">(load \d+)</a></th>", listed)} == {*names[:50]}
