"""The page of alerts."""

import re
from typing import Any
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import Engine, select

from tests.conftest import MakeClient
from tests.support.notifications import add_alert
from tests.support.rows import add_pipeline, ago
from tests.support.tasks import waiting_rows
from watcher_server.alerts.models import Notification
from watcher_server.alerts.service import Subject
from watcher_server.auth.service import create_token

WEBHOOK = "https://hooks.slack.example/services/T0/B0/very-secret"


def _delivered(**fields: Any) -> dict[str, Any]:
    return {
        "state": "sent",
        "sent_at": ago(minutes=1),
        "sent_to": "slack",
        "attempts": 1,
        "created_at": ago(minutes=1),
        **fields,
    }


def _shown(page: str) -> list[int]:
    return [int(found) for found in re.findall(r'<li id="alert-(\d+)"', page)]


async def _open(client: httpx.AsyncClient, **query: Any) -> str:
    answer = await client.get("/ui/alerts", params=query)
    assert answer.status_code == 200, answer.text
    return answer.text


async def test_without_alerts_it_says_what_makes_them(client: httpx.AsyncClient) -> None:
    assert "No alert so far" in await _open(client)
    assert "No alert fits" in await _open(client, q="x")


async def test_the_newest_fifty_come_first(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        ids = [add_alert(connection, f"k{number}") for number in range(60)]

    first = await _open(client)
    assert _shown(first) == ids[:9:-1]
    assert "data-live" in first
    older = re.search(r'rel="next" href="([^"]+)"', first)
    assert older is not None
    second = (await client.get(older[1].replace("&amp;", "&"))).text
    assert _shown(second) == ids[9::-1]
    assert 'rel="prev"' in second
    assert 'rel="next"' not in second


async def test_filters(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        critical = add_alert(connection, "a", level="CRITICAL", title="Celery Queue Alert", **_delivered())
        failed = add_alert(connection, "b", attempts=4, last_error="Slack answered with status 404")
        waiting = add_alert(connection, "c", message="100% of _it_")
        old = add_alert(connection, "d", **_delivered(created_at=ago(days=9)))

    async def shown(**query: Any) -> list[int]:
        return _shown(await _open(client, **query))

    assert await shown(level="critical") == [critical]
    assert await shown(delivered="yes") == [old, critical]
    assert await shown(delivered="failed") == [failed]
    assert await shown(delivered="no") == [waiting]
    assert await shown(q="QUEUE") == [critical]
    assert await shown(q="0% of _") == [waiting]
    assert await shown(q="0%of") == []
    assert await shown(days=7) == [waiting, failed, critical]
    assert await shown(level="", delivered="", q=" ", days="", page="") == [old, waiting, failed, critical]
    assert await shown(alert=old) == [old]
    assert await shown(delivered="yes", days=7) == [critical]


async def test_it_links_what_it_is_about(client: httpx.AsyncClient, engine: Engine) -> None:
    task = uuid4()
    with engine.begin() as connection:
        stale = add_pipeline(connection, "<i>stale</i>")
        late = add_pipeline(connection, "orders")
        add_alert(connection, "a", Subject(pipeline_id=7, execution_id=8), message="(ID: 1) - Execution ID 2 flagged")
        add_alert(connection, "b", Subject(pipeline_id=17))
        both = [Subject(pipeline_id=stale), Subject(pipeline_id=late)]
        add_alert(connection, "c", *both, details=[["<i>stale</i>", "last DML"], ["Others", "and 5 more"]])
        runs = [Subject(pipeline_id=late, execution_id=99), Subject(pipeline_id=late, execution_id=98)]
        add_alert(connection, "d", *runs, details=[["orders (execution 99)", "took 2:00:00"]])
        add_alert(connection, "e", Subject(task_id=task), details=[["Task ID", str(task)]])
        add_alert(connection, "f", kind="queue")

    page = await _open(client)

    for href in (
        "pipelines/7",
        "executions/8",
        "pipelines/17",
        f"pipelines/{stale}",
        "executions/99",
        f"tasks/{task}",
        "tasks",
    ):
        assert f'href="/ui/{href}"' in page
    assert 'href="/ui/executions/2"' not in page
    assert "<i>stale" not in page


async def test_the_channel_says_how_it_does_and_never_its_url(make_client: MakeClient, engine: Engine) -> None:
    with engine.begin() as connection:
        add_alert(connection, "a", **_delivered())
        add_alert(connection, "b", attempts=1, last_error="Slack could not be reached (ConnectTimeout)")
    async with make_client(slack_webhook_url=WEBHOOK) as client:
        page = await _open(client)
    assert "Alerts go to a Slack webhook" in page
    assert "very-secret" not in page
    assert "hooks.slack.example" not in page
    assert "1 undelivered" in page
    async with make_client() as client:
        assert "WATCHER_SLACK_WEBHOOK_URL" in await _open(client)


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        ("Slack answered with status 404", "make a new one, and set WATCHER_SLACK_WEBHOOK_URL"),
        ("Slack answered with status 429", "nothing to do but wait"),
        ("Slack answered with status 503", "nothing to do but wait"),
        ("Slack answered with status 400", "is the address of an incoming webhook"),
        ("Slack could not be reached (ConnectTimeout)", "check their network, proxy and DNS"),
    ],
)
async def test_what_did_not_arrive_says_what_to_do(
    client: httpx.AsyncClient, engine: Engine, error: str, advice: str
) -> None:
    with engine.begin() as connection:
        add_alert(connection, attempts=4, last_error=error)
    page = await _open(client)
    assert f"Tried 4 times: {error}." in page
    assert advice in page
    assert "Tried again <time" in page


async def test_what_was_given_up_is_sent_again_by_hand(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        error = "Slack answered with status 404"
        alert = add_alert(connection, state="given_up", attempts=4, last_error=error, created_at=ago(days=3))
    page = await _open(client)
    assert "not tried again by itself" in page

    answer = await client.post(f"/ui/alerts/{alert}/send")

    assert answer.status_code == 303
    assert answer.headers["location"] == f"/ui/alerts?alert={alert}"
    with engine.connect() as connection:
        (row,) = waiting_rows(connection)
    assert (row["task_name"], row["kwargs"], row["queue"]) == ("deliver_alert_task", {"alert_id": alert}, "alerts")


async def test_what_arrived_is_not_sent_again(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        alert = add_alert(connection, **_delivered())
    assert (await client.post(f"/ui/alerts/{alert}/send")).status_code == 409
    assert (await client.post("/ui/alerts/99/send")).status_code == 404
    with engine.connect() as connection:
        assert waiting_rows(connection) == []


async def test_only_who_may_write_sends_again(make_client: MakeClient, engine: Engine) -> None:
    with engine.begin() as connection:
        alert = add_alert(connection, attempts=1, last_error="Slack answered with status 404")
        reader = create_token(connection, "reader", "read")
    headers = {"Authorization": f"Bearer {reader}"}
    async with make_client() as client:
        page = (await client.get("/ui/alerts", headers=headers)).text
        assert re.search(r"<button[^>]* disabled", page)
        assert (await client.post(f"/ui/alerts/{alert}/send", headers=headers)).status_code == 403
        assert (await client.post(f"/ui/alerts/{alert}/send")).status_code == 401
    with engine.connect() as connection:
        assert connection.scalar(select(Notification.attempts)) == 1
        assert waiting_rows(connection) == []


async def test_htmx_gets_the_part(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        add_alert(connection)
    part = (await client.get("/ui/alerts", headers={"HX-Request": "true"})).text
    assert "<html" not in part
    assert 'id="alert-1"' in part


@pytest.mark.parametrize(
    "query",
    ["level=x", "delivered=maybe", "days=0", "days=x", "days=99999999999", "page=0", "page=99999999999", "page=1000000",
     "q=%00", "q=%ff", "q=%25_%5C", "q=" + "x" * 201, "alert=x", "alert=-1", "alert=99999999999999999999", "other=1"],
)  # fmt: skip
async def test_odd_parameters_never_break_it(client: httpx.AsyncClient, query: str) -> None:
    assert (await client.get(f"/ui/alerts?{query}")).status_code in {200, 422}
