"""The deliveries of alerts over HTTP."""

import asyncio
from typing import Any

import pytest
from httpx import AsyncClient
from sqlalchemy import Engine, text

from tests.support.notifications import (
    add_incident,
    change_channel,
    change_notification,
    channel,
    deliver,
    notifications,
    put,
)
from tests.support.rows import ago
from tests.support.tasks import waiting_rows
from watcher_server.settings import load_settings

NOBODY = "http://127.0.0.1:1/services/a-secret"


async def ids(client: AsyncClient, **filters: str | int) -> list[int]:
    answer = await client.get("/notification", params=filters)
    assert answer.status_code == 200, answer.text
    return [row["id"] for row in answer.json()]


async def test_one_reads_where_it_goes_and_how_that_goes(client: AsyncClient, engine: Engine) -> None:
    put(engine)
    await asyncio.to_thread(deliver, engine, load_settings(slack_webhook_url=NOBODY))

    (row,) = (await client.get("/notification")).json()

    assert row["channel"] == "default"
    assert (row["state"], row["attempts"], row["perhaps_sent"]) == ("waiting", 1, False)
    assert row["last_error"] == "Slack could not be reached (ConnectError)"
    assert "a-secret" not in str(row)


async def test_they_are_listed_by_state_channel_incident_and_alert(client: AsyncClient, engine: Engine) -> None:
    one, other = add_incident(engine, "one"), add_incident(engine, "other")
    first = put(engine, "first", one)
    second = put(engine, "second", one, other)
    third = put(engine, "third", state="given_up")

    assert await ids(client) == [first, second, third]
    assert await ids(client, state="given_up") == [third]
    assert await ids(client, channel="default") == [first, second, third]
    assert await ids(client, channel="elsewhere") == []
    assert await ids(client, incident_id=one) == [first, second]
    assert await ids(client, incident_id=other, state="waiting") == [second]
    assert await ids(client, alert_id=notifications(engine)[1]["alert_id"]) == [second]
    assert await ids(client, limit=1, offset=1) == [second]


async def test_an_unknown_state_is_refused(client: AsyncClient) -> None:
    assert (await client.get("/notification", params={"state": "lost"})).status_code == 422


async def test_one_that_was_given_up_is_tried_again_at_once(client: AsyncClient, engine: Engine) -> None:
    notification = put(engine, created_at=ago(days=3))
    deliver(engine, load_settings())
    change_channel_to_paused(engine)
    with engine.begin() as connection:
        change_notification(connection, notification, state="given_up")
        connection.execute(text("DELETE FROM outbox"))

    answer = await client.post(f"/notification/{notification}/retry")

    assert answer.status_code == 200, answer.text
    assert answer.json()["state"] == "waiting"
    with engine.connect() as connection:
        (message,) = waiting_rows(connection)
    assert (message["task_name"], message["queue"]) == ("deliver_alert_task", "alerts")
    assert channel(engine)["paused_until"] < ago(seconds=-1)
    assert deliver(engine, load_settings()) == 1


def change_channel_to_paused(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO channel (name) VALUES ('default') ON CONFLICT DO NOTHING"))
    change_channel(engine, paused_until=ago(minutes=-15))


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"state": "sent", "sent_to": "slack"}, "Notification 2 has been sent to slack: there is nothing to send."),
        ({"state": "sending"}, "Notification 2 is being sent at this moment."),
        ({"state": "merged", "sent_in": 1}, "Notification 2 is said by notification 1: there is nothing to send."),
    ],
)
async def test_what_needs_no_other_try_is_a_conflict(
    client: AsyncClient, engine: Engine, fields: dict[str, Any], sentence: str
) -> None:
    put(engine, "first")
    put(engine, "second", **fields)

    answer = await client.post("/notification/2/retry")

    assert (answer.status_code, answer.json()["detail"]) == (409, sentence)


async def test_one_that_does_not_exist_is_not_found(client: AsyncClient) -> None:
    assert (await client.post("/notification/7/retry")).status_code == 404
