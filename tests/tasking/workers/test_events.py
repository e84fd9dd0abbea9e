"""Events of a worker, as Flower and celery-exporter receive them."""

import threading
from collections import defaultdict
from pathlib import Path
from typing import Any

from celery import Celery

from tests.conftest import create_database, worker_broker
from tests.support.live import wait_until, watcher_process


def test_each_task_tells_that_it_was_received_began_and_ended(worker_id: str, tmp_path: Path) -> None:
    broker = worker_broker(worker_id, 2)
    environment = {
        "WATCHER_DATABASE_URL": create_database(f"watcher_events_{worker_id}"),
        "WATCHER_BROKER_URL": broker,
        "WATCHER_WORKER_METRICS_PORT": "0",
    }
    app = Celery("listener", broker=broker, set_as_current=False)
    heard: dict[str, list[str]] = defaultdict(list)

    def listen(event: dict[str, Any]) -> None:
        heard[event.get("uuid", "worker")].append(event["type"])

    with app.connection_for_read() as connection:
        receiver = app.events.Receiver(connection, handlers={"*": listen})
        listening = threading.Thread(target=receiver.capture, kwargs={"limit": None, "wakeup": False}, daemon=True)
        listening.start()
        with watcher_process(["worker", "--concurrency", "1"], environment, tmp_path / "worker.log"):
            wait_until(lambda: "worker-online" in heard["worker"], "the worker's start")
            ids = [str(app.send_task("celery_queue_health_check_task", queue="celery")) for _ in range(30)]
            wait_until(lambda: all(len(heard[task]) == 3 for task in ids), "the events of all tasks")
        wait_until(lambda: "worker-offline" in heard["worker"], "the worker's end")
        receiver.should_stop = True
        listening.join(10)
    assert {tuple(heard[task]) for task in ids} == {("task-received", "task-started", "task-succeeded")}
