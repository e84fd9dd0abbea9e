"""A small Celery application whose tasks end in every way there is, and its worker."""

import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from celery import Celery, Task
from celery.exceptions import Ignore, Reject
from celery.signals import worker_process_shutdown, worker_ready
from prometheus_client.parser import text_string_to_metric_families

from tests.support.live import free_port, wait_until
from watcher_server.tasking.workers.server import WorkerServer

logger = logging.getLogger(__name__)

QUEUE = "celery"


class SampleTask(Task):  # type: ignore[type-arg] # it takes none when it runs
    abstract = True
    Request = "watcher_server.tasking.workers.request:WatcherRequest"


app = Celery("sample", broker=os.environ.get("SAMPLE_BROKER"), task_cls=SampleTask, set_as_current=False)
app.conf.update(
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=1,
    worker_autoscaler="watcher_server.tasking.workers.autoscaler:QueueDepthAutoscaler",
    worker_cancel_long_running_tasks_on_connection_loss=False,
    broker_connection_retry_on_startup=True,
)


class UnspeakableError(Exception):
    """An error that cannot travel between processes."""

    def __init__(self) -> None:
        super().__init__()
        self.secret = lambda: None


@app.task(name="succeed")
def succeed() -> None:
    return None


@app.task(name="sleep")
def sleep(seconds: float) -> None:
    time.sleep(seconds)


@app.task(name="fail")
def fail(*, unspeakable: bool = False) -> None:
    if unspeakable:
        raise UnspeakableError
    raise ValueError("no such pipeline")


@app.task(name="give_up", bind=True, max_retries=2)
def give_up(self: Any) -> None:
    raise self.retry(exc=ConnectionError("refused"), countdown=0)


@app.task(name="die", bind=True)
def die(self: Any) -> None:
    if not self.request.delivery_info["redelivered"]:
        os._exit(1)


@app.task(name="take_too_long", time_limit=1)
def take_too_long() -> None:
    time.sleep(60)


@app.task(name="reject")
def reject() -> None:
    raise Reject("not now", requeue=False)


@app.task(name="ignore")
def ignore() -> None:
    raise Ignore


@worker_ready.connect
def _open_port(**_: Any) -> None:
    WorkerServer("127.0.0.1", int(os.environ["SAMPLE_PORT"]), lambda: True, lambda: None).start()


@worker_process_shutdown.connect
def _take_time_to_end(pid: int, **_: Any) -> None:
    time.sleep(float(os.environ.get("SAMPLE_ENDING_SECONDS", "0")))
    logger.info("Process %d has ended in its own time.", pid)


class SampleWorker:
    """A running worker of the application."""

    def __init__(self, process: "subprocess.Popen[bytes]", broker_url: str, url: str) -> None:
        self.process = process
        self.url = url
        self._sender = Celery("sender", broker=broker_url, set_as_current=False)

    def send(self, name: str, *arguments: Any, **options: Any) -> None:
        self._sender.send_task(name, arguments, **options)

    def send_many(self, number: int, name: str, *arguments: Any) -> None:
        with self._sender.producer_pool.acquire(block=True) as producer:
            for _ in range(number):
                self._sender.send_task(name, arguments, producer=producer)

    def is_up(self) -> bool:
        try:
            return httpx.get(f"{self.url}/health/live").status_code == 200
        except httpx.HTTPError:
            return False

    def count(self, metric: str, name: str, **labels: str) -> float | None:
        """What the worker counted of a task; None when there is no such series."""
        wanted = {"name": name, "queue_name": QUEUE, **labels}
        for family in text_string_to_metric_families(httpx.get(f"{self.url}/metrics").text):
            for sample in family.samples:
                if sample.name == metric and wanted.items() <= sample.labels.items():
                    return sample.value
        return None

    def children(self) -> list[int]:
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in children.read_text().split()]


@contextmanager
def sample_worker(broker_url: str, log: Path, *arguments: str, **environment: str) -> Iterator[SampleWorker]:
    """A worker of the application that is ready; it is stopped at the end."""
    port = free_port()
    # Its autoscaler asks the broker of Watcher's settings.
    brokers = {"SAMPLE_BROKER": broker_url, "WATCHER_BROKER_URL": broker_url}
    variables = {**os.environ, **brokers, "SAMPLE_PORT": str(port), **environment}
    command = [
        sys.executable,
        "-m",
        "celery",
        "-A",
        "tests.tasking.workers.sample",
        "worker",
        "--loglevel=info",
        *arguments,
    ]
    with log.open("ab") as output:
        process = subprocess.Popen(command, env=variables, stdout=output, stderr=subprocess.STDOUT)
    try:
        worker = SampleWorker(process, broker_url, f"http://127.0.0.1:{port}")
        wait_until(worker.is_up, f"the worker's start (its log is {log})")
        yield worker
    finally:
        # The tasks that it runs are nobody's: a quick end is enough.
        process.kill()
        process.wait()
