"""Beat dies."""

from sqlalchemy import text

from tests.support.cluster import LIMIT_SECONDS, Cluster
from tests.support.invariants import check_everything_done_once
from tests.support.live import wait_until
from tests.support.rows import add_pipeline, ago
from tests.support.workload import Workload, under_load


def test_checks_go_on_once_beat_runs_again(cluster: Cluster, workload: Workload) -> None:
    """They run every minute in this cluster: so long it takes."""
    beat = cluster.parts["beat"]
    beat.kill()
    with under_load(list(cluster.urls.values()), workload, per_second=10) as load:
        wait_until(lambda: len(load.ledger.accepted) > 10, "some load without beat")
    with cluster.engine.begin() as connection:
        written = ago(days=1)
        add_pipeline(connection, "stale", freshness_number=1, freshness_datepart="hour", last_target_insert=written)
    beat.start()

    def checked() -> bool:
        with cluster.connect() as connection:
            return bool(connection.scalar(text("SELECT EXISTS (SELECT FROM alert WHERE title LIKE 'Freshness%')")))

    wait_until(checked, "the next freshness check", LIMIT_SECONDS)
    check_everything_done_once(cluster, load.ledger.accepted)
