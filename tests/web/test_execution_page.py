"""The page of one execution."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import Connection, Engine, insert, text, update

from tests.support.notifications import add_alert
from tests.support.rows import add_history, add_pipeline, add_run, ago, now
from tests.support.tasks import add_task
from watcher_server.alerts.service import Subject
from watcher_server.anomalies.detection import detect_anomalies
from watcher_server.anomalies.models import AnomalyDetectionRule
from watcher_server.executions.models import PipelineExecution
from watcher_server.timeliness.service import check_timeliness

CHAIN = """
INSERT INTO pipeline_execution (id, parent_id, pipeline_id, start_date, date_recorded, hour_recorded)
OVERRIDING SYSTEM VALUE
SELECT 1000 + step, CASE WHEN step > 0 THEN 999 + step END, :pipeline_id,
    now() - interval '1 hour' + make_interval(secs => step), current_date, 0
FROM generate_series(0, :length) AS step
"""


async def _open(client: httpx.AsyncClient, execution_id: int, **query: Any) -> str:
    answer = await client.get(f"/ui/executions/{execution_id}", params=query)
    assert answer.status_code == 200, answer.text
    return answer.text


def _lanes(page: str) -> list[int]:
    return [int(found) for found in re.findall(r'<tr id="lane-(\d+)"', page)]


def _add_tree(connection: Connection) -> dict[str, int]:
    """build > (stage > customers, marts > revenue), of which marts failed and revenue still runs."""
    ids = {"build": add_run(connection, add_pipeline(connection, "build"), start_date=ago(hours=3), end_date=None)}
    steps: tuple[tuple[str, str, float, float | None, bool], ...] = (
        ("marts", "build", 2, 1, False),
        ("stage", "build", 2.9, 2.1, True),
        ("customers", "stage", 2.8, 2.5, True),
        ("revenue", "marts", 1.9, None, True),
    )
    for name, parent, start, end, success in steps:
        pipeline = add_pipeline(connection, name)
        times = {"start_date": ago(hours=start), "end_date": None if end is None else ago(hours=end)}
        outcome = None if end is None else success
        ids[name] = add_run(connection, pipeline, parent_id=ids[parent], **times, completed_successfully=outcome)
    return ids


async def test_the_facts_of_a_run_and_the_run_before(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        pipeline = add_pipeline(connection, timeliness_number=1, timeliness_datepart="hour")
        before = add_run(connection, pipeline, end_date=ago(days=1), inserts=1_000, duration_seconds=300)
        run = add_run(
            connection, pipeline, inserts=1_234_567, total_rows=0, duration_seconds=300,
            watermark="2026-01-01", next_watermark="2026-01-02",
        )  # fmt: skip
        after = add_run(connection, pipeline, end_date=ago(minutes=1), completed_successfully=False)

    page = await _open(client, run)

    assert f'rel="prev" href="/ui/executions/{before}"' in page
    assert f'rel="next" href="/ui/executions/{after}"' in page
    assert f'href="/ui/pipelines/{pipeline}"' in page
    assert "1,234,567" in page
    assert "+123,356.7 %" in page
    assert "<code>2026-01-01</code> → <code>2026-01-02</code>" in page
    assert "55m under the 1 hour allowed (its own)" in page
    assert "data-live" not in page
    assert "A run that failed is not judged" in await _open(client, after)


async def test_a_run_that_goes_on_is_live_and_measured_until_now(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        pipeline = add_pipeline(connection, type_fields={"timeliness_number": 1, "timeliness_datepart": "hour"})
        run = add_run(connection, pipeline, start_date=ago(hours=3, seconds=20), end_date=None)
        assert check_timeliness(connection, 60, alert_max_age_hours=24).alerted == 1

    page = await _open(client, run)

    assert 'data-live="5"' in page
    assert "still running" in page
    assert "2h over the 1 hour allowed (that of the type extraction)" in page
    assert "running for 3h, expected within 1 hour" in page
    assert "Timeliness Check - Pipeline Execution" in page
    part = (await client.get(f"/ui/executions/{run}", headers={"HX-Request": "true"})).text
    assert "<html" not in part
    assert 'id="execution"' in part


async def test_the_tree_is_drawn_depth_first_by_start(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        ids = _add_tree(connection)

    page = await _open(client, ids["build"])

    order = ["build", "stage", "customers", "marts", "revenue"]
    assert _lanes(page) == [ids[name] for name in order]
    bars = re.findall(r'class="bar (\w+)" x="([\d.]+)%" width="([\d.]+)%"', page)
    assert [word for word, _, _ in bars] == ["running", "completed", "completed", "failed", "running"]
    ends = [float(x) + float(width) for _, x, width in bars]
    assert ends[0] == ends[4] == pytest.approx(100, abs=0.1)
    assert ends[1] == pytest.approx(30, abs=0.1)


async def test_a_step_is_marked_in_the_tree_of_its_root(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        ids = _add_tree(connection)

    below = await _open(client, ids["marts"])
    assert _lanes(below) == [ids["marts"], ids["revenue"]]
    assert re.search(r'called by <a href="/ui/executions/\d+">build', below)

    whole = await _open(client, ids["marts"], tree="whole")
    assert len(_lanes(whole)) == 5
    assert f'<tr id="lane-{ids["marts"]}" class="current">' in whole
    assert f'<tr id="lane-{ids["build"]}" class="above">' in whole

    assert len(_lanes(await _open(client, ids["customers"]))) == 5, "a leaf is shown among the others"


async def test_a_chain_of_two_thousand_is_paged(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        pipeline = add_pipeline(connection)
        connection.execute(text(CHAIN), {"pipeline_id": pipeline, "length": 2_000})

    root = await _open(client, 1000)
    assert _lanes(root) == list(range(1000, 1200))
    assert "1,801 more" in root
    assert _lanes(await _open(client, 1000, lanes=11)) == [3000]
    assert "No lanes on this page" in await _open(client, 1000, lanes=12)

    leaf = await _open(client, 3000)
    assert _lanes(leaf) == [3000], "the page of the tree that it is on"
    assert re.findall(r'<li>(?:called by )?<a href="/ui/executions/(\d+)">', leaf) == ["1000", "2997", "2998", "2999"]


async def test_of_a_huge_tree_the_nearest_to_the_top_are_drawn(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        pipeline = add_pipeline(connection)
        connection.execute(text(CHAIN), {"pipeline_id": pipeline, "length": 5_100})
        connection.execute(update(PipelineExecution).where(PipelineExecution.id > 1000).values(parent_id=1000))

    page = await _open(client, 1000)

    assert "the 5,000 executions nearest to its top are drawn" in page
    assert len(_lanes(page)) == 200


async def test_what_was_found_and_told(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        pipeline = add_pipeline(connection)
        connection.execute(
            insert(AnomalyDetectionRule).values(pipeline_id=pipeline, metric_field="inserts", minimum_executions=5)
        )
        add_history(connection, pipeline, [100, 102, 98, 101, 99, 100], metric="inserts")
        run = add_run(connection, pipeline, end_date=now() - timedelta(seconds=1), inserts=5, hour_recorded=2)
        detect_anomalies(connection, pipeline, run, alert_max_age_hours=24)

    page = await _open(client, run)

    assert "anomalous" in page
    found = page.split("What was found")[1].split("Tree of executions")[0]
    assert re.search(r"<td class=\"number\">5</td>\s*<td class=\"number\">[\d.]+ to [\d.]+</td>", found)
    assert re.search(r'href="/ui/alerts\?alert=\d+">Anomaly Detection</a>', found)
    assert "waiting" in found


async def test_the_tasks_that_it_caused(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        run = add_run(connection, add_pipeline(connection))
        moments: dict[str, Any] = {"started_at": ago(seconds=95), "finished_at": ago(seconds=5)}
        task = add_task(connection, "FAILURE", pipeline_execution_id=run, **moments)
        other = add_task(connection)

    page = await _open(client, run)

    assert f'<a href="/ui/tasks/{task}">detect_anomalies_task</a>' in page
    assert "DatabaseError: Connection timeout" in page
    assert "1m 30s" in page
    assert other not in page
    assert "data-live" not in page
    with engine.begin() as connection:
        add_task(connection, "PROGRESS", pipeline_execution_id=run)
    assert "data-live" in await _open(client, run), "a task that is under way will change"


async def test_metadata_is_whole_readable_and_harmless(client: httpx.AsyncClient, engine: Engine) -> None:
    deep: Any = "end"
    for _ in range(99):
        deep = {"a": deep}
    metadata = {"error": {"code": 7, "texts": ["<script>alert(1)</script>", None]}, "empty": {}, "deep": deep}
    with engine.begin() as connection:
        run = add_run(connection, add_pipeline(connection, "<b>x</b>"), execution_metadata=metadata)
        long = add_run(connection, add_pipeline(connection), execution_metadata={"log": "x" * 9_000})
        many = add_run(connection, add_pipeline(connection, "m"), execution_metadata={f"k{n}": n for n in range(999)})

    page = await _open(client, run)

    assert "<code>error.texts[0]</code>" in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<code>empty</code>" in page
    assert ".a" * 99 in page
    assert "<b>x" not in page
    for cut in (long, many):
        assert f'<a href="/pipeline_execution/{cut}">read all of it as JSON' in await _open(client, cut)


async def test_an_unknown_run_is_a_page_that_says_so(client: httpx.AsyncClient) -> None:
    answer = await client.get("/ui/executions/77", headers={"Accept": "text/html"})
    assert answer.status_code == 404
    assert "No pipeline execution has the id 77" in answer.text


async def test_a_run_at_the_edges_of_the_calendar(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        pipeline = add_pipeline(connection, timeliness_number=2_000_000_000, timeliness_datepart="year")
        old = add_run(connection, pipeline, start_date=ago(days=300_000), end_date=None)
        future = add_run(connection, pipeline, start_date=now() + timedelta(days=9), end_date=None, parent_id=old)
        short = add_run(connection, pipeline, start_date=ago(hours=1), end_date=ago(hours=1))
        end = datetime(9999, 12, 31, 23, 59, 59, 900_000, tzinfo=UTC)
        last = add_run(connection, pipeline, start_date=end, end_date=None)
    for run in (old, future, short, last):
        await _open(client, run, tree="whole")


@pytest.mark.parametrize(
    "query", ["tree=", "lanes=", "tree=x", "lanes=0", "lanes=99999999999999999999", "lanes=x", "tree=%00", "lanes=%ff"]
)
async def test_odd_parameters_never_break_it(client: httpx.AsyncClient, engine: Engine, query: str) -> None:
    with engine.begin() as connection:
        run = add_run(connection, add_pipeline(connection))
    assert (await client.get(f"/ui/executions/{run}?{query}")).status_code in {200, 422}


@pytest.mark.parametrize("execution_id", ["0", "-1", "99999999999999999999", "x", "%00"])
async def test_odd_ids_never_break_it(client: httpx.AsyncClient, execution_id: str) -> None:
    assert (await client.get(f"/ui/executions/{execution_id}")).status_code in {404, 422}


async def test_an_alert_of_another_execution_is_not_its_own(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        run = add_run(connection, add_pipeline(connection))
        error = "Slack answered with status 500"
        add_alert(connection, "a", Subject(execution_id=run * 10), title="Of another")
        add_alert(connection, "b", Subject(execution_id=run), title="Its own", attempts=1, last_error=error)
    page = await _open(client, run)
    assert "Of another" not in page
    assert "Its own" in page
    assert f'not delivered</span> <span class="muted small">{error}' in page
