"""What is no task, or cannot be read, is dropped from the broker with one line in the log; the worker goes on."""

import base64
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
import redis
from celery import Celery
from sqlalchemy import create_engine, text

from tests.conftest import create_database, worker_broker
from tests.support.calling import messages
from tests.support.live import free_port, wait_until, watcher_process
from watcher_server.database.engine import sqlalchemy_url
from watcher_server.tasking.sending.broker import redis_client

SECRET = "hunter2-is-in-the-message"
BODY = base64.b64encode(json.dumps([[], {}, {}]).encode()).decode()


def envelope(**parts: Any) -> bytes:
    """A message as kombu writes it, except for the parts that are given."""
    message = {
        "body": BODY,
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {"task": "redeliver_alerts_task", "id": str(uuid4()), "lang": SECRET},
        "properties": {
            "delivery_tag": str(uuid4()),
            "delivery_info": {"exchange": "", "routing_key": "celery"},
            "body_encoding": "base64",
        },
        **parts,
    }
    return json.dumps({name: part for name, part in message.items() if part is not None}).encode()


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


GARBAGE = {
    "no JSON": SECRET.encode(),
    "no text": b"\xff\xfe\x00" + SECRET.encode(),
    "nothing": b"",
    "a number": b"7",
    "a list": json.dumps([SECRET]).encode(),
    "an empty object": b"{}",
    "nested too deeply": b"[" * 100_000 + b"]" * 100_000,
    "no headers": envelope(headers=None, body=encoded(json.dumps({"lang": SECRET}))),
    "headers that are a list": envelope(headers=[SECRET]),
    "a task without an id": envelope(headers={"task": "redeliver_alerts_task", "lang": SECRET}),
    "a task that is a list": envelope(headers={"task": [SECRET], "id": str(uuid4())}),
    "no properties": envelope(properties=None),
    "properties that are text": envelope(properties=SECRET),
    "no delivery tag": envelope(properties={"body_encoding": "base64", "delivery_info": {"routing_key": SECRET}}),
    "a pickle": envelope(**{"content-type": "application/x-python-serialize"}),
    "an unknown compression": envelope(headers={"task": "redeliver_alerts_task", "id": "1", "compression": SECRET}),
    "bad base64": envelope(body="A"),
    "a body that is no JSON": envelope(body=encoded(SECRET)),
    "a body that is a number": envelope(body=encoded("7")),
    "arguments that are a number": envelope(body=encoded("[7, 8, 9]")),
    "an endless body": envelope(body="A" * 20_000_000),
}


class Worker:
    """A worker of a broker and a database of its own."""

    def __init__(
        self, process: "subprocess.Popen[bytes]", broker: "redis.Redis", database_url: str, log: Path, metrics_url: str
    ) -> None:
        self.process = process
        self.broker = broker
        self._engine = create_engine(sqlalchemy_url(database_url))
        self._log = log
        self._metrics_url = metrics_url

    def foreign_tasks(self) -> float:
        """How many tasks of the queue ``celery`` it has set aside, by its metrics."""
        lines = httpx.get(self._metrics_url).text.splitlines()
        (line,) = (one for one in lines if one.startswith("watcher_foreign_tasks_total{") and '"celery"' in one)
        return float(line.rpartition(" ")[2])

    def knows(self, table: str) -> int:
        """How many rows the table has that are not of the tasks in these tests."""
        with self._engine.connect() as connection:
            statement = f"SELECT count(*) FROM {table} WHERE row_to_json({table})::text LIKE '%their_task%'"
            return int(connection.scalar(text(statement)) or 0)

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def run_one_task(self) -> None:
        """Send a task and wait for its end."""
        task_id = str(uuid4())
        self.broker.lpush("celery", envelope(headers={"task": "redeliver_alerts_task", "id": task_id}))
        wait_until(lambda: self._state(task_id) == "SUCCESS", "the task after it")

    def _state(self, task_id: str) -> str | None:
        assert self.process.poll() is None, f"the worker ended:\n{self.log[-3000:]}"
        with self._engine.connect() as connection:
            state: str | None = connection.scalar(text("SELECT state FROM task WHERE id = :id"), {"id": task_id})
            return state


@pytest.fixture(scope="module")
def broker_of_worker(worker_id: str) -> str:
    return worker_broker(worker_id, 2)


@pytest.fixture(scope="module")
def worker(worker_id: str, broker_of_worker: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    database_url, broker_url = create_database(f"watcher_messages_{worker_id}"), broker_of_worker
    log = tmp_path_factory.mktemp("messages") / "worker.log"
    environment = {
        "WATCHER_DATABASE_URL": database_url,
        "WATCHER_BROKER_URL": broker_url,
        "WATCHER_WORKER_METRICS_PORT": str(port := free_port()),
    }
    with redis_client(broker_url) as broker:
        broker.flushdb()
        with watcher_process(["worker", "--concurrency", "1"], environment, log) as process:
            yield Worker(process, broker, database_url, log, f"http://127.0.0.1:{port}/metrics")
        broker.flushdb()


@pytest.mark.parametrize("what", GARBAGE)
def test_what_cannot_be_read_is_dropped_and_the_worker_goes_on(worker: Worker, what: str) -> None:
    before = worker.log.count("was dropped")
    worker.broker.lpush("celery", GARBAGE[what])

    worker.run_one_task()

    wait_until(lambda: worker.broker.hlen("unacked") == 0, "the worker holding nothing")
    assert SECRET not in worker.log
    assert worker.log.count("was dropped") == before + 1


@pytest.mark.parametrize("compression", [None, "gzip"])
def test_a_task_of_another_program_is_set_aside_unchanged_and_is_no_failure_of_ours(
    worker: Worker, broker_of_worker: str, compression: str | None
) -> None:
    name = f"their_task_{compression}"
    worker.run_one_task()
    before = worker.foreign_tasks()
    with Celery("theirs", broker=broker_of_worker, set_as_current=False) as theirs:
        for number in (1, 2):
            theirs.send_task(name, [number], {"of": "them"}, task_id=f"theirs-{number}", compression=compression)
        worker.run_one_task()
        wait_until(lambda: worker.broker.llen("watcher.foreign") == 2, "both being set aside")
        found = messages(theirs, "watcher.foreign")

    assert [(one.headers["task"], one.headers["id"], one.decode()[:2]) for one in found] == [
        (name, "theirs-1", [[1], {"of": "them"}]),
        (name, "theirs-2", [[2], {"of": "them"}]),
    ]
    assert worker.log.count(f"{name} in the queue celery is no task of Watcher") == 1
    assert worker.broker.hlen("unacked") == 0
    assert [worker.knows(table) for table in ("task", "outbox", "incident", "alert")] == [0, 0, 0, 0]
    assert worker.foreign_tasks() == before + 2


def test_what_cannot_be_read_on_the_channel_of_the_commands_is_dropped(worker: Worker) -> None:
    database = worker.broker.connection_pool.connection_kwargs["db"]
    for garbage in (b"{}", b"[]", b"no JSON", envelope(properties=None)):
        assert worker.broker.publish(f"/{database}.celery.pidbox", garbage) == 1, "no worker subscribes to pidbox"

    worker.run_one_task()
