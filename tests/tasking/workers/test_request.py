"""What a worker counts about its tasks, in every way in which they end."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from tests.conftest import worker_broker
from tests.support.live import wait_until
from tests.tasking.workers.sample import SampleWorker, sample_worker
from watcher_server.tasking.sending.broker import redis_client


@pytest.fixture(scope="module")
def worker(worker_id: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SampleWorker]:
    broker_url = worker_broker(worker_id, 2)
    with redis_client(broker_url) as broker:
        broker.flushdb()
        log = tmp_path_factory.mktemp("sample") / "worker.log"
        with sample_worker(broker_url, log, "--concurrency", "2") as worker:
            yield worker
        broker.flushdb()


def _wait_for_count(worker: SampleWorker, metric: str, name: str, number: float, **labels: str) -> None:
    wait_until(lambda: worker.count(metric, name, **labels) == number, f"{metric} of {name} being {number}")


def test_before_the_first_task_the_counters_are_at_zero(worker: SampleWorker) -> None:
    # A series that begins at one hides its first event from every rate.
    for outcome in ("received", "started", "succeeded", "rejected", "revoked"):
        assert worker.count(f"celery_task_{outcome}_total", "ignore") == 0
    text = httpx.get(f"{worker.url}/metrics").text
    assert 'celery_worker_up{hostname="celery@' in text
    assert 'celery_worker_tasks_active{hostname="celery@' in text
    assert "_created" not in text


def test_a_success_is_counted_with_its_runtime(worker: SampleWorker) -> None:
    worker.send("sleep", 0.1)

    _wait_for_count(worker, "celery_task_succeeded_total", "sleep", 1)
    assert worker.count("celery_task_received_total", "sleep") == 1
    assert worker.count("celery_task_started_total", "sleep") == 1
    assert worker.count("celery_task_runtime_count", "sleep") == 1
    assert (worker.count("celery_task_runtime_sum", "sleep") or 0) >= 0.1
    assert worker.count("celery_task_runtime_bucket", "sleep", le="0.002") == 0


def test_the_wait_is_measured_from_the_moment_the_task_was_due(worker: SampleWorker) -> None:
    worker.send("ignore")
    worker.send("ignore", headers={"watcher_due": time.time() - 100})
    worker.send("ignore", headers={"watcher_due": time.time() + 100})
    worker.send("ignore", headers={"watcher_due": "soon"})

    _wait_for_count(worker, "celery_task_started_total", "ignore", 4)
    assert worker.count("watcher_task_wait_seconds_count", "ignore") == 2
    assert 100 <= (worker.count("watcher_task_wait_seconds_sum", "ignore") or 0) < 130


def test_a_failure_is_counted_by_the_class_of_its_error(worker: SampleWorker) -> None:
    worker.send("fail")
    worker.send("fail", kwargs={"unspeakable": True})
    worker.send("fail", kwargs={"unheard": "of"})

    for error in ("ValueError", "UnspeakableError", "TypeError"):
        _wait_for_count(worker, "celery_task_failed_total", "fail", 1, exception=error)
    assert worker.count("celery_task_succeeded_total", "fail") == 0
    assert worker.count("celery_task_runtime_count", "fail") is None


def test_retries_are_no_failures_until_they_are_exhausted(worker: SampleWorker) -> None:
    worker.send("give_up")

    _wait_for_count(worker, "celery_task_failed_total", "give_up", 1, exception="ConnectionError")
    assert worker.count("celery_task_retried_total", "give_up", exception="ConnectionError") == 2
    assert worker.count("celery_task_started_total", "give_up") == 3


def test_a_task_whose_process_died_is_given_back_and_not_failed(worker: SampleWorker) -> None:
    worker.send("die")

    _wait_for_count(worker, "celery_task_succeeded_total", "die", 1)
    assert worker.count("celery_task_rejected_total", "die") == 1
    assert worker.count("celery_task_started_total", "die") == 2
    assert worker.count("celery_task_failed_total", "die") is None


def test_a_task_over_its_time_limit_failed_once(worker: SampleWorker) -> None:
    before = worker.count("celery_task_succeeded_total", "succeed") or 0
    worker.send("take_too_long")

    _wait_for_count(worker, "celery_task_failed_total", "take_too_long", 1, exception="TimeLimitExceeded")
    # Celery reports it a second time when it kills the process, and has done so when others run again.
    worker.send("succeed")
    worker.send("succeed")
    _wait_for_count(worker, "celery_task_succeeded_total", "succeed", before + 2)
    assert worker.count("celery_task_failed_total", "take_too_long", exception="TimeLimitExceeded") == 1


def test_rejected_and_revoked_tasks_are_counted_as_such(worker: SampleWorker) -> None:
    worker.send("reject")
    worker.send("reject", expires=datetime.now(UTC) - timedelta(seconds=5))

    _wait_for_count(worker, "celery_task_rejected_total", "reject", 1)
    _wait_for_count(worker, "celery_task_revoked_total", "reject", 1)
    assert worker.count("celery_task_failed_total", "reject") is None
    assert worker.count("celery_task_started_total", "reject") == 1
