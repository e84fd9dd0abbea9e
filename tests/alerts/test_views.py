"""Which process knows which channel."""

from typing import Any
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import Engine, text

from tests.support.channels import add_channel
from watcher_server.alerts.views import find_differences, write_view
from watcher_server.settings import Settings, load_settings
from watcher_server.tasking.workers import service as workers

WEBHOOK = "https://hooks.slack.example/services/a-secret"


def api(engine: Engine, settings: Settings) -> None:
    with engine.begin() as connection:
        write_view(connection, uuid4(), settings)


def worker(engine: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_worker_id", uuid4())
    api(engine, settings)
    monkeypatch.setattr(workers, "_worker_id", None)


def differences(engine: Engine) -> dict[str, str]:
    with engine.connect() as connection:
        return {each.channel: each.text for each in find_differences(connection)}


def test_processes_with_the_same_settings_do_not_differ(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load_settings(slack_webhook_url=WEBHOOK)
    api(engine, settings)
    worker(engine, settings, monkeypatch)

    assert differences(engine) == {}


def test_a_webhook_that_the_workers_lack_is_found(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    api(engine, load_settings(slack_webhook_url=WEBHOOK))
    worker(engine, load_settings(), monkeypatch)

    said = differences(engine)["default"]
    assert said.startswith("api on ")
    assert ": to Slack " in said
    assert said.endswith(": to the log")
    assert "a-secret" not in said


def test_a_secret_that_one_process_lacks_is_found(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    add_channel(engine, "pager", "pagerduty", routing_key={"env": "PAGER_KEY"})
    monkeypatch.setenv("PAGER_KEY", "R0")
    api(engine, load_settings())
    monkeypatch.delenv("PAGER_KEY")
    worker(engine, load_settings(), monkeypatch)

    assert differences(engine)["pager"].startswith("The variable PAGER_KEY is not set in this process: worker on ")


def test_secrets_that_are_not_the_same_are_found(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    add_channel(engine, "pager", "pagerduty", routing_key={"env": "PAGER_KEY"})
    monkeypatch.setenv("PAGER_KEY", "R0")
    api(engine, load_settings())
    monkeypatch.setenv("PAGER_KEY", "R1")
    worker(engine, load_settings(), monkeypatch)

    assert differences(engine)["pager"].startswith("not the same secrets in api on ")


def test_a_heartbeat_url_that_the_workers_lack_is_found(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    api(engine, load_settings(heartbeat_url="https://hc-ping.com/a-secret"))
    worker(engine, load_settings(), monkeypatch)

    assert differences(engine)["WATCHER_HEARTBEAT_URL"].startswith("not the same secrets in api on ")


def test_a_process_that_is_gone_does_not_count(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    api(engine, load_settings(slack_webhook_url=WEBHOOK))
    with engine.begin() as connection:
        connection.execute(text("UPDATE channel_view SET seen_at = now() - interval '4 minutes'"))
    worker(engine, load_settings(), monkeypatch)

    assert differences(engine) == {}


async def test_the_diagnosis_says_so(
    engine: Engine, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    api(engine, load_settings(slack_webhook_url=WEBHOOK))
    worker(engine, load_settings(), monkeypatch)

    page = (await client.get("/diagnostics", headers={"Accept": "text/html"})).text

    assert "1 not known alike by all processes" in page


def test_status_says_who_differs(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    from watcher_server.cli.snapshot import take_snapshot  # noqa: PLC0415 - a command's own

    api(engine, load_settings(slack_webhook_url=WEBHOOK))
    worker(engine, load_settings(), monkeypatch)

    services: dict[str, Any] = {each.name: each for each in take_snapshot(load_settings()).services}
    assert not services["Channels"].is_good
    assert services["Channels"].text.startswith("default differs: api on ")
