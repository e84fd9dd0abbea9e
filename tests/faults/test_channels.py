"""One channel is dead and one is slow, and what sends to all of them dies."""

import json

from sqlalchemy import text

from tests.support.cluster import Cluster
from tests.support.invariants import check_everything_done_once
from tests.support.live import wait_until
from tests.support.three_channels import SLOW, three_channels
from tests.support.workload import Client, Workload

# Nobody has to wait until the lease of the dead lapses, or for as long as an end is held back.
_LAPSED = "UPDATE channel SET leased_until = now()"
_AT_ONCE = "UPDATE incident SET tell_resolved_at = now() WHERE tell_resolved_at IS NOT NULL"

_OPEN = "SELECT count(*) FROM incident WHERE kind = 'failing' AND state <> 'resolved'"
_TO_BE_TOLD = "SELECT count(*) FROM incident WHERE tell_resolved_at IS NOT NULL"


def report_runs(cluster: Cluster, workload: Workload, *, fail: bool) -> list[int]:
    """Report one run of each pipeline, and wait until its pipeline is known to fail or not; the ids of the runs."""
    client = Client(list(cluster.urls.values()))
    runs = []
    for pipeline in workload.pipelines:
        runs.append(int(json.loads(client.post("/start_pipeline_execution", workload.start_body(pipeline)))["id"]))
        client.post("/end_pipeline_execution", workload.end_body(runs[-1], outlier=False, fails=fail))
    wait_until(lambda: count(cluster, _OPEN) == (len(runs) if fail else 0), "the runs being judged", 60)
    return runs


def count(cluster: Cluster, statement: str) -> int:
    """What the statement counts."""
    with cluster.connect() as connection:
        return int(connection.scalar(text(statement)) or 0)


def change(cluster: Cluster, statement: str) -> None:
    """Write rows."""
    with cluster.connect() as connection:
        connection.execute(text(statement))


def test_each_channel_is_told_every_change_once_and_in_order_whatever_becomes_of_another(
    cluster: Cluster, workload: Workload
) -> None:
    with three_channels(cluster, group_wait="0s"):
        runs = report_runs(cluster, workload, fail=True)
        wait_until(lambda: cluster.sinks[SLOW].requests > 0, "the slow channel being told")
        for name in ("worker-1", "worker-2"):
            cluster.parts[name].kill()
        change(cluster, _LAPSED)
        cluster.start_all()
        runs += report_runs(cluster, workload, fail=False)
        change(cluster, _AT_ONCE)
        wait_until(lambda: count(cluster, _TO_BE_TOLD) == 0, "people being told that it is over", 60)
        runs += report_runs(cluster, workload, fail=True)

        check_everything_done_once(cluster, runs)
