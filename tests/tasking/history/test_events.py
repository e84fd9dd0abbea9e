"""GET /tasks/{id}/events: following a task, through a real server."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import Engine
from starlette.types import Message

from tests.support.live import free_port, wait_until, watcher_process
from tests.support.tasks import ERROR, PROGRESS, STORED_ERROR, UNKNOWN_ID, add_task, add_waiting, change_task, publish
from watcher_server.app import create_app
from watcher_server.settings import load_settings

LIMIT_SECONDS = 20


class Server:
    """A real api without a relay, on the database of the test."""

    def __init__(self, database_url: str, broker_url: str, folder: Path) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.log = folder / "api.log"
        self.environment = {
            "WATCHER_HOME": str(folder),
            "WATCHER_DATABASE_URL": database_url,
            "WATCHER_BROKER_URL": broker_url,
            "WATCHER_PORT": str(port),
            "WATCHER_API_PROCESSES": "1",
            "WATCHER_RELAY_ENABLED": "false",
        }

    def is_alive(self) -> bool:
        try:
            return httpx.get(f"{self.url}/health/live", timeout=5).status_code == 200
        except httpx.HTTPError:
            return False

    @contextmanager
    def run(self) -> Iterator[Any]:
        with watcher_process(["api"], self.environment, self.log) as process:
            wait_until(self.is_alive, f"the api (its log is {self.log})", 60)
            yield process


@pytest.fixture(scope="module")
def server(database_url: str, broker_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(database_url, broker_url, tmp_path_factory.mktemp("events"))
    with server.run():
        yield server


@contextmanager
def follow(server: Server, task_id: str) -> Iterator[Iterator[dict[str, Any]]]:
    """The data of each event, as it comes."""
    with httpx.stream("GET", f"{server.url}/tasks/{task_id}/events", timeout=LIMIT_SECONDS) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        yield _events(response)


def _events(response: httpx.Response) -> Iterator[dict[str, Any]]:
    kind = ""
    for line in response.iter_lines():
        if line.startswith("event: "):
            kind = line.removeprefix("event: ")
        elif line.startswith("data: "):
            assert kind == "task"
            yield json.loads(line.removeprefix("data: "))


def test_a_task_is_followed_from_the_outbox_to_its_end(engine: Engine, server: Server) -> None:
    with engine.begin() as connection:
        task_id = add_waiting(connection)

    with follow(server, task_id) as events:
        seen = [next(events)]
        with engine.begin() as connection:
            publish(connection, task_id, "PROGRESS", meta={**PROGRESS, "progress": 10})
        seen.append(next(events))
        with engine.begin() as connection:
            change_task(connection, task_id, meta=PROGRESS)
        seen.append(next(events))
        with engine.begin() as connection:
            change_task(connection, task_id, state="RETRY", meta=STORED_ERROR)
        seen.append(next(events))
        with engine.begin() as connection:
            change_task(connection, task_id, state="SUCCESS", meta={"anomalies_found": 2})
        # The stream ends with it.
        seen += events

    assert [(task["state"], task["meta"]) for task in seen] == [
        ("PENDING", None),
        ("PROGRESS", {**PROGRESS, "progress": 10}),
        ("PROGRESS", PROGRESS),
        ("RETRY", ERROR),
        ("SUCCESS", {"result": {"anomalies_found": 2}}),
    ]
    assert seen[-1] == httpx.get(f"{server.url}/tasks/{task_id}").json()


@pytest.mark.parametrize("state", ["SUCCESS", "FAILURE", "REVOKED"])
def test_of_a_task_that_is_over_there_is_one_event(engine: Engine, server: Server, state: str) -> None:
    with engine.begin() as connection:
        task_id = add_task(connection, state)

    with follow(server, task_id) as events:
        assert [task["state"] for task in events] == [state]


def test_what_never_existed_is_no_stream(engine: Engine, server: Server) -> None:
    answer = httpx.get(f"{server.url}/tasks/{UNKNOWN_ID}/events")

    assert answer.status_code == 404
    assert answer.json()["detail"].startswith("No task has the id ")


def test_a_task_that_is_no_longer_kept_ends_the_stream(engine: Engine, server: Server) -> None:
    with engine.begin() as connection:
        task_id = add_task(connection, "PROGRESS")

    with follow(server, task_id) as events:
        next(events)
        with engine.begin() as connection:
            connection.exec_driver_sql("DELETE FROM task")
        assert list(events) == []


def test_many_can_follow_and_the_database_still_answers(engine: Engine, server: Server) -> None:
    with engine.begin() as connection:
        task_id = add_task(connection, "PROGRESS")
        other = add_task(connection, "SUCCESS")

    with httpx.Client(limits=httpx.Limits(max_connections=None), timeout=LIMIT_SECONDS) as client:
        requests = [client.build_request("GET", f"{server.url}/tasks/{task_id}/events") for _ in range(30)]
        responses = [client.send(request, stream=True) for request in requests]
        assert client.get(f"{server.url}/tasks/{other}").status_code == 200
        with engine.begin() as connection:
            change_task(connection, task_id, state="SUCCESS", meta=None)
        ends = [[task["state"] for task in _events(response)] for response in responses]

    assert ends == [["PROGRESS", "SUCCESS"]] * 30


def test_head_of_a_stream_is_answered(engine: Engine, server: Server) -> None:
    with engine.begin() as connection:
        task_id = add_task(connection, "PROGRESS")

    with httpx.Client(timeout=LIMIT_SECONDS) as client:
        assert client.head(f"{server.url}/tasks/{task_id}/events").status_code == 200
        assert client.get(f"{server.url}/tasks/{task_id}").json()["state"] == "PROGRESS"


def test_a_server_that_stops_ends_its_streams(
    engine: Engine, database_url: str, broker_url: str, tmp_path: Path
) -> None:
    with engine.begin() as connection:
        task_id = add_task(connection, "PROGRESS")
    server = Server(database_url, broker_url, tmp_path)

    with server.run() as process, follow(server, task_id) as events:
        next(events)
        process.terminate()
        assert list(events) == []
        process.wait(LIMIT_SECONDS)

    assert "Finished server process" in server.log.read_text()
    # What is cut off after the time of grace is an error in the log.
    assert "ERROR" not in server.log.read_text()


async def test_a_client_that_leaves_is_not_served_on(engine: Engine) -> None:
    with engine.begin() as connection:
        task_id = add_task(connection, "PROGRESS")
    app = create_app(load_settings(relay_enabled=False))

    async with app.router.lifespan_context(app):
        # Else it would go on for as long as the task does.
        await asyncio.wait_for(_leave_after_the_first_event(app, task_id), LIMIT_SECONDS)


async def _leave_after_the_first_event(app: FastAPI, task_id: str) -> None:
    seen = asyncio.Event()

    async def receive() -> Message:
        await seen.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        if message.get("body"):
            seen.set()

    path = f"/tasks/{task_id}/events"
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "scheme": "http",
        "headers": [(b"host", b"localhost")],
        "server": ("127.0.0.1", 1),
        "client": ("127.0.0.1", 2),
    }
    await app(scope, receive, send)
