"""The broker fails over, turns read-only or is emptied under load: workers keep their process, and nothing is lost."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import pytest
from sqlalchemy import text

from tests.faults.conftest import QUICK
from tests.support.cluster import LIMIT_SECONDS, Cluster, start_cluster
from tests.support.invariants import check_everything_done_once
from tests.support.live import wait_until
from tests.support.redis_servers import MASTER, SentinelGroup, redis_server, sentinel_group
from tests.support.workload import Load, make_workload, under_load

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]

CYCLES_PER_SECOND = 50


@contextmanager
def loaded(broker_url: str) -> Iterator[tuple[Cluster, Load]]:
    """Two apis, two workers and beat on that broker, under load until the block ends; all must be in order after it.

    The same main processes of the workers run then. Prints the figures.
    """
    with start_cluster(QUICK) as cluster:
        for number in (1, 2):
            cluster.add_api(f"api-{number}", WATCHER_BROKER_URL=broker_url)
            cluster.add_worker(f"worker-{number}", WATCHER_BROKER_URL=broker_url)
        cluster.start_all()
        workers = [cluster.parts[f"worker-{number}"] for number in (1, 2)]
        before = [worker.process.pid for worker in workers]
        workload = make_workload(cluster.engine, "orders", judged=5)
        with under_load(list(cluster.urls.values()), workload, per_second=CYCLES_PER_SECOND) as load:
            wait_for_more(load, 200)
            yield cluster, load
            wait_for_more(load, 200)
            ended = database_time(cluster)
        check_everything_done_once(cluster, load.ledger.accepted)
        assert [worker.process.pid for worker in workers if worker.runs] == before
        assert not load.ledger.refused
        print_figures(cluster, load, ended)


def wait_for_more(load: Load, number: int) -> None:
    """Wait until the apis have accepted so many further runs."""
    seen = len(load.ledger.accepted)
    wait_until(lambda: len(load.ledger.accepted) >= seen + number, "some load", LIMIT_SECONDS)


def wait_for_tasks(cluster: Cluster) -> None:
    """Wait until a task begins after this moment."""
    now = database_time(cluster)
    with cluster.connect() as connection:
        began = text("SELECT EXISTS (SELECT FROM task WHERE started_at > :now)")
        wait_until(lambda: bool(connection.scalar(began, {"now": now})), "tasks again", LIMIT_SECONDS)


def database_time(cluster: Cluster) -> datetime:
    """The moment by the clock of the tasks."""
    with cluster.connect() as connection:
        moment: datetime = connection.execute(text("SELECT clock_timestamp()")).scalar_one()
    return moment


def print_figures(cluster: Cluster, load: Load, ended: datetime) -> None:
    """How long no task began while the load went on, and how many runs there were."""
    figures = """
        SELECT count(*) FILTER (WHERE name = 'detect_anomalies_task' AND state = 'SUCCESS'),
            extract(epoch FROM max(started_at - earlier) FILTER (WHERE started_at < :ended))
        FROM (
            SELECT *, lag(started_at) OVER (ORDER BY started_at) AS earlier FROM task WHERE started_at IS NOT NULL
        ) AS begun
    """
    with cluster.connect() as connection:
        analysed, pause = connection.execute(text(figures), {"ended": ended}).one()
        told = connection.scalar(text("SELECT count(*) FROM alert"))
    accepted = len(load.ledger.accepted)
    print(
        f"\naccepted {accepted}, analysed {analysed}, lost {accepted - analysed}, refused 0, outliers "
        f"{load.ledger.outliers}, alerts {told}, each told once; under load no task began for {pause:.1f} s at most"
    )


def test_a_failover_by_sentinels(tmp_path: Path) -> None:
    with (
        sentinel_group(tmp_path) as group,
        loaded(f"sentinel://{group.hosts}/0?master_name={MASTER}") as (cluster, load),
    ):
        former = group.primary
        former.kill()
        began = time.monotonic()
        wait_for_promotion(group)
        print(f"\npromoted after {time.monotonic() - began:.1f} s")
        wait_for_tasks(cluster)
        print(f"a task began {time.monotonic() - began:.1f} s after the primary was killed")
        former.start()
        group.wait_until_whole()
        assert group.primary is not former
        wait_for_more(load, 200)


def wait_for_promotion(group: SentinelGroup) -> None:
    """Wait until the replica is the primary."""
    wait_until(lambda: len(group.primaries) == 1, "the promotion of the replica", LIMIT_SECONDS)


def test_a_broker_that_is_read_only_for_ten_seconds(tmp_path: Path) -> None:
    with (
        redis_server(tmp_path / "redis") as server,
        server.client() as broker,
        loaded(f"redis://127.0.0.1:{server.port}/0") as (cluster, load),
    ):
        # A replica of nothing: it keeps what it has, and takes no writes.
        broker.replicaof("127.0.0.1", "1")
        until = time.monotonic() + 10
        wait_until(lambda: time.monotonic() > until, "ten seconds", 20)
        broker.replicaof("NO", "ONE")
        began = time.monotonic()
        wait_for_tasks(cluster)
        print(f"\na task began {time.monotonic() - began:.1f} s after the broker took writes again")
        wait_for_more(load, 200)


def test_a_broker_that_is_emptied_five_times(tmp_path: Path) -> None:
    with (
        redis_server(tmp_path / "redis") as server,
        server.client() as broker,
        loaded(f"redis://127.0.0.1:{server.port}/0") as (_, load),
    ):
        for _ in range(5):
            broker.flushall()
            wait_for_more(load, 100)
