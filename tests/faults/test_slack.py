"""Slack is away for a while."""

from tests.support.cluster import Cluster
from tests.support.held import held_analysis
from tests.support.invariants import check_everything_done_once
from tests.support.live import wait_until
from tests.support.workload import Workload


def test_an_alert_arrives_once_slack_is_back(cluster: Cluster, workload: Workload) -> None:
    cluster.slack.status = 503
    try:
        with held_analysis(cluster, workload) as analysis:
            analysis.running()
        wait_until(lambda: cluster.slack.refused > 1, "a second try")
    finally:
        cluster.slack.status = 200

    check_everything_done_once(cluster, [analysis.execution_id])
