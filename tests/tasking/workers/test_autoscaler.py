"""A worker that grows under a flood and shrinks after it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.conftest import worker_broker
from tests.support.live import wait_until
from tests.tasking.workers.sample import SampleWorker, sample_worker
from watcher_server.cli.main import app
from watcher_server.tasking.sending.broker import redis_client
from watcher_server.tasking.workers.autoscaler import count_ready


@pytest.fixture
def broker(worker_id: str) -> Iterator[str]:
    url = worker_broker(worker_id, 2)
    with redis_client(url) as client:
        client.flushdb()
        yield url
        client.flushdb()


@pytest.fixture
def worker(broker: str, tmp_path: Path) -> Iterator[SampleWorker]:
    log = tmp_path / "worker.log"
    with sample_worker(broker, log, "--autoscale", "4,1", AUTOSCALE_KEEPALIVE="1") as worker:
        yield worker


def _held(broker_url: str) -> int:
    with redis_client(broker_url) as client:
        return int(client.hlen("unacked"))


def test_the_pool_grows_under_a_flood_and_shrinks_after_it(worker: SampleWorker, broker: str) -> None:
    assert len(worker.children()) == 1

    worker.send_many(200, "sleep", 0.05)

    most_held = []

    def has_grown() -> bool:
        most_held.append(_held(broker))
        return len(worker.children()) == 4

    wait_until(has_grown, "four processes")
    # One message per process: what this worker cannot run yet is there for others.
    wait_until(lambda: _held(broker) == 4, "a message for each process")
    assert max(most_held) <= 4
    assert (worker.count("celery_task_succeeded_total", "sleep") or 0) < 200

    wait_until(lambda: worker.count("celery_task_succeeded_total", "sleep") == 200, "the end of the flood")
    wait_until(lambda: len(worker.children()) == 1, "one process")
    assert worker.count("celery_task_started_total", "sleep") == 200

    worker.send_many(2, "sleep", 60)
    wait_until(lambda: len(worker.children()) == 2, "a process for each task")
    wait_until(lambda: _held(broker) == 2, "a message for each process")


def test_a_single_task_runs_in_the_process_that_is_there(worker: SampleWorker, broker: str) -> None:
    worker.send_many(1, "sleep", 0)
    wait_until(lambda: worker.count("celery_task_succeeded_total", "sleep") == 1, "the task")
    assert len(worker.children()) == 1


def test_processes_that_take_two_seconds_to_end_all_go(broker: str, tmp_path: Path) -> None:
    log = tmp_path / "worker.log"
    # The first of them still ends when the worker finds that another one can go.
    with sample_worker(broker, log, "--autoscale", "3,1", AUTOSCALE_KEEPALIVE="1", SAMPLE_ENDING_SECONDS="2") as worker:
        worker.send_many(3, "sleep", 1)
        wait_until(lambda: len(worker.children()) == 3, "a process for each task")
        wait_until(lambda: len(worker.children()) == 1, "one process")
    assert log.read_text().count("has ended in its own time") == 2


def test_a_process_that_hangs_while_it_ends_goes_too(broker: str, tmp_path: Path) -> None:
    log = tmp_path / "worker.log"
    with sample_worker(
        broker, log, "--autoscale", "2,1", AUTOSCALE_KEEPALIVE="1", SAMPLE_ENDING_SECONDS="600"
    ) as worker:
        worker.send_many(2, "sleep", 1)
        wait_until(lambda: len(worker.children()) == 2, "a process for each task")
        wait_until(lambda: len(worker.children()) == 1, "one process")


def test_messages_of_every_priority_and_queue_are_counted(broker: str) -> None:
    with redis_client(broker) as client:
        for key in ("celery", "celery\x06\x163", "celery\x06\x169", "scheduled", "other"):
            client.lpush(key, "message")
    assert count_ready(broker, ["celery", "scheduled"]) == 4
    assert count_ready(broker, ["none"]) == 0


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--autoscale", "4"], "takes two numbers, MAX,MIN"),
        (["--autoscale", "4,x"], "takes two numbers, MAX,MIN"),
        (["--autoscale", "4,2,1"], "takes two numbers, MAX,MIN"),
        (["--autoscale", "1,4"], "MIN from 1 to MAX"),
        (["--autoscale", "4,0"], "MIN from 1 to MAX"),
        (["--autoscale", "257,1"], "MAX up to 256"),
        (["--autoscale", "4,1", "--concurrency", "2"], "use one"),
    ],
)
def test_bounds_that_cannot_work_are_refused(options: list[str], why: str) -> None:
    refused = CliRunner().invoke(app, ["worker", *options])
    assert why in str(refused.exception)
