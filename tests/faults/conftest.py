from collections.abc import Iterator

import pytest
from sqlalchemy import text

from tests.support.cluster import Cluster, start_cluster
from tests.support.workload import Workload, make_workload
from watcher_server.database.models import Base

# What is lost is found within seconds, and what fails is tried again as soon, but often enough to outlast a stop of
# the database.
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
# Who is there, which every test begins with as it is.
KEPT = {"worker"}


@pytest.fixture(scope="session")
def _shared_cluster() -> Iterator[Cluster]:
    with start_cluster(QUICK) as cluster:
        for number in (1, 2):
            cluster.add_api(f"api-{number}")
            cluster.add_worker(f"worker-{number}")
        cluster.add_beat()
        yield cluster


@pytest.fixture
def cluster(_shared_cluster: Cluster) -> Cluster:
    """Two apis, two workers and beat, all of them running, on empty tables."""
    _shared_cluster.start_all()
    tables = ", ".join(table.name for table in Base.metadata.sorted_tables if table.name not in KEPT)
    with _shared_cluster.connect() as connection:
        connection.execute(text(f"TRUNCATE {tables} RESTART IDENTITY"))
    _shared_cluster.slack.texts.clear()
    return _shared_cluster


@pytest.fixture
def workload(cluster: Cluster) -> Workload:
    """Five pipelines with a history and rules."""
    return make_workload(cluster.engine, "orders", judged=5)
