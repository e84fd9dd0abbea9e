from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import httpx
import pytest
from sqlalchemy import text

from tests.support.cluster import Cluster, start_cluster
from tests.support.emptying import empty_tables
from tests.support.http_sink import HttpSink, http_sink
from tests.support.live import wait_until
from tests.support.workload import Workload, make_workload

# Lost tasks are found within seconds. Failed tasks are tried again after seconds, and often enough to outlast a restart
# of the database.
QUICK = {
    "WATCHER_WORKER_STOP_SECONDS": "3",
    "WATCHER_LOST_TASK_AFTER_SECONDS": "4",
    "WATCHER_TASK_RETRY_DELAY_SECONDS": "1",
    "WATCHER_CLOSURE_RETRY_DELAY_SECONDS": "1",
    "WATCHER_TASK_RETRY_DELAY_CAP_SECONDS": "4",
    "WATCHER_TASK_MAX_RETRIES": "8",
    "WATCHER_TASK_TIME_LIMIT_SECONDS": "20",
    "WATCHER_FRESHNESS_CHECK_SCHEDULE": "* * * * *",
}
# A check of Healthchecks.
PING = "/ping/0c8983c9-9d73-446f-adb5-0641fdacc9d4"
_UNDER_WAY = """
SELECT EXISTS (SELECT FROM outbox) OR EXISTS (SELECT FROM task WHERE state IN ('PENDING', 'PROGRESS', 'RETRY'))
"""
# The workers that are running stay in their table between tests.
KEPT = {"worker"}


@pytest.fixture(scope="session")
def heartbeats() -> Iterator[HttpSink]:
    """The other side of the heartbeat URL."""
    with http_sink() as sink:
        yield sink


@pytest.fixture(scope="session")
def _shared_cluster(heartbeats: HttpSink) -> Iterator[Cluster]:
    with start_cluster({**QUICK, "WATCHER_HEARTBEAT_URL": f"{heartbeats.url}{PING}"}) as cluster:
        for number in (1, 2):
            cluster.add_api(f"api-{number}")
            cluster.add_worker(f"worker-{number}")
        cluster.add_beat()
        yield cluster


@pytest.fixture
def cluster(_shared_cluster: Cluster) -> Cluster:
    """Two apis, two workers and beat, all of them running, on empty tables."""
    _shared_cluster.start_all()
    # A task that the test before left would be one too many for the run of its number in this test.
    with suppress(AssertionError), _shared_cluster.connect() as connection:
        wait_until(lambda: not connection.scalar(text(_UNDER_WAY)), "the end of the tasks of the test before", 60)
    empty_tables(_shared_cluster.engine, KEPT)
    for url in _shared_cluster.urls.values():
        wait_until(lambda url=url: _has_sessions(url), f"{url} having sessions of the database")  # type: ignore[misc]
    _shared_cluster.slack.texts.clear()
    return _shared_cluster


def _has_sessions(url: str) -> bool:
    """Whether no session that the api keeps was ended by the test before: the first request of such a one is a 503."""
    with ThreadPoolExecutor(32) as threads:
        body = {"pipeline_id": 1}
        asked = [
            threads.submit(httpx.post, f"{url}/start_pipeline_execution", json=body, timeout=30) for _ in range(32)
        ]
        return {answer.result().status_code for answer in asked} == {404}


@pytest.fixture
def workload(cluster: Cluster) -> Workload:
    """Five pipelines with a history and rules."""
    return make_workload(cluster.engine, "orders", judged=5)
