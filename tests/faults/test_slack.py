"""Slack is away for a while, and what sends to it dies at every step."""

import pytest
from sqlalchemy import text

from tests.support.cluster import LIMIT_SECONDS, Cluster
from tests.support.held import blocking, held_analysis
from tests.support.invariants import check_everything_done_once, find_repeated_alerts, wait_until_at_rest
from tests.support.live import wait_until
from tests.support.notifications import CHANNEL, notifications, put
from tests.support.slack import Answer
from tests.support.workload import Workload

# Longer than it takes to kill a worker.
LONG = 8


def test_an_alert_arrives_once_slack_is_back(cluster: Cluster, workload: Workload) -> None:
    cluster.slack.status = 503
    try:
        with held_analysis(cluster, workload) as analysis:
            analysis.running()
        wait_until(lambda: cluster.slack.refused > 1, "a second try", 60)
    finally:
        cluster.slack.status = 200

    check_everything_done_once(cluster, [analysis.execution_id])


def kill_workers(cluster: Cluster) -> None:
    """Kill every worker with its processes, and start them again."""
    for name in ("worker-1", "worker-2"):
        cluster.parts[name].kill()
    with cluster.connect() as connection:
        # Nobody has to wait until the lease of the dead lapses by itself.
        connection.execute(text("UPDATE channel SET leased_until = now()"))
    cluster.start_all()


def check_told(cluster: Cluster, *, perhaps_sent: bool) -> None:
    """Wait for the end, and fail if an alert was lost, or told twice without a reason."""
    wait_until_at_rest(cluster, 2 * LIMIT_SECONDS)
    assert [(row["state"], row["perhaps_sent"]) for row in notifications(cluster.engine)] == [("sent", perhaps_sent)]
    assert set(cluster.slack.messages()) == {"stale"}
    assert find_repeated_alerts(cluster) == []


def test_a_sender_that_dies_before_its_claim_loses_nothing(cluster: Cluster) -> None:
    with blocking(cluster) as blocker:
        with cluster.connect() as connection:
            connection.execute(text("INSERT INTO channel (name) VALUES (:name)"), {"name": CHANNEL})
        blocker.execute("SELECT FROM channel FOR UPDATE")
        put(cluster.engine, "stale")
        wait_until(lambda: bool(blocker.sessions()), "a sender that waits for the lane")
        for name in ("worker-1", "worker-2"):
            cluster.parts[name].kill()
    cluster.start_all()

    check_told(cluster, perhaps_sent=False)


@pytest.mark.parametrize(
    ("answer", "arrivals"),
    [(Answer(before_seconds=LONG, is_dropped=True), 0), (Answer(after_seconds=LONG), 1)],
    ids=["before it is sent", "before it is recorded"],
)
def test_what_a_sender_had_claimed_when_it_died_is_sent_again(cluster: Cluster, answer: Answer, arrivals: int) -> None:
    asked = cluster.slack.requests
    cluster.slack.script.append(answer)
    put(cluster.engine, "stale")
    wait_until(lambda: cluster.slack.requests > asked, "the request")
    wait_until(lambda: len(cluster.slack.texts) == arrivals, "the message")
    kill_workers(cluster)

    check_told(cluster, perhaps_sent=True)
    assert len(cluster.slack.texts) == arrivals + 1
