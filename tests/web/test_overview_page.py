"""The overview: is anything wrong, since when, what does it touch, what to do."""

import re
from datetime import timedelta
from typing import Any

import httpx
from sqlalchemy import Engine, insert

from tests.incidents.records import add_incident
from tests.lineage.graphs import draw_addresses, draw_edges
from tests.support.checks import run_checks
from tests.support.rows import add_pipeline, add_run, ago, now
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
    assert "POST /pipeline" in page
    assert "watcher demo" in page


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
    assert "&lt;b&gt;look&lt;/b&gt;" in page
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
