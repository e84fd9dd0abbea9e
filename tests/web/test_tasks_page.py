"""The pages of the background tasks: queues, workers, limits, the list, and one task."""

import json
import re
import socket
from collections.abc import AsyncIterator, Iterator
from html import unescape
from typing import Any

import httpx
import pytest
from sqlalchemy import Connection, Engine, insert, text, update

from tests.auth.test_access import make_token
from tests.conftest import MakeClient
from tests.support.rows import add_pipeline, ago
from tests.support.tasks import UNKNOWN_ID, add_task, add_waiting, add_worker, task_row, waiting_rows
from watcher_server.tasking.models import QueueDepthSample, Worker
from watcher_server.tasking.queues.history import start_of_minute

HOSTILE = "<img src=x onerror=alert(1)>"
BROWSER = {"Accept": "text/html,application/xhtml+xml"}
SAME_ORIGIN = {"Sec-Fetch-Site": "same-origin"}
AWAY = "redis://127.0.0.1:1/0"


def _listed(page: str) -> list[str]:
    """The ids of the tasks in the list, in order."""
    return re.findall(r'<tr id="task-([0-9a-f-]{36})">', page)


def _words(page: str) -> str:
    """What a page says, without its markup."""
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", page)).split())


async def _list(client: httpx.AsyncClient, **query: Any) -> list[str]:
    answer = await client.get("/ui/tasks", params=query)
    assert answer.status_code == 200
    return _listed(answer.text)


@pytest.fixture
async def guarded(make_client: MakeClient, engine: Engine) -> AsyncIterator[httpx.AsyncClient]:
    """A browser of whoever logs in by :func:`_log_in`."""
    make_token(engine, "admin", "administrator")
    async with make_client() as client:
        client.headers.update({**BROWSER, **SAME_ORIGIN})
        yield client
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM api_token"))


async def _log_in(browser: httpx.AsyncClient, engine: Engine, scope: str) -> None:
    assert (await browser.post("/login", data={"token": make_token(engine, scope, scope)})).status_code == 303


class TestList:
    async def test_it_names_each_task_and_what_it_is_about(self, client: httpx.AsyncClient, engine: Engine) -> None:
        with engine.begin() as connection:
            pipeline = add_pipeline(connection, HOSTILE)
            task = add_task(connection, pipeline_id=pipeline, pipeline_execution_id=77, created_at=ago(seconds=90))
        page = (await client.get("/ui/tasks")).text

        assert f'href="/ui/tasks/{task}"' in page
        assert f'href="/ui/pipelines/{pipeline}">&lt;img src=x' in page
        assert HOSTILE not in page
        assert 'href="/ui/executions/77"' in page
        assert "anomalies found 2" in page

    async def test_what_runs_has_a_bar(self, client: httpx.AsyncClient, engine: Engine) -> None:
        with engine.begin() as connection:
            add_task(connection, "PROGRESS")
        page = (await client.get("/ui/tasks")).text
        assert '<progress max="100" value="75.0"' in page
        assert "Calculating z-scores" in page

    async def test_what_failed_says_why(self, client: httpx.AsyncClient, engine: Engine) -> None:
        error = {"exc_type": "ValueError", "exc_message": HOSTILE, "retry_count": 3, "max_retries": 3}
        with engine.begin() as connection:
            add_task(connection, "FAILURE", meta=error)
        page = (await client.get("/ui/tasks")).text
        assert "ValueError: &lt;img src=x" in page
        assert HOSTILE not in page

    @pytest.mark.parametrize(
        "meta", [None, "text", 7, [], {"progress": "half"}, {"progress": None}, {"progress": True}, {"progress": 1e9}]
    )
    async def test_whatever_a_task_says_of_itself_is_shown(
        self, client: httpx.AsyncClient, engine: Engine, meta: Any
    ) -> None:
        with engine.begin() as connection:
            tasks = [add_task(connection, state, meta=meta) for state in ("PROGRESS", "FAILURE", "RETRY", "SUCCESS")]
        assert (await client.get("/ui/tasks")).status_code == 200
        for task in tasks:
            assert (await client.get(f"/ui/tasks/{task}")).status_code == 200

    async def test_it_is_narrowed_down(self, client: httpx.AsyncClient, engine: Engine) -> None:
        with engine.begin() as connection:
            orders = add_pipeline(connection, "orders")
            failed = add_task(connection, "FAILURE", name="other_task", created_at=ago(hours=3))
            about = add_task(connection, pipeline_id=orders, pipeline_execution_id=5, created_at=ago(minutes=5))
            waiting = add_waiting(connection)

        assert await _list(client) == [waiting, about, failed]
        assert await _list(client, state="failure") == [failed]
        assert await _list(client, state="PENDING") == [waiting]
        assert await _list(client, name="other_task") == [failed]
        assert await _list(client, pipeline="Orders") == [about]
        assert await _list(client, pipeline=orders) == [about]
        assert await _list(client, pipeline_id=orders) == [about]
        assert await _list(client, pipeline_execution_id=5) == [about]
        assert await _list(client, within=1) == [waiting, about]
        assert await _list(client, state="", name="", pipeline=" ", within="") == [waiting, about, failed]

    async def test_its_state_is_in_the_address(self, client: httpx.AsyncClient, engine: Engine) -> None:
        with engine.begin() as connection:
            for _ in range(51):
                add_task(connection, name="other_task")
        first = (await client.get("/ui/tasks?name=other_task&hours=1")).text
        assert len(_listed(first)) == 50
        assert 'hx-get="/ui/tasks/parts/list?name=other_task&amp;hours=1"' in first
        following = re.search(r'rel="next" href="([^"]+)"', first)
        assert following is not None
        second = (await client.get(unescape(following[1]))).text
        assert len(_listed(second)) == 1
        assert "<option selected>other_task</option>" in second
        assert re.search(r'aria-current="true">1 hour', second)

    @pytest.mark.parametrize(
        ("query", "says"),
        [
            ("", "No task yet"),
            ("state=FAILURE", "Clear the filters"),
            ("pipeline=nowhere", "No pipeline is called nowhere"),
            ("page=3", "Go to its first page"),
        ],
    )
    async def test_without_tasks_it_says_how_to_go_on(
        self, client: httpx.AsyncClient, engine: Engine, query: str, says: str
    ) -> None:
        assert engine is not None
        assert says in _words((await client.get(f"/ui/tasks?{query}")).text)

    async def test_states_are_counted(self, client: httpx.AsyncClient, engine: Engine) -> None:
        with engine.begin() as connection:
            for state, number in (("PENDING", 1), ("PROGRESS", 2), ("RETRY", 3), ("FAILURE", 4), ("SUCCESS", 5)):
                for _ in range(number):
                    add_task(connection, state)
            add_waiting(connection)
        page = _words((await client.get("/ui/tasks/parts/list")).text)
        assert "pending 2 progress 2 retry 3 failure 4" in page
        assert "Retry all 4 failed tasks" in page

    @pytest.mark.parametrize(
        "query",
        [
            "state=gone", "name=%00", "name=" + "x" * 101, "pipeline=%00", "pipeline=%FF", "pipeline=²",
            "pipeline=99999999999999999999",
            "pipeline_id=x", "pipeline_id=9223372036854775808", "pipeline_execution_id=-1", "within=2",
            "page=0", "page=x", "page=99999999999", "hours=0", "hours=x", "since=never", "since=0001-01-01T00:00:00",
            "retried=-1", "retried=5",
        ],
    )  # fmt: skip
    async def test_odd_parameters_never_break_it(self, client: httpx.AsyncClient, query: str) -> None:
        for path in ("/ui/tasks", "/ui/tasks/parts/list", "/ui/tasks/parts/depths"):
            assert (await client.get(f"{path}?{query}")).status_code in {200, 422}


class TestQueues:
    async def test_depth_and_level_of_each_queue(self, make_client: MakeClient, engine: Engine) -> None:
        with engine.begin() as connection:
            for _ in range(21):
                add_waiting(connection)
        async with make_client() as client:
            page = _words((await client.get("/ui/tasks/parts/queues")).text)
        assert "celery info 21 0 21" in page
        assert "no worker is alive" in page

    async def test_a_broker_that_is_away_is_told(self, make_client: MakeClient, engine: Engine) -> None:
        with engine.begin() as connection:
            add_waiting(connection)
        async with make_client(broker_url=AWAY) as client:
            page = _words((await client.get("/ui/tasks")).text)
        assert "The broker does not answer" in page
        assert "the broker's messages are not counted" in page
        assert "1 + – 1" in page  # noqa: RUF001 - as the page writes what is not known

    async def test_a_broker_that_hangs_does_not_hold_up_the_page(
        self, make_client: MakeClient, silent_broker: str
    ) -> None:
        async with make_client(broker_url=silent_broker) as client:
            first = await client.get("/ui/tasks")
            assert "still being measured" in first.text
            assert "The broker does not answer" in (await client.get("/ui/tasks/parts/queues")).text

    async def test_the_chart_has_gaps_and_levels(self, client: httpx.AsyncClient, engine: Engine) -> None:
        with engine.begin() as connection:
            _add_sample(connection, minutes=10, ready=30, outbox_pending=5)
            _add_sample(connection, minutes=8, ready=None)
        page = (await client.get("/ui/tasks?hours=1")).text

        held = re.search(r'id="depth-data">(.*?)</script>', page, re.DOTALL)
        assert held is not None
        data = json.loads(held[1])
        assert data["thresholds"] == {"info": 20, "warning": 50, "critical": 100}
        (celery,) = data["queues"]
        assert len(celery["pending"]) == len(data["moments"])
        assert [value for value in celery["pending"] if value is not None] == [35]
        assert "celery 35" in _words(page)

    async def test_before_the_first_sample_it_says_when_there_will_be_one(
        self, client: httpx.AsyncClient, engine: Engine
    ) -> None:
        assert engine is not None
        assert "once a minute" in (await client.get("/ui/tasks")).text


def _add_sample(connection: Connection, minutes: float, **fields: Any) -> None:
    numbers = {"unacknowledged": 0, "scheduled": 0, "outbox_pending": 0, "oldest_seconds": 0.0}
    values = {"sampled_at": start_of_minute(ago(minutes=minutes)), "queue": "celery", **numbers, **fields}
    connection.execute(insert(QueueDepthSample), values)


@pytest.fixture
def silent_broker() -> Iterator[str]:
    """A broker that lets everybody in, and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"redis://127.0.0.1:{listening.getsockname()[1]}/0"


class TestWorkers:
    async def test_each_is_alive_or_died(self, client: httpx.AsyncClient, engine: Engine) -> None:
        with engine.begin() as connection:
            add_worker(connection, "celery@alive")
            dead = add_worker(connection, "celery@dead")
            connection.execute(update(Worker).where(Worker.id == dead).values(seen_at=ago(minutes=5)))
        page = _words((await client.get("/ui/tasks/parts/workers")).text)
        assert re.search(r"celery@alive here, pid 1 alive 0 of 2 celery", page)
        assert re.search(r"celery@dead here, pid 1 died", page)
        assert "put back and run on another" in page

    async def test_without_one_it_says_how_to_start_one(self, client: httpx.AsyncClient, engine: Engine) -> None:
        assert engine is not None
        assert "watcher worker" in (await client.get("/ui/tasks/parts/workers")).text


class TestRetry:
    async def test_one_waits_again_under_its_id(self, client: httpx.AsyncClient, engine: Engine) -> None:
        with engine.begin() as connection:
            task = add_task(connection, "FAILURE")
        answer = await client.post(f"/ui/tasks/{task}/retry", data={"back": "/ui/tasks?state=FAILURE#tasks"})
        assert (answer.status_code, answer.headers["location"]) == (303, "/ui/tasks?state=FAILURE#tasks")
        with engine.begin() as connection:
            assert task_row(connection, task)["state"] == "PENDING"
            assert [str(row["task_id"]) for row in waiting_rows(connection)] == [task]

    @pytest.mark.parametrize("back", ["", "https://evil.test/", "//evil.test", "/ui/tasks@evil", "/ui/tasks?\r\nX: y"])
    async def test_it_leads_to_our_own_list_or_to_the_task(
        self, client: httpx.AsyncClient, engine: Engine, back: str
    ) -> None:
        with engine.begin() as connection:
            task = add_task(connection, "FAILURE")
        answer = await client.post(f"/ui/tasks/{task}/retry", data={"back": back})
        assert answer.headers["location"] == f"/ui/tasks/{task}"

    async def test_what_did_not_fail_does_not_run_again(self, client: httpx.AsyncClient, engine: Engine) -> None:
        with engine.begin() as connection:
            task = add_task(connection)
        answer = await client.post(f"/ui/tasks/{task}/retry", headers=BROWSER)
        assert answer.status_code == 409
        assert "only one in the state FAILURE or REVOKED" in answer.text
        # Where the page of the refusal leads.
        assert (await client.get(f"/ui/tasks/{task}/retry")).headers["location"] == f"/ui/tasks/{task}"
        assert (await client.post(f"/ui/tasks/{UNKNOWN_ID}/retry", headers=BROWSER)).status_code == 404

    async def test_all_of_a_name_after_saying_how_many(self, client: httpx.AsyncClient, engine: Engine) -> None:
        with engine.begin() as connection:
            wanted = {add_task(connection, "FAILURE", name="a_task") for _ in range(2)}
            other = add_task(connection, "FAILURE", name="b_task")
        page = (await client.get("/ui/tasks?name=a_task")).text
        assert 'data-confirm="Run all 2 failed tasks of the name a_task again?' in page

        answer = await client.post("/ui/tasks/retry-failed", data={"name": "a_task"})
        assert answer.status_code == 303
        assert "2 tasks run again" in (await client.get(answer.headers["location"])).text
        with engine.begin() as connection:
            assert {str(row["task_id"]) for row in waiting_rows(connection)} == wanted
            assert task_row(connection, other)["state"] == "FAILURE"

        answer = await client.post("/ui/tasks/retry-failed")
        assert "One task runs again" in (await client.get(answer.headers["location"])).text

    async def test_who_may_only_read_is_told_so(self, guarded: httpx.AsyncClient, engine: Engine) -> None:
        with engine.begin() as connection:
            task = add_task(connection, "FAILURE")
        await _log_in(guarded, engine, "read")
        assert 'disabled title="This needs the role editor">Retry</button>' in (await guarded.get("/ui/tasks")).text
        assert (await guarded.post(f"/ui/tasks/{task}/retry")).status_code == 403
        assert (await guarded.post("/ui/tasks/retry-failed")).status_code == 403


class TestLimits:
    async def test_another_limit_holds_for_a_while_and_is_put_back(
        self, client: httpx.AsyncClient, engine: Engine
    ) -> None:
        assert engine is not None
        change = {"task": "detect_anomalies_task", "limit": "100/s", "minutes": "15"}
        answer = await client.post("/ui/tasks/limits/set", data=change)
        assert (answer.status_code, answer.headers["location"]) == (303, "/ui/tasks#limits")
        page = (await client.get("/ui/tasks/parts/workers")).text
        assert "detect_anomalies_task 100/s 15/s" in _words(page)
        assert "Back to 15/s" in page

        answer = await client.post("/ui/tasks/limits/reset", data={"task": "detect_anomalies_task"})
        assert answer.status_code == 303
        assert "Back to 15/s" not in (await client.get("/ui/tasks/parts/workers")).text

    @pytest.mark.parametrize(
        ("change", "status"),
        [
            ({"task": "detect_anomalies_task", "limit": "fast"}, 422),
            ({"task": "detect_anomalies_task", "limit": "1/s", "minutes": "1441"}, 422),
            ({"task": "no_such_task", "limit": "1/s"}, 404),
            ({}, 422),
        ],
    )
    async def test_what_is_no_limit_is_refused(
        self, client: httpx.AsyncClient, change: dict[str, str], status: int
    ) -> None:
        answer = await client.post("/ui/tasks/limits/set", data=change, headers=BROWSER)
        assert answer.status_code == status
        assert answer.headers["content-type"].startswith("text/html")
        assert (await client.get("/ui/tasks/limits/set")).headers["location"] == "/ui/tasks#limits"

    @pytest.mark.parametrize(("scope", "status"), [("read", 403), ("write", 403), ("admin", 303)])
    async def test_they_are_for_administrators(
        self, guarded: httpx.AsyncClient, engine: Engine, scope: str, status: int
    ) -> None:
        await _log_in(guarded, engine, scope)
        change = {"task": "detect_anomalies_task", "limit": "none"}
        assert (await guarded.post("/ui/tasks/limits/set", data=change)).status_code == status
        reset = await guarded.post("/ui/tasks/limits/reset", data={"task": "detect_anomalies_task"})
        assert reset.status_code == status
        page = (await guarded.get("/ui/tasks")).text
        assert ("needs the role admin" in page) == (status == 403)


class TestOneTask:
    async def test_a_success_shows_arguments_and_result(self, client: httpx.AsyncClient, engine: Engine) -> None:
        with engine.begin() as connection:
            worker = add_worker(connection, "celery@etl-1")
            task = add_task(
                connection,
                kwargs={"note": HOSTILE},
                pipeline_id=add_pipeline(connection, "orders"),
                created_at=ago(seconds=70),
                published_at=ago(seconds=65),
                started_at=ago(seconds=62),
                finished_at=ago(seconds=60),
                worker_id=worker,
            )
        page = (await client.get(f"/ui/tasks/{task}")).text
        assert HOSTILE not in page
        assert '"note": "<img src=x onerror=alert(1)>"' in unescape(page)
        assert '"anomalies_found": 2' in unescape(page)
        words = _words(page)
        assert "Waited in the outbox 5.0 s Waited for a worker 3.0 s Ran 2.0 s" in words
        assert "Worker celery@etl-1" in words
        assert ">orders</a>" in page
        assert "Run it again" not in page
        assert "data-live" not in page

    async def test_what_a_task_was_called_with_and_does_not_exist_is_shown(
        self, client: httpx.AsyncClient, engine: Engine
    ) -> None:
        with engine.begin() as connection:
            task = add_task(connection, meta={"rows_written": 0, "skipped": "no such execution"})
            other = add_task(connection)
        assert "Skipped : no such execution" in _words((await client.get(f"/ui/tasks/{task}")).text)
        assert "Skipped" not in _words((await client.get(f"/ui/tasks/{other}")).text)

    async def test_a_failure_shows_every_try_and_the_traceback(self, client: httpx.AsyncClient, engine: Engine) -> None:
        tries = [{"at": ago(minutes=3).isoformat(), "exc_type": "ValueError", "exc_message": HOSTILE}, {}]
        with engine.begin() as connection:
            task = add_task(connection, "FAILURE", retries=3, history=tries, traceback=f"Traceback: {HOSTILE}")
        page = (await client.get(f"/ui/tasks/{task}")).text
        assert HOSTILE not in page
        assert "Traceback: <img" in unescape(page)
        assert "<details" in page
        words = _words(page)
        assert "DatabaseError : Connection timeout 2 of 3 retries did not help" in words
        assert f"ValueError {HOSTILE}" in words
        assert f'action="/ui/tasks/{task}/retry"' in page

    async def test_what_goes_on_is_live(self, client: httpx.AsyncClient, engine: Engine) -> None:
        with engine.begin() as connection:
            task = add_task(connection, "PROGRESS")
        for path in (f"/ui/tasks/{task}", f"/ui/tasks/{task}/part"):
            page = (await client.get(path)).text
            assert f'hx-get="/ui/tasks/{task}/part"' in page
            assert 'data-live="5"' in page
            assert 'value="75.0"' in page

    async def test_a_retry_says_when(self, client: httpx.AsyncClient, engine: Engine) -> None:
        with engine.begin() as connection:
            task = add_task(connection, "RETRY")
            add_waiting(connection, task_id=task, due_at=ago(seconds=-90))
        assert "Tried again in 1m" in _words((await client.get(f"/ui/tasks/{task}")).text)

    async def test_what_was_done_together_is_linked(self, client: httpx.AsyncClient, engine: Engine) -> None:
        with engine.begin() as connection:
            doer = add_task(connection, name="address_lineage_closure_rebuild_task")
            other = add_task(connection, "COALESCED", name="address_lineage_closure_rebuild_task", coalesced_into=doer)
        assert f'href="/ui/tasks/{doer}"' in (await client.get(f"/ui/tasks/{other}")).text
        assert "1 other" in (await client.get(f"/ui/tasks/{doer}")).text

    @pytest.mark.parametrize("task", [UNKNOWN_ID, "tonight", "%00", "retry-failed"])
    async def test_one_that_is_unknown_is_a_page_that_says_so(self, client: httpx.AsyncClient, task: str) -> None:
        answer = await client.get(f"/ui/tasks/{task}", headers=BROWSER)
        assert answer.status_code == 404
        assert "older than the history kept" in answer.text
        assert "<h1>" in answer.text


async def test_pages_hold_no_script_or_style_of_their_own(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        task = add_task(connection, "FAILURE")
        _add_sample(connection, minutes=5, ready=1)
    for path in ("/ui/tasks", f"/ui/tasks/{task}"):
        page = (await client.get(path)).text
        assert not re.search(r"<style|\sstyle=|\son\w+=", page)
        assert re.findall(r"<script(?![^>]*\bsrc=)(?![^>]*application/json)", page) == []
