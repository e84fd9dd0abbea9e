"""The broker dies, with and without what it has on disk."""

import pytest

from tests.support.cluster import Cluster
from tests.support.held import held_analysis
from tests.support.invariants import check_everything_done_once
from tests.support.live import wait_until
from tests.support.workload import Workload, under_load


@pytest.mark.parametrize("emptied", [False, True], ids=["restarted", "replaced by an empty one"])
def test_a_running_task_a_retry_and_what_is_queued_outlive_it(
    cluster: Cluster, workload: Workload, *, emptied: bool
) -> None:
    urls = list(cluster.urls.values())
    with (
        held_analysis(cluster, workload, 0) as running,
        held_analysis(cluster, workload, 1) as failing,
        under_load(urls, workload, per_second=20) as load,
    ):
        running.running()
        failing.running()
        failing.blocker.cut_sessions()
        wait_until(lambda: failing.state() == "RETRY", "a retry waiting")
        cluster.kill_broker()
        seen = len(load.ledger.accepted)
        wait_until(lambda: len(load.ledger.accepted) > seen + 20, "some load without the broker")
        if emptied:
            cluster.empty_broker()
        cluster.broker.start()
        wait_until(lambda: len(load.ledger.accepted) > seen + 40, "some load with the broker")

    assert not load.ledger.refused
    check_everything_done_once(cluster, [running.execution_id, failing.execution_id, *load.ledger.accepted])


def test_messages_that_it_lost_are_sent_again(cluster: Cluster, workload: Workload) -> None:
    for name in ("worker-1", "worker-2"):
        cluster.parts[name].kill()
    with under_load(list(cluster.urls.values()), workload, per_second=20) as load:
        wait_until(lambda: len(load.ledger.accepted) > 20, "some load without workers")
    cluster.wait_until_published()
    cluster.kill_broker()
    cluster.empty_broker()
    cluster.broker.start()
    cluster.start_all()

    check_everything_done_once(cluster, load.ledger.accepted)
