"""An api process dies."""

from sqlalchemy import text

from tests.support.cluster import Cluster
from tests.support.invariants import check_everything_done_once
from tests.support.live import wait_until
from tests.support.workload import Workload, under_load


def test_what_an_api_accepted_and_did_not_publish_is_published_by_others(cluster: Cluster, workload: Workload) -> None:
    cluster.kill_broker()
    with under_load([cluster.urls["api-1"]], workload, per_second=20) as load:
        wait_until(lambda: len(load.ledger.accepted) > 40, "some load without the broker")
    cluster.parts["api-1"].kill()
    with cluster.connect() as connection:
        waiting = connection.scalar(text("SELECT count(*) FROM outbox WHERE task_name = 'detect_anomalies_task'"))
    assert waiting == len(load.ledger.accepted)
    cluster.broker.start()

    assert not load.ledger.refused
    check_everything_done_once(cluster, load.ledger.accepted)


def test_an_api_killed_under_load_loses_nothing_that_it_accepted(cluster: Cluster, workload: Workload) -> None:
    with under_load(list(cluster.urls.values()), workload, per_second=30) as load:
        wait_until(lambda: len(load.ledger.accepted) > 30, "some load")
        cluster.parts["api-1"].kill()
        seen = len(load.ledger.accepted)
        wait_until(lambda: len(load.ledger.accepted) > seen + 30, "some load with one api")

    assert set(load.ledger.refused) <= {None}
    check_everything_done_once(cluster, load.ledger.accepted)
